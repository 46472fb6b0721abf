# SPDX-License-Identifier: Apache-2.0
"""Private copies of all that the datapath writes; everything else is the live map.

A packet that is tried must not be counted, sampled or charged, and must find the
limits as the next real packet would. So counters, traffic and the ring of events
are empty maps of our own; backlogs, chunks and clock are our own as well and get
the live rows of the limits in question right before a run. Nothing here ever
writes to a live map.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from ilax.bpf import Map, Object
from ilax.bpf.handle import Closing
from ilax.contract import schema
from ilax.contract.tables import Table, index_key

if TYPE_CHECKING:
    from ilax.instances.instance import Instance

# All that programs write, by the contract ("Writer: datapath").
WRITTEN = (
    "ilax_backlogs",
    "ilax_chunks",
    "ilax_clock",
    "ilax_counters",
    "ilax_events",
    "ilax_traffic",
)
_CLOCK_ROW = 0


class Sandbox(Closing):
    """The maps of an instance as twins of its programs see them.

    Attributes:
        maps: by name; those of WRITTEN are private.
        counters, backlogs, chunks: private tables.
    """

    def __init__(self, live: Instance) -> None:
        self.live = live
        self._stack = ExitStack()
        self._saved: dict[tuple[str, int], bytes] = {}
        shared = {name: item for name, item in live.maps.items() if name not in WRITTEN}
        with self._stack as stack:
            private = self._make(shared, stack)
            self.maps = shared | private
            self.counters = Table(private["ilax_counters"])
            self.backlogs = Table(private["ilax_backlogs"])
            self.chunks = Table(private["ilax_chunks"])
            self._stack = stack.pop_all()

    def _make(self, shared: dict[str, Map], stack: ExitStack) -> dict[str, Map]:
        with Object.open(schema.object_path("abi")) as obj:
            obj.reuse_maps(shared)
            # A slot is an index: as many rows as the live ones. Traffic is written
            # where there is a row, and nothing depends on it.
            obj.maps["ilax_backlogs"].set_max_entries(self.live.backlogs.map.max_entries)
            obj.maps["ilax_traffic"].set_max_entries(1)
            obj.maps["ilax_events"].set_max_entries(mmap.PAGESIZE)
            obj.load()
            return {name: stack.enter_context(obj.maps[name].open()) for name in WRITTEN}

    def copy_limits(self, slots: Iterable[int]) -> None:
        """Take over the live state of limits, unless a run has changed it already.

        Args:
            slots: of a limit and its parents.
        """
        wanted = [("ilax_clock", _CLOCK_ROW)]
        rows = self.chunks.map.max_entries
        for slot in slots:
            wanted += [("ilax_chunks", slot & (rows - 1)), ("ilax_backlogs", slot)]
        for name, index in wanted:
            if (name, index) not in self._saved:
                raw = self.live.maps[name].lookup(index_key(index))
                assert raw is not None, f"{name} is an array, and has no row {index}"
                self._saved[name, index] = raw
                self.maps[name].update(index_key(index), raw)

    def state(self) -> dict[tuple[str, int], bytes]:
        """Rows of limits as they are in here now, to be put back by `restore`."""
        return {
            (name, index): self.maps[name].lookup(index_key(index)) or b""
            for name, index in self._saved
        }

    def restore(self, state: dict[tuple[str, int], bytes]) -> None:
        """Undo what runs have charged."""
        for (name, index), raw in state.items():
            self.maps[name].update(index_key(index), raw)

    def clear_counters(self, rows: Iterable[int]) -> None:
        """Zero rows of the private counters."""
        zero = bytes(self.counters.map.value_bytes)
        for row in rows:
            self.counters.map.update(index_key(row), zero)

    def close(self) -> None:
        """Free the private maps."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self
