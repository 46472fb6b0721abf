# SPDX-License-Identifier: Apache-2.0
"""What became of each test: lines of JSON while it runs, one file for each kernel after."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Outcome:
    """One test on one kernel.

    Attributes:
        job: whose test it is.
        test: its name; the job's name for what happened to all of the job.
        outcome: "passed", "failed" or "skipped".
        reason: why it was skipped, or how it failed; else empty.
        seconds: how long it took there.
        figures: what the test recorded, by name.
    """

    job: str
    test: str
    outcome: str
    reason: str = ""
    seconds: float = 0
    figures: dict[str, Any] = field(default_factory=dict)


def append(path: Path, outcome: Outcome) -> None:
    """Add a line; it is there even if the machine stops right after."""
    with path.open("a") as lines:
        lines.write(json.dumps(asdict(outcome)) + "\n")


def read(path: Path) -> list[Outcome]:
    """Read all lines; none if there is no such file."""
    if not path.exists():
        return []
    return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]


def count(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many passed, failed and were skipped."""
    kinds = [outcome.outcome for outcome in outcomes]
    return {kind: kinds.count(kind) for kind in (PASSED, FAILED, SKIPPED)}
