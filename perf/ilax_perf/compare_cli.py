# SPDX-License-Identifier: Apache-2.0
"""`ilax-perf compare`: two results, and an exit code for scripts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ilax_perf import compare, report
from ilax_perf.compare import Change

OK, REGRESSIONS, USAGE = 0, 1, 2

# Of a table that is not asked to show everything.
_WORTH_A_LINE = {
    *(compare.WORSE, compare.BETTER, compare.CHANGED),
    *(compare.ADDED, compare.REMOVED),
}


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ilax-perf compare",
        description="Say what changed between two results beyond noise.",
        epilog="Exit code: 0 nothing got worse, 1 something did, 2 wrong usage. "
        "Example: ilax-perf compare docs/perf/bench.json build/bench.json",
    )
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument("--all", action="store_true", help="also rows that did not change")
    parser.add_argument(
        "--floor",
        type=_share,
        default=100 * compare.FLOOR,
        metavar="PERCENT",
        help="changes below it are none, however sure (default %(default)g)",
    )
    parser.add_argument(
        "--level",
        type=_share,
        default=100 * compare.LEVEL,
        metavar="PERCENT",
        help="of comparisons in which nothing changed, how many may say that something did "
        "(default %(default)g)",
    )
    return parser.parse_args(words)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return value


def main(words: Sequence[str]) -> int:
    """Compare; returns the exit code."""
    options = _arguments(words)
    try:
        before, after = report.read_json(options.before), report.read_json(options.after)
    except report.ResultError as error:
        print(f"ilax-perf: {error}", file=sys.stderr)
        return USAGE
    changes = compare.compare(before, after, level=options.level / 100, floor=options.floor / 100)
    if not any(change.before is not None and change.after is not None for change in changes):
        print("ilax-perf: the two results have no row in common", file=sys.stderr)
        return USAGE
    warnings = compare.differences(before, after)
    worse = any(change.verdict == compare.WORSE for change in changes)
    if options.json:
        print(json.dumps(_as_json(before, after, changes, warnings), indent=1))
    else:
        _print(before, after, changes, warnings, everything=options.all)
    return REGRESSIONS if worse else OK


def _as_json(
    before: dict[str, Any], after: dict[str, Any], changes: Sequence[Change], warnings: list[str]
) -> dict[str, Any]:
    return {
        "schema": report.SCHEMA,
        "before": {name: before.get(name) for name in ("commit", "date")},
        "after": {name: after.get(name) for name in ("commit", "date")},
        "warnings": warnings,
        "rows": [asdict(change) for change in changes],
    }


def _print(
    before: dict[str, Any],
    after: dict[str, Any],
    changes: Sequence[Change],
    warnings: list[str],
    *,
    everything: bool,
) -> None:
    for warning in warnings:
        print(f"warning: not measured alike: {warning}", file=sys.stderr)
    print(f"before: {before.get('commit')}, {before.get('date')}")
    print(f"after:  {after.get('commit')}, {after.get('date')}\n")
    shown = [change for change in changes if everything or change.verdict in _WORTH_A_LINE]
    if shown:
        print(f"{'row':34} {'before':>12} {'after':>12} {'unit':7} {'change':>8} {'p':>7}  verdict")
    for change in shown:
        percent = "" if change.ratio is None else f"{100 * (change.ratio - 1):+.1f} %"
        p = "" if change.p is None else f"{change.p:.4f}"
        of = f", relative to {change.of}" if change.of else ""
        print(
            f"{change.name:34} {_number(change.before):>12} {_number(change.after):>12} "
            f"{change.unit:7} {percent:>8} {p:>7}  {change.verdict}{of}"
        )
    counts = {
        verdict: sum(change.verdict == verdict for change in changes)
        for verdict in dict.fromkeys(change.verdict for change in changes)
    }
    print("\n" * bool(shown) + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.6g}"
