# SPDX-License-Identifier: Apache-2.0
"""How things are measured: one core, many short rounds, medians.

The machine may be shared. All candidates take turns in short rounds, so that
whatever else runs hits them alike, and the median of the rounds is reported.
Ratios are worth more than values.
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
        runs: repetitions of long measurements.
        quick: shorter and rougher, to see whether everything works.
        cpu: where packets are processed.
        wanted: whether a row of this name is asked for.
        progress: is told what happens now.
    """

    runs: int
    quick: bool
    cpu: int
    wanted: Callable[[str], bool]
    progress: Progress

    @property
    def rounds(self) -> int:
        """Repetitions of measurements that take milliseconds."""
        return self.runs if self.quick else 5 * self.runs

    def any_wanted(self, names: Sequence[str]) -> bool:
        """Whether one of several rows is asked for."""
        return any(map(self.wanted, names))


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


def medians(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Let the candidates take turns.

    Args:
        candidates: each call measures once and returns the value.
        rounds: turns for each, after one that does not count.

    Returns:
        Median of each candidate.
    """
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, measure in candidates.items():
            value = measure()
            if turn:
                samples[name].append(value)
    return {name: statistics.median(values) for name, values in samples.items()}
