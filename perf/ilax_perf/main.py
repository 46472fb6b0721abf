# SPDX-License-Identifier: Apache-2.0
"""`ilax-perf run`: measure, write JSON, print a table."""

from __future__ import annotations

import argparse
import fnmatch
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ilax.errors import IlaxError
from ilax_perf import (
    apply,
    bulk,
    commands,
    conformance,
    connections,
    costs,
    isolation,
    limit_costs,
    many,
    memory,
    rates,
    report,
    responses,
    sanity,
    streams,
    surroundings,
    tcp_under_limit,
)
from ilax_perf.rows import Rows
from ilax_perf.sampling import Progress, Settings, last_cpu
from lab.cleanup import unwinding_signals

_GROUPS = (
    costs,
    limit_costs,
    bulk,
    commands,
    apply,
    many,
    memory,
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


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ilax-perf run",
        description="Measure ilax (as root).",
        epilog="Example: ilax-perf run --only 'rate.*' --output build/rates.json",
    )
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), metavar="FILE")
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="FOLDER",
        help="if everything was measured: the result, pictures and numbers for this folder of "
        "documentation",
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
        "--smoke",
        action="store_true",
        help="the least that shows that measuring works, and whether what it gives is sane",
    )
    parser.add_argument(
        "--full", action="store_true", help="all cells of all matrices, and the largest tables"
    )
    parser.add_argument("--cpu", type=int, default=last_cpu(), help="core that does the work")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Measure; exit code 1 if something could not be measured, or is insane (--smoke).

    A missed target is reported and is no failure: benchmarks do not judge.
    """
    options = _arguments(words)
    if os.geteuid():
        print("ilax-perf: run as root: it makes network namespaces", file=sys.stderr)
        return 1
    start = time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {text}", file=sys.stderr, flush=True)

    patterns = sanity.PATTERNS if options.smoke else options.only

    def wanted(name: str) -> bool:
        return not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)

    rough = options.quick or options.smoke
    settings = Settings(
        runs=1 if options.smoke else 2 if options.quick else max(1, options.runs),
        quick=rough,
        full=options.full,
        cpu=options.cpu,
        wanted=wanted,
        progress=progress,
    )
    rows = Rows()
    about = surroundings.about(settings)
    failed = False
    with unwinding_signals():
        for group in _GROUPS:
            try:
                group.measure(rows, settings)
            except _EXPECTED as error:
                print(f"ilax-perf: {group.__name__}: {error}", file=sys.stderr)
                failed = True
    report.print_table(about, rows)
    content = report.content(about, rows)
    report.write_json(options.output, content)
    progress(f"wrote {options.output}")
    if options.smoke:
        for problem in sanity.problems(list(rows)):
            print(f"ilax-perf: {problem}", file=sys.stderr)
            failed = True
    elif options.publish and not (failed or rough or patterns):
        _publish(content, options.publish, progress)
    return 1 if failed else 0


def _publish(content: Mapping[str, Any], folder: Path, progress: Progress) -> None:
    """Result, pictures and numbers of the documentation, all of one run."""
    from ilax_perf import plots, scale

    report.write_json(folder / "perf" / "bench.json", content)
    for path in plots.draw(content, folder / "perf"):
        progress(f"drew {path}")
    scale.renew(folder / "scale.md", content)
    progress(f"renewed {folder / 'scale.md'}")
