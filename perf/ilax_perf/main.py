# SPDX-License-Identifier: Apache-2.0
"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ilax.errors import IlaxError
from ilax_perf import (
    bulk,
    commands,
    conformance,
    connections,
    costs,
    isolation,
    limit_costs,
    rates,
    report,
    responses,
    streams,
    tcp_under_limit,
)
from ilax_perf.rows import Rows
from ilax_perf.sampling import Settings, last_cpu
from lab.cleanup import unwinding_signals

_GROUPS = (
    costs,
    limit_costs,
    bulk,
    commands,
    rates,
    streams,
    responses,
    connections,
    isolation,
    conformance,
    tcp_under_limit,
)
# The other groups are measured all the same.
_EXPECTED = (IlaxError, OSError, RuntimeError, AssertionError, subprocess.SubprocessError)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ilax_perf", description="Measure ilax (as root).")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), metavar="FILE")
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="draw pictures of what was measured"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="rows whose names match, such as 'rate.*'; may be given again. Rows that others "
        "are compared with are measured, too",
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="repetitions (default 5)")
    parser.add_argument("--quick", action="store_true", help="short and rough")
    parser.add_argument(
        "--full", action="store_true", help="all cells of isolation.* and tcp_under_limit.*"
    )
    parser.add_argument("--cpu", type=int, default=last_cpu(), help="core that does the work")
    return parser.parse_args()


def main() -> int:
    """Measure; exit code 1 if something could not be measured.

    A missed target is reported and is no failure: benchmarks do not judge.
    """
    options = _arguments()
    if os.geteuid():
        print("ilax_perf: run as root: it makes network namespaces", file=sys.stderr)
        return 1
    start = time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {text}", file=sys.stderr, flush=True)

    def wanted(name: str) -> bool:
        return not options.only or any(fnmatch.fnmatch(name, p) for p in options.only)

    settings = Settings(
        runs=max(1, options.runs if not options.quick else 2),
        quick=options.quick,
        full=options.full,
        cpu=options.cpu,
        wanted=wanted,
        progress=progress,
    )
    rows = Rows()
    failed = False
    with unwinding_signals():
        for group in _GROUPS:
            try:
                group.measure(rows, settings)
            except _EXPECTED as error:
                print(f"ilax_perf: {group.__name__}: {error}", file=sys.stderr)
                failed = True
    report.print_table(rows)
    report.write_json(options.output, rows)
    progress(f"wrote {options.output}")
    if options.plots and not options.quick:
        from ilax_perf import plots

        for path in plots.draw(json.loads(options.output.read_text()), options.plots):
            progress(f"drew {path}.svg, {path}.png")
    return 1 if failed else 0
