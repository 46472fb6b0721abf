# SPDX-License-Identifier: Apache-2.0
"""`ilax-perf scale`: the tables of docs/scale.md, computed from bench.json."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ilax_perf import report
from ilax_perf.scale_assumptions import CONSTANTS, Assumptions
from ilax_perf.scale_model import Model, Table

_ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- end of numbers -->)", re.DOTALL)


def model(content: Mapping[str, Any], assumed: Assumptions | None = None) -> Model:
    """The model of a result.

    Raises:
        ResultError: it lacks a row.
    """
    rows = {row["name"]: row for row in content["rows"]}
    missing = [name for name in CONSTANTS if name not in rows]
    if missing:
        raise report.ResultError(f"the result lacks {', '.join(missing)}: measure these, too")
    return Model(assumed or Assumptions(), rows, int(content["cpus"]))


def blocks(content: Mapping[str, Any], assumed: Assumptions | None = None) -> dict[str, str]:
    """Markdown by name: all tables, and the line that says where figures come from."""
    made = {name: _markdown(table) for name, table in model(content, assumed).tables().items()}
    source = (
        f"Measured on {content['machine']}, {content['cpus']} CPUs, Linux {content['kernel']}, "
        f"commit {content['commit']}, {content['date'][:10]}.\n"
    )
    return {"source": source, **made}


def _markdown(table: Table) -> str:
    head, *rows = table
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def renewed(page: str, made: Mapping[str, str]) -> str:
    """The page with its blocks of numbers made anew.

    Raises:
        KeyError: it has a block that nothing is known about.
    """
    return _BLOCK.sub(lambda found: found[1] + made[found[2]] + found[3], page)


def renew(path: Path, content: Mapping[str, Any]) -> None:
    """Bring a page up to date with a result."""
    path.write_text(renewed(path.read_text(), blocks(content)))


def _assumption(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in {each.name for each in fields(Assumptions)}:
        raise argparse.ArgumentTypeError(f"there is no assumption {name!r}")
    number = float(value)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: a positive number is needed")
    return name, number


def main(words: Sequence[str]) -> int:
    """Print the tables, or renew the page; exit code 2 for a result that does not do."""
    parser = argparse.ArgumentParser(
        prog="ilax-perf scale",
        description="Compute what a fleet of hosts needs, from measured rows and assumptions.",
        epilog="Example: ilax-perf scale --set hosts=1000 --set tasks=50000",
    )
    parser.add_argument(
        "result", type=Path, nargs="?", default=_ROOT / "docs/perf/bench.json", metavar="FILE",
        help="bench.json; default: the one of the documentation",
    )  # fmt: skip
    parser.add_argument(
        "--set", type=_assumption, action="append", default=[], metavar="NAME=VALUE",
        help="assume something else; the table of assumptions has the names",
    )  # fmt: skip
    parser.add_argument("--write", type=Path, metavar="PAGE", help="renew the numbers of this page")
    options = parser.parse_args(words)
    try:
        content = report.read_json(options.result)
        assumed: dict[str, float] = dict(options.set)
        made = blocks(content, replace(Assumptions(), **assumed))
    except report.ResultError as error:
        print(f"ilax-perf: {error}", file=sys.stderr)
        return 2
    if options.write:
        options.write.write_text(renewed(options.write.read_text(), made))
        return 0
    for name, text in made.items():
        print(f"{name}\n\n{text}")
    return 0
