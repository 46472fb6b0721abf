# SPDX-License-Identifier: Apache-2.0
"""The order of the chapters."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from ilax_demo import chapters, moving
from ilax_demo.report import Report
from lab.cleanup import PREFIX, unwinding_signals
from lab.topology import Lab
from lab.traces import Traces

TAG = f"{PREFIX}demo"

_CHAPTERS: dict[str, Callable[[Report, Lab], None]] = {
    "Who is who": chapters.address_plan,
    "Bringing ilax up": chapters.bring_up,
    "Between tasks, by SIR address": chapters.reach,
    "One packet, seen at three places": chapters.on_the_wire,
    "What a task may not do": chapters.refusals,
    "A narrow link on the underlay": chapters.path_mtu,
    "A task moves": moving.move,
    "What was counted": chapters.counters,
    "Taking ilax down": chapters.take_down,
}


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
    leftovers = ["the lab did not come up"]
    with (
        report.chapter("lab", "Three hosts, and a router that knows locators only"),
        Lab.make(TAG) as lab,
    ):
        for title, chapter in _CHAPTERS.items():
            with report.chapter(chapter.__name__, title):
                chapter(report, lab)
            if chapter is chapters.bring_up:
                traces = Traces.of(lab)
        leftovers = []
    with report.chapter("cleanup", "Nothing is left"):
        leftovers = leftovers or traces.leftovers()
        report.check(
            "cleanup.nothing_left",
            not leftovers,
            leftovers,
            "no namespace, pin, program, map or link remains"
            if not leftovers
            else f"left behind: {', '.join(leftovers)}",
        )
