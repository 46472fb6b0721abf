# SPDX-License-Identifier: Apache-2.0
"""Results that look as if they had been measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ilax_perf import report
from ilax_perf.rows import Rows
from ilax_perf.sampling import Median

ABOUT: Mapping[str, Any] = {
    "machine": "a machine",
    "cpus": 2,
    "memory_mib": 1024,
    "kernel": "6.18.0",
    "commit": "0123456789ab",
    "date": "2026-01-01T00:00:00+00:00",
    "run": {"runs": 5, "quick": False},
    "settings": {"hz": 250, "mitigations": {}},
    "packages": {"numpy": "2.0"},
}


def result(rows: Rows, **about: object) -> dict[str, Any]:
    return report.content({**ABOUT, **about}, rows)


def of(samples: Mapping[str, Sequence[float]], unit: str = "ns") -> dict[str, Any]:
    """A result with these samples of rows that are compared with nothing."""
    rows = Rows()
    for name, each in samples.items():
        rows.add(name, Median(each), unit)
    return result(rows)


def noisy(
    seed: int, names: Sequence[str], *, centre: float = 100, spread: float = 0.02, runs: int = 5
) -> dict[str, list[float]]:
    """Samples with so much relative noise, as the logarithm has it."""
    random = np.random.default_rng(seed)
    return {name: list(centre * np.exp(random.normal(0, spread, runs))) for name in names}
