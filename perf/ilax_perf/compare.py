# SPDX-License-Identifier: Apache-2.0
"""What changed between two results beyond what their own samples scatter.

A row that was measured together with what it is compared with counts as a ratio to
that, sample by sample: what hits both alike is no change. The difference of the
logarithms is judged by Welch's t-test, and by Holm's method over all rows, so that a
comparison of many rows finds a change where there is none in no more than one of
twenty comparisons. Runs differ by more than their samples show (memory is laid out
anew, the neighbours on the machine are others); so a change must also exceed a floor.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

from ilax_perf.rows import LESS, MORE, NS, PERCENT
from ilax_perf.student import two_sided

# Verdicts.
SAME, BETTER, WORSE, CHANGED = "same", "better", "worse", "changed"
UNKNOWN, ADDED, REMOVED = "unknown", "added", "removed"

LEVEL, FLOOR = 0.05, 0.08
# Fewer say nothing about how much they scatter.
_SAMPLES = 3
# What one step of the measure is: the kernel counts whole nanoseconds, and a
# percentage point is the least that anybody cares about.
_STEPS: Mapping[str, float] = {NS: 1.0, PERCENT: 1.0}
# Rows that wait for memory: two runs of the same programs differed by two thirds, as
# what the neighbours leave of the last cache does. Only more than double is a change.
_FLOORS: Mapping[str, float] = {"cost.*_64k": 1.0, "cost.*_1m": 1.0}


@dataclass(frozen=True, slots=True)
class Change:
    """One row in both results.

    Attributes:
        name, unit: of the row; "" for a unit that differs between them.
        before, after: medians, in `unit`; None where the row is missing.
        of: what the comparison is relative to, or None.
        ratio: after over before, relative to `of`; None where that means nothing.
        p: probability of such a difference by chance, corrected for all rows; None
            where there are too few samples.
        verdict: "same", "better", "worse", "changed" (neither is better),
            "unknown" (too few samples), "added" or "removed".
    """

    name: str
    unit: str
    before: float | None
    after: float | None
    of: str | None = None
    ratio: float | None = None
    p: float | None = None
    verdict: str = SAME


@dataclass(frozen=True, slots=True)
class _Pair:
    """What is compared of a row, on a scale where differences count.

    Attributes:
        before, after: samples there.
        least: difference of medians that counts as a change.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    least: float

    @property
    def difference(self) -> float:
        return statistics.median(self.after) - statistics.median(self.before)

    @property
    def p(self) -> float | None:
        """By chance, of this row alone; None for too few samples."""
        if min(len(self.before), len(self.after)) < _SAMPLES:
            return None
        return welch(self.before, self.after)


def compare(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    level: float = LEVEL,
    floor: float = FLOOR,
) -> list[Change]:
    """Compare the rows of two results.

    Args:
        before, after: as `report.read_json` returns them.
        level: probability that a change is found although nothing changed.
        floor: changes below it (0.08 = 8 %) are none; a few rows have a higher one.

    Returns:
        A change for each row of either, in order; the added ones last.
    """
    old, new = _by_name(before), _by_name(after)
    found: dict[str, tuple[Change, _Pair | None]] = {}
    for name, row in old.items():
        other = new.get(name)
        if other is None:
            change = Change(name, row["unit"], row["value"], None, verdict=REMOVED)
            found[name] = change, None
        elif row["unit"] != other["unit"]:
            change = Change(name, "", row["value"], other["value"], verdict=UNKNOWN)
            found[name] = change, None
        else:
            found[name] = _one(row, other, old, new, floor)
    for name, row in new.items():
        if name not in old:
            found[name] = Change(name, row["unit"], None, row["value"], verdict=ADDED), None
    chances = holm({n: pair.p for n, (_, pair) in found.items() if pair and pair.p is not None})
    return [
        change if pair is None else _judged(change, pair, chances.get(name), level, old[name])
        for name, (change, pair) in found.items()
    ]


def _by_name(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {row["name"]: row for row in result["rows"]}


def _one(
    row: Mapping[str, Any],
    other: Mapping[str, Any],
    old: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
    floor: float,
) -> tuple[Change, _Pair]:
    """What is to be judged of a row that both have."""
    of = row["of"] if row["of"] == other["of"] and row["of"] in old and row["of"] in new else None
    samples = _relative(row, old.get(of or "")), _relative(other, new.get(of or ""))
    unit, values = row["unit"], (row["value"], other["value"])
    floor = max(floor, *(wide for p, wide in _FLOORS.items() if fnmatch(row["name"], p)), 0.0)
    change = Change(row["name"], unit, *values, of)
    step = _STEPS.get(unit, 0.0)
    if min(map(min, samples)) > 0:
        logarithms = [tuple(map(math.log, part)) for part in samples]
        least = max(math.log1p(floor), math.log1p(step / min(map(abs, values))))
        pair = _Pair(logarithms[0], logarithms[1], least)
        return replace(change, ratio=math.exp(pair.difference)), pair
    # No logarithm and no ratio: the difference itself, in the row's own unit.
    samples = tuple(row["samples"]), tuple(other["samples"])
    least = max(floor * max(map(abs, values)), step)
    return replace(change, of=None), _Pair(*samples, least)


def _relative(row: Mapping[str, Any], base: Mapping[str, Any] | None) -> tuple[float, ...]:
    """Samples of a row, divided by those of what it is compared with."""
    samples = tuple(row["samples"])
    if base is None or min(base["samples"]) <= 0:
        return samples
    if len(base["samples"]) == len(samples):
        return tuple(a / b for a, b in zip(samples, base["samples"], strict=True))
    return tuple(sample / base["value"] for sample in samples)


def _judged(
    change: Change, pair: _Pair, chance: float | None, level: float, row: Mapping[str, Any]
) -> Change:
    if chance is None:
        return replace(change, verdict=UNKNOWN)
    change = replace(change, p=chance)
    # A hair more, or rounding would decide about a change of just the floor.
    if chance > level or abs(pair.difference) <= pair.least * (1 + 1e-9):
        return change
    grown = pair.difference > 0
    verdict = {MORE: BETTER if grown else WORSE, LESS: WORSE if grown else BETTER}
    return replace(change, verdict=verdict.get(str(row["better"]), CHANGED))


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Probability of such a difference of means if there is none."""
    parts = [statistics.variance(each) / len(each) for each in (first, second)]
    difference = statistics.fmean(first) - statistics.fmean(second)
    variance = sum(parts)
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    freedom = variance**2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (first, second), strict=True)
    )
    return two_sided(difference / math.sqrt(variance), freedom)


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Correct the probabilities of many tests, so that all together keep a level."""
    corrected, least = {}, 0.0
    for number, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        least = max(least, min(1.0, chances[name] * (len(chances) - number)))
        corrected[name] = least
    return corrected


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between the surroundings of two results: it may explain any change."""
    found = []
    for part in ("machine", "cpus", "memory_mib", "kernel", "run", "settings", "packages"):
        old, new = before.get(part), after.get(part)
        if not (isinstance(old, dict) and isinstance(new, dict)):
            old, new = {part: old}, {part: new}
        for name in dict.fromkeys((*old, *new)):
            if old.get(name) != new.get(name):
                found.append(f"{name}: {old.get(name)} before, {new.get(name)} after")
    return found
