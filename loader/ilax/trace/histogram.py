# SPDX-License-Identifier: Apache-2.0
"""Histograms of base 2, as bcc's tools have them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# A power of 2. The last one, of 2^30 ns (a second) and more, has no end.
SLOTS = 32
_STARS = 40


@dataclass(frozen=True, slots=True)
class Slot:
    """Packets whose time was at least `low` and at most `high` ns."""

    low: int
    high: int
    packets: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Times in ns.

    Attributes:
        packets: how many.
        total: sum of all times, in ns.
        counts: packets of each slot, `SLOTS` of them.
    """

    packets: int
    total: int
    counts: tuple[int, ...]

    @classmethod
    def sum(cls, parts: Iterable[Histogram]) -> Histogram:
        """One of all."""
        parts = list(parts)
        columns = zip(*(one.counts for one in parts), strict=True)
        return cls(
            sum(one.packets for one in parts),
            sum(one.total for one in parts),
            tuple(map(sum, columns)) if parts else (0,) * SLOTS,
        )

    @property
    def mean(self) -> int:
        """Mean in ns; 0 where there is no packet."""
        return self.total // self.packets if self.packets else 0

    def below(self, share: float) -> int:
        """The time in ns below which at least `share` of all packets were.

        As exact as slots are: the end of the slot that has it.
        """
        seen = 0
        for slot in self.slots():
            seen += slot.packets
            if seen >= share * sum(self.counts):
                return slot.high + 1
        return 0

    def slots(self) -> list[Slot]:
        """From the first to the last slot with packets."""
        used = [number for number, packets in enumerate(self.counts) if packets]
        if not used:
            return []
        return [
            Slot(1 << number >> 1, (1 << number) - 1, self.counts[number])
            for number in range(used[0], used[-1] + 1)
        ]

    def lines(self) -> list[str]:
        """A line of text for each slot, below one that names the columns."""
        slots = self.slots()
        if not slots:
            return []
        most = max(slot.packets for slot in slots)
        return [
            f"{'nsecs':>24} : {'packets':<10} distribution",
            *(_line(slot, most) for slot in slots),
        ]


def _line(slot: Slot, most: int) -> str:
    # What is there at all is seen.
    stars = -(-_STARS * slot.packets // most)
    between = f"{slot.low:>10} -> {slot.high:<10}"
    return f"{between:>24} : {slot.packets:<10} |{'*' * stars:<{_STARS}}|"
