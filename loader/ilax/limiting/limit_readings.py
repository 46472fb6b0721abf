# SPDX-License-Identifier: Apache-2.0
"""Limits with their counters and backlogs. Read, never written."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.errors import NotFoundError
from ilax.hooks import cgroup_attach
from ilax.limiting import limit_rules
from ilax.limiting.limit_book import slots_by_cgroup
from ilax.system.cgroups import Tree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ilax.address import Address
    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class Counted:
    """What a limit let pass and refused, over all CPUs. Bytes are charged bytes.

    Attributes:
        passed_packets: includes marked and tagged ones.
    """

    passed_packets: int
    passed_bytes: int
    dropped_packets: int
    dropped_bytes: int
    marked_packets: int
    marked_bytes: int
    tagged_packets: int
    tagged_bytes: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit, its rules and its state.

    Attributes:
        cgroup: path below the root of the hierarchy; the number if it is gone.
        id: number of the cgroup.
        slot: row of `ilax_limits`.
        alive: the cgroup exists.
        rate: bits per second, None = bytes are free.
        packets: per second, None = packets are free.
        burst_ns, mark_ns, drop_ns, small_ns: as in the contract.
        parents: cgroups above it, nearest first.
        nested: a cgroup with a row lies below.
        attached: the program at the cgroup charges it.
        endpoints: that name the cgroup.
        counted: since the limit was first set.
        backlog_ns: of the virtual queue now; 0 = idle.
        refilled_ns: CLOCK_MONOTONIC of the last charge, 0 = never.
        idle_ns: since then; None = never.
    """

    cgroup: str
    id: int
    slot: int
    alive: bool
    rate: int | None
    packets: int | float | None
    burst_ns: int
    mark_ns: int
    drop_ns: int
    small_ns: int
    action: str
    tag_mark: int
    tag_priority: int
    chunk_ns: int
    parents: list[str]
    depth: int
    nested: bool
    generation: int
    attached: bool
    endpoints: list[Address]
    counted: Counted
    backlog_ns: int
    refilled_ns: int
    idle_ns: int | None


def policed(instance: Instance) -> NDArray[np.void]:
    """Counters of all slots, structured as `struct ilax_policed`, shape (slots,)."""
    import numpy as np

    before = _owners(instance.chunks.per_cpu())
    limits, backlogs = instance.limits.rows()[1], instance.backlogs.rows()[1]
    chunks = instance.chunks.per_cpu()
    # A row that changes hands moves its counts: look at its limits by themselves.
    moved = (before != _owners(chunks)).any(axis=-1)
    held = chunks[~moved]
    slots, uses = held["slot"], held["generation"] >> _use_shift()
    valid = (slots > 0) & (slots < len(limits))
    valid[valid] &= limits["generation"][slots[valid]] >> _use_shift() == uses[valid]
    totals: NDArray[np.void] = backlogs["total"].copy()
    for name in totals.dtype.names or ():
        np.add.at(totals[name], slots[valid], held["policed"][name][valid])
    doubtful = {*before[moved][:, 0].tolist(), *chunks["slot"][moved].tolist()} - {0}
    for slot in doubtful:
        totals[slot] = _row(instance, slot)
    return totals


def counted(instance: Instance, slot: int) -> Counted:
    """Counters of one slot, over all CPUs."""
    row = _row(instance, slot)
    return Counted(**{name: int(row[name]) for name in row.dtype.names or ()})


def _row(instance: Instance, slot: int) -> np.void:
    """Counters of one slot: those of the limit, and what CPUs have not handed in."""
    import numpy as np

    key = index_key(slot & (instance.chunks.map.max_entries - 1))
    after = instance.chunks.cpus(key)
    for _ in range(_TRIES):
        before = after
        limit: Any = instance.limits.get(index_key(slot))
        total: Any = instance.backlogs.get(index_key(slot))
        after = instance.chunks.cpus(key)
        # A CPU hands in when its row changes hands; then nothing here is of one
        # moment.
        if (_owners(before) == _owners(after)).all():
            break
    use = int(limit["generation"]) >> _use_shift()
    mine = after[(after["slot"] == slot) & (after["generation"] >> _use_shift() == use)]
    row: np.void = np.zeros(1, total["total"].dtype)[0]
    for name in row.dtype.names or ():
        row[name] = total["total"][name] + mine["policed"][name].sum(dtype=np.uint64)
    return row


# Rows of ilax_chunks change hands once in a tick of the kernel's clock at most.
_TRIES = 8


def _owners(chunks: NDArray[np.void]) -> NDArray[np.uint32]:
    """Who owns each row, as (slot, generation) in the last axis."""
    import numpy as np

    return np.stack([chunks["slot"], chunks["generation"]], axis=-1)


def _use_shift() -> int:
    return schema.enum("ilax_limit_unit")["ILAX_GENERATION_SHIFT"]


def backlog(instance: Instance, slot: int) -> tuple[int, int]:
    """Backlog of one slot now, and when it was charged last: ns, CLOCK_MONOTONIC ns."""
    row: Any = instance.backlogs.get(index_key(slot))
    shift = schema.enum("ilax_limit_unit")["ILAX_TIME_SHIFT"]
    until = int(row["until"])
    # Time that is paid back can make it a little less than 0.
    until -= (until >> 63) << 64
    return max(0, (until >> shift) - time.monotonic_ns()), int(row["refilled"])


