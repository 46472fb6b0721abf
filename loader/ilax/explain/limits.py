# SPDX-License-Identifier: Apache-2.0
"""Limits on the way of a packet: their rules, their backlog now, what they say."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.limiting import limit_readings, limit_rules
from ilax.limiting.limit_book import slots_by_cgroup
from ilax.limiting.limit_readings import Counted
from ilax.system.cgroups import Tree

if TYPE_CHECKING:
    from ilax.explain.sandbox import Sandbox
    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class LimitUse:
    """A limit, as the packet found it.

    Attributes:
        cgroup: path below the root of the hierarchy.
        rate: bits per second, None = bytes are free; `packets` per second alike.
        burst_ns, mark_ns, drop_ns: as in the contract.
        small_ns: likewise; 0 where it does not count, which is at parents.
        backlog_ns: of the virtual queue, before the packet; 0 = idle.
        borrowed_ns: what the CPU of the run has paid for and not spent.
        outcome: "passed", "marked", "tagged", "refused", "refused by a parent",
            "would be marked", "would be refused", or "not asked".
        packets_charged, bytes_charged: of the wire; 0 if refused.
    """

    cgroup: str
    slot: int
    rate: int | None
    packets: int | float | None
    action: str
    burst_ns: int
    mark_ns: int
    drop_ns: int
    small_ns: int
    backlog_ns: int
    borrowed_ns: int
    outcome: str
    packets_charged: int
    bytes_charged: int


def chain(instance: Instance, slot: int) -> tuple[int, ...]:
    """Slot of a limit and those of its parents, nearest first, up to one that is none."""
    row: Any = instance.limits.get(index_key(slot))
    if not slot or row is None:
        return ()
    rows = instance.limits.map.max_entries
    return (slot, *itertools.takewhile(lambda above: 0 < above < rows, row["parents"].tolist()))


def counts(sandbox: Sandbox, slots: tuple[int, ...]) -> list[Counted]:
    """What limits have counted in the sandbox, of all CPUs."""
    return [_counted(sandbox, slot) for slot in slots]


def used(
    sandbox: Sandbox, slots: tuple[int, ...], before: list[Counted], cpu: int
) -> list[LimitUse]:
    """What became of a packet at limits.

    Args:
        before: `counts` before the run.
        cpu: of the run.
    """
    if not slots:
        return []
    changed = [
        Counted(*(getattr(now, f.name) - getattr(then, f.name) for f in fields(Counted)))
        for now, then in zip(counts(sandbox, slots), before, strict=True)
    ]
    above = any(one.dropped_packets for one in changed[1:])
    nested = schema.enum("ilax_limit_flag")["ILAX_LIMIT_NESTED"]
    owners = {slot: cgroup for cgroup, slot in slots_by_cgroup(sandbox.live).items()}
    tree = Tree.read()
    found = []
    for index, (slot, change) in enumerate(zip(slots, changed, strict=True)):
        row: Any = sandbox.live.limits.get(index_key(slot))
        rules = limit_rules.from_row(row)
        outcome = _outcome(change, rules.action)
        if outcome == "refused" and above and not index:
            outcome = "refused by a parent"
        found.append(
            LimitUse(
                cgroup=tree.name(owners.get(slot, 0)),
                slot=slot,
                rate=rules.rate,
                packets=rules.packets,
                action=rules.action,
                burst_ns=rules.burst,
                mark_ns=rules.mark,
                drop_ns=rules.drop,
                small_ns=0 if index or int(row["flags"]) & nested else rules.small,
                backlog_ns=limit_readings.backlog(sandbox.live, slot)[0],
                borrowed_ns=_borrowed(sandbox, slot, int(row["generation"]), cpu),
                outcome=outcome,
                packets_charged=change.passed_packets,
                bytes_charged=change.passed_bytes,
            )
        )
    return found


def _outcome(change: Counted, action: str) -> str:
    dry = action == "count"
    if change.dropped_packets:
        return "would be refused" if dry else "refused"
    if change.marked_packets:
        return "would be marked" if dry else "marked"
    if change.tagged_packets:
        return "tagged"
    return "passed" if change.passed_packets else "not asked"


def _counted(sandbox: Sandbox, slot: int) -> Counted:
    """As `limit_readings` does it: the limit's row, and what CPUs have not handed in."""
    rows = sandbox.chunks.map.max_entries
    chunks = sandbox.chunks.cpus(index_key(slot & (rows - 1)))
    limit: Any = sandbox.live.limits.get(index_key(slot))
    total: Any = sandbox.backlogs.get(index_key(slot))
    shift = schema.enum("ilax_limit_unit")["ILAX_GENERATION_SHIFT"]
    use = int(limit["generation"]) >> shift
    mine = chunks[(chunks["slot"] == slot) & (chunks["generation"] >> shift == use)]
    return Counted(
        **{
            f.name: int(total["total"][f.name]) + sum(mine["policed"][f.name].tolist())
            for f in fields(Counted)
        }
    )


def _borrowed(sandbox: Sandbox, slot: int, generation: int, cpu: int) -> int:
    rows = sandbox.chunks.map.max_entries
    chunk: Any = sandbox.live.chunks.cpus(index_key(slot & (rows - 1)))[cpu]
    if (int(chunk["slot"]), int(chunk["generation"])) != (slot, generation):
        return 0
    return max(0, int(chunk["left"])) >> schema.enum("ilax_limit_unit")["ILAX_TIME_SHIFT"]
