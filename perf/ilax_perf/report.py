# SPDX-License-Identifier: Apache-2.0
"""The result as JSON and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilax_perf.rows import TARGETS, Row, Rows

# Version of the format that perf/README.md describes. It changes when what a reader
# knows would no longer hold; new members do not change it.
SCHEMA = 1
_MEMBERS = {"name", "value", "unit", "better", "of", "ratio", "samples"}


def content(about: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """What bench.json holds.

    Args:
        about: from `surroundings.about`.
    """
    return {
        "schema": SCHEMA,
        **about,
        "rows": [_as_json(row) for row in rows],
        "targets": [
            {
                "name": row.name,
                "target": TARGETS[row.name].text(row),
                "met": TARGETS[row.name].met(row),
                "where": rows.reasons.get(row.name, []),
            }
            for row in rows
            if row.name in TARGETS
        ],
    }


def _as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "value": row.value,
        "unit": row.unit,
        "better": row.better,
        "of": row.of,
        "ratio": row.ratio,
        "samples": list(row.samples),
    }


def write_json(path: Path, whole: Mapping[str, Any]) -> None:
    """Write everything into `path`, each row on one line, so that files can be compared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(whole))


class ResultError(Exception):
    """A file that is no result, or one of another format."""


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
        ResultError: says what is wrong with the file.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path} is no JSON: {error}") from error
    if not isinstance(whole, dict) or "rows" not in whole:
        raise ResultError(f"{path} is no result of ilax-perf: it has no rows")
    if whole.get("schema") != SCHEMA:
        raise ResultError(
            f"{path} has schema {whole.get('schema', 'none')}, this program reads {SCHEMA}; "
            "measure again, or use the ilax-perf that wrote it"
        )
    for number, row in enumerate(whole["rows"]):
        if not (isinstance(row, dict) and row.keys() >= _MEMBERS and row["samples"]):
            raise ResultError(f"{path}: row {number} is none, or lacks one of {sorted(_MEMBERS)}")
    return whole


def as_text(whole: Mapping[str, Any]) -> str:
    """JSON with one line for each member, and for each row and target."""
    members = []
    for name, value in whole.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(f"  {json.dumps(each, ensure_ascii=False)}" for each in value)
            text = f"[\n{lines}\n ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        members.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(members) + "\n}\n"


def print_table(about: Mapping[str, Any], rows: Rows) -> None:
    """One line for each row, then what is behind missed targets."""
    print(f"{about['machine']}, {about['cpus']} CPUs, Linux {about['kernel']}, {about['commit']}\n")
    # As wide as what they hold: rows that say what they are over have long names.
    longest = max((len(row.name) for row in rows), default=0)
    ratios = {row.name: _ratio(row) for row in rows}
    wide = max((len(text) for text in ratios.values()), default=0)
    print(f"{'row':{longest}} {'value':>10} {'unit':7} {'ratio':>7} of")
    for row in rows:
        line = f"{row.name:{longest}} {_number(row.value):>10} {row.unit:7} "
        line += f"{ratios[row.name]:{wide}}"
        target = TARGETS.get(row.name)
        if target:
            met = target.met(row)
            word = "not compared" if met is None else "met" if met else "MISSED"
            line += f" {word}: {target.text(row)}"
        print(line.rstrip())
    for name, lines in rows.reasons.items():
        print(f"\n{name}: where the time goes")
        for text in lines:
            print(f"  {text}")


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:7.3f} {row.of}"


def _number(value: float) -> str:
    """Three decimals while they mean something."""
    return f"{value:.3f}" if abs(value) < 100_000 else f"{value:,.0f}"
