# SPDX-License-Identifier: Apache-2.0
"""Marks as they happen: by limit, from counters. The datapath writes no samples of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.limiting.limit_book import slots_by_cgroup
from ilax.limiting.limit_readings import policed
from ilax.system.cgroups import Tree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class Marked:
    """What one limit marked and tagged between two looks, in packets."""

    cgroup: str
    marked: int
    tagged: int


class Marks:
    """Looks at the limits of an instance now and then."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._before = policed(instance)

    def since_last(self) -> list[Marked]:
        """What was marked since the last look, by the path of the cgroups."""
        before, self._before = self._before, policed(self._instance)
        marked = _more(before["marked_packets"], self._before["marked_packets"])
        tagged = _more(before["tagged_packets"], self._before["tagged_packets"])
        slots = (marked + tagged).nonzero()[0].tolist()
        if not slots:
            return []
        tree = Tree.read()
        names = {slot: tree.name(c) for c, slot in slots_by_cgroup(self._instance).items()}
        found = [
            Marked(names.get(slot, f"slot {slot}"), int(marked[slot]), int(tagged[slot]))
            for slot in slots
        ]
        return sorted(found, key=lambda one: one.cgroup.split("/"))


def _more(before: NDArray[np.uint64], now: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The increase; a slot that went to another limit counts from 0."""
    import numpy as np

    return np.where(now >= before, now - before, now)
