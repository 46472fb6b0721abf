# SPDX-License-Identifier: Apache-2.0
"""How things are measured: one core, many short turns, medians.

The machine may be shared. All candidates take turns, so that whatever else runs
hits them alike. Ratios are worth more than values.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_MOST_URGENT = -20

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to measure.

    Attributes:
        runs: samples of each row; the median is reported.
        quick: shorter and rougher, to see whether everything works.
        full: every cell of every matrix, and longer.
        cpu: where packets are processed.
        wanted: whether a row of this name is asked for.
        progress: is told what happens now.
    """

    runs: int
    quick: bool
    full: bool
    cpu: int
    wanted: Callable[[str], bool]
    progress: Progress

    @property
    def turns(self) -> int:
        """Measurements of which the best one is a sample."""
        return 2 if self.quick else 8


def last_cpu() -> int:
    """The last CPU we may use: the first one takes most interrupts."""
    return max(os.sched_getaffinity(0))


@contextlib.contextmanager
def one_core(cpu: int) -> Iterator[None]:
    """This process stays on `cpu`, and others leave it alone as far as possible.

    What it sends through veth devices is processed on the same core.
    """
    affinity, priority = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {cpu})
    os.setpriority(os.PRIO_PROCESS, 0, _MOST_URGENT)
    try:
        yield
    finally:
        os.sched_setaffinity(0, affinity)
        os.setpriority(os.PRIO_PROCESS, 0, priority)


def medians(
    candidates: Mapping[str, Callable[[], float]],
    runs: int,
    turns: int,
    best: Callable[[Sequence[float]], float] = min,
) -> dict[str, float]:
    """Let the candidates take turns.

    What shares the core's caches and pipelines with us comes and goes within
    seconds and makes everything up to a half slower, never faster. So the turns
    are short, and of several turns the best one is the sample.

    Args:
        candidates: each call measures once and returns the value.
        runs: samples of each candidate.
        turns: calls for one sample. One more call comes first and does not count.
        best: `min` for times, `max` for rates.

    Returns:
        Median of the samples of each candidate.
    """
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for measure in candidates.values():
        measure()
    for _ in range(runs):
        values: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(turns):
            for name, measure in candidates.items():
                values[name].append(measure())
        for name, sample in values.items():
            samples[name].append(best(sample))
    return {name: statistics.median(sample) for name, sample in samples.items()}
