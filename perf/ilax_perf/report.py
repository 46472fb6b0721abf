# SPDX-License-Identifier: Apache-2.0
"""The result as JSON and as a table for people."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ilax_perf.rows import TARGETS, Rows

_ROOT = Path(__file__).resolve().parents[2]


def header() -> dict[str, Any]:
    """Where and what was measured."""
    return {
        "machine": _cpu_model(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def _commit() -> str:
    """The commit, with "+" where the work tree differs; empty outside of git."""

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *args], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    name = git("rev-parse", "--short=12", "HEAD")
    return f"{name}+" if name and git("status", "--porcelain") else name


def write_json(path: Path, rows: Rows) -> None:
    """Write everything into `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = header() | {
        "rows": [asdict(row) for row in rows],
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
    path.write_text(json.dumps(content, indent=1) + "\n")


def print_table(rows: Rows) -> None:
    """One line for each row, then what is behind missed targets."""
    about = header()
    print(f"{about['machine']}, {about['cpus']} CPUs, Linux {about['kernel']}, {about['commit']}\n")
    print(f"{'row':30} {'value':>10} {'unit':7} {'ratio':>7} of")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:7.3f} {row.of}"
        line = f"{row.name:30} {row.value:10.3f} {row.unit:7} {ratio:35}"
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
