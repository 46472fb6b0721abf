# SPDX-License-Identifier: Apache-2.0
"""The order of the chapters."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ilax_demo import chapters, moving
from ilax_demo.report import Report
from lab.traces import Traces
from lab.cleanup import PREFIX, unwinding_signals
from lab.topology import Lab

TAG = f"{PREFIX}demo"


def tell(output: Path) -> int:
    """Run the demo.

    Args:
        output: where the facts go.

    Returns:
        The exit code: 0 if every fact held.
    """
    if os.geteuid():
        print("run the demo as root: it makes network namespaces", file=sys.stderr)
        return 1
    report = Report()
    output.unlink(missing_ok=True)
    try:
        with unwinding_signals():
            _run(report)
    except KeyboardInterrupt:
        report.check("demo.finished", False, "interrupted", "interrupted; everything is removed")
    report.write(output)
    report.conclude(output)
    return 0 if report.held else 1


def _run(report: Report) -> None:
    traces: Traces | None = None
    with report.chapter("lab", "A network of three hosts, and a router that knows locators only"):
        with Lab.make(TAG) as lab:
            for host in lab.hosts:
                host.ilax.echo = lambda line, name=host.name: report.command(name, line)
            chapters.address_plan(report, lab)
            chapters.bring_up(report, lab)
            for host in lab.hosts:
                host.ilax.echo = lambda _: None
            traces = Traces.of(lab)
            for chapter in (
                chapters.reach,
                chapters.on_the_wire,
                chapters.refusals,
                chapters.path_mtu,
                moving.move,
                chapters.counters,
                chapters.take_down,
            ):
                chapter(report, lab)
    with report.chapter("cleanup", "Nothing is left"):
        leftovers = traces.leftovers() if traces else ["the lab did not come up"]
        report.check(
            "cleanup.nothing_left",
            not leftovers,
            leftovers,
            "no namespace, pin, program, map or link remains"
            if not leftovers
            else f"left behind: {', '.join(leftovers)}",
        )