class _Reader:
    """What all limits have in common, read once."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.slots = slots_by_cgroup(instance)
        self.cgroups = Tree.read()
        self._owners = {slot: cgroup for cgroup, slot in self.slots.items()}
        self._pinned = cgroup_attach.pinned(instance.pins)
        self._users: dict[int, list[Address]] = defaultdict(list)
        for endpoint in endpoints.read_limited(instance):
            self._users[endpoint.limit].append(endpoint.sir)

    def read(self, cgroup: int) -> Limit:
        """One limit."""
        slot = self.slots[cgroup]
        row: Any = self.instance.limits.get(index_key(slot))
        rules = limit_rules.from_row(row)
        backlog_ns, refilled = backlog(self.instance, slot)
        name = self.cgroups.name
        nested = schema.enum("ilax_limit_flag")["ILAX_LIMIT_NESTED"]
        return Limit(
            cgroup=name(cgroup),
            id=cgroup,
            slot=slot,
            alive=cgroup in self.cgroups.by_id,
            rate=rules.rate,
            packets=rules.packets,
            burst_ns=rules.burst,
            mark_ns=rules.mark,
            drop_ns=rules.drop,
            small_ns=rules.small,
            action=rules.action,
            tag_mark=rules.tag_mark,
            tag_priority=rules.tag_priority,
            chunk_ns=1 << int(row["chunk"]) if row["chunk"] else 0,
            parents=[name(self._owners.get(s, 0)) for s in row["parents"].tolist() if s],
            depth=int(row["depth"]),
            nested=bool(row["flags"] & nested),
            generation=int(row["generation"]),
            attached=cgroup in self._pinned and cgroup_attach.slot(self.instance, cgroup) == slot,
            endpoints=self._users.get(slot, []),
            counted=counted(self.instance, slot),
            backlog_ns=backlog_ns,
            refilled_ns=refilled,
            idle_ns=time.monotonic_ns() - refilled if refilled else None,
        )


def read_all(instance: Instance) -> list[Limit]:
    """All limits, by the path of their cgroups."""
    if not slots_by_cgroup(instance):
        return []  # also where no hierarchy of cgroups is mounted
    reader = _Reader(instance)
    return sorted(map(reader.read, reader.slots), key=lambda limit: limit.cgroup.split("/"))


def read(instance: Instance, cgroup: int) -> Limit:
    """The limit of one cgroup.

    Raises:
        NotFoundError: it has none.
    """
    reader = _Reader(instance)
    if cgroup not in reader.slots:
        raise NotFoundError(f"cgroup {reader.cgroups.name(cgroup)} has no limit")
    return reader.read(cgroup)


# --- rates -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters of all limits at one moment.

    Attributes:
        at_ns: CLOCK_MONOTONIC.
        limits: by the number of the cgroup: slot and which use of it, counters,
            backlog in ns.
    """

    at_ns: int
    limits: dict[int, tuple[tuple[int, int], Counted, int]]


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened at one limit between two samples, per second.

    Attributes:
        marked_bps, marked_pps: marked or tagged.
        backlog_ns: at the second sample.
    """

    cgroup: str
    id: int
    passed_bps: float
    passed_pps: float
    marked_bps: float
    marked_pps: float
    dropped_bps: float
    dropped_pps: float
    backlog_ns: int


def sample(instance: Instance, cgroups: set[int] | None = None) -> Sample:
    """Read the counters of all limits, or of some cgroups only."""
    at_ns, found = time.monotonic_ns(), {}
    for cgroup, slot in slots_by_cgroup(instance).items():
        if cgroups is None or cgroup in cgroups:
            row: Any = instance.limits.get(index_key(slot))
            use = (slot, int(row["generation"]) >> _use_shift())
            found[cgroup] = (use, counted(instance, slot), backlog(instance, slot)[0])
    return Sample(at_ns, found)


_NOTHING = Counted(*[0] * len(fields(Counted)))


def rates(before: Sample, after: Sample) -> list[Rates]:
    """Rates by the path of the cgroups; a limit set meanwhile counts from 0."""
    if not after.limits:
        return []
    tree = Tree.read()
    seconds = (after.at_ns - before.at_ns) / 1e9
    found = []
    for cgroup, (use, now, backlog_ns) in after.limits.items():
        then_use, then, _ = before.limits.get(cgroup, ((0, 0), _NOTHING, 0))
        if then_use != use:
            then = _NOTHING
        found.append(
            Rates(
                tree.name(cgroup),
                cgroup,
                8 * (now.passed_bytes - then.passed_bytes) / seconds,
                (now.passed_packets - then.passed_packets) / seconds,
                8 * (_marks(now, "bytes") - _marks(then, "bytes")) / seconds,
                (_marks(now, "packets") - _marks(then, "packets")) / seconds,
                8 * (now.dropped_bytes - then.dropped_bytes) / seconds,
                (now.dropped_packets - then.dropped_packets) / seconds,
                backlog_ns,
            )
        )
    return sorted(found, key=lambda one: one.cgroup.split("/"))


def _marks(counts: Counted, what: str) -> int:
    return int(getattr(counts, f"marked_{what}") + getattr(counts, f"tagged_{what}"))
