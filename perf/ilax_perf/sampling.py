# SPDX-License-Identifier: Apache-2.0
"""How things are measured: one core, many short turns, medians.

The machine may be shared. All candidates take turns, so that whatever else runs
hits them alike. Ratios are worth more than values.
"""

from __future__ import annotations

import contextlib
import operator
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

_MOST_URGENT = -20

Progress = Callable[[str], None]


class Median(float):
    """The median of some samples, which it carries along.

    Arithmetic works on the samples, so that what is computed from a measured value
    is the median of as many computed samples. Of two medians the samples are
    paired: they were taken in turns.

    Attributes:
        samples: in the order in which they were taken.
    """

    samples: tuple[float, ...]

    def __new__(cls, samples: Iterable[float]) -> Self:
        """The median of one sample or more."""
        kept = tuple(map(float, samples))
        self = super().__new__(cls, statistics.median(kept))
        self.samples = kept
        return self

    def __add__(self, other: float) -> Median:
        return self._with(other, operator.add)

    def __sub__(self, other: float) -> Median:
        return self._with(other, operator.sub)

    def __mul__(self, other: float) -> Median:
        return self._with(other, operator.mul)

    def __truediv__(self, other: float) -> Median:
        return self._with(other, operator.truediv)

    def __rmul__(self, other: float) -> Median:
        return Median(other * sample for sample in self.samples)

    def __rtruediv__(self, other: float) -> Median:
        return Median(other / sample for sample in self.samples)

    def _with(self, other: float, act: Callable[[float, float], float]) -> Median:
        if isinstance(other, Median):
            pairs = zip(self.samples, other.samples, strict=True)
            return Median(act(*pair) for pair in pairs)
        return Median(act(sample, other) for sample in self.samples)


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
) -> dict[str, Median]:
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
        The samples of each candidate, and their median.
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
    return {name: Median(sample) for name, sample in samples.items()}
