# SPDX-License-Identifier: Apache-2.0
"""What the maps and pins say of limits, and what must always hold of it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ilax.bpf import Link
from ilax.contract import schema
from ilax.endpoint import endpoints
from ilax.hooks import cgroup_attach
from ilax.instances.instance import Instance
from ilax.limiting.limit_book import slots_by_cgroup
from ilax.system.cgroups import root


@dataclass(frozen=True)
class State:
    """All that control writes about limits.

    Attributes:
        slots: by the number of the cgroup.
        rows: those that a cgroup or an endpoint uses, as bytes, by slot.
        chains: slots of the parents, by slot.
        limited: slots of rows that limit something.
        nested: slots with ILAX_LIMIT_NESTED.
        attached: slot that the link of each living cgroup charges. The kernel ends
            that of a removed one some time later.
        pins: cgroups with a link, living or not.
        users: slot of each endpoint that names one.
        generations: of all rows, by slot.
    """

    slots: dict[int, int]
    rows: dict[int, bytes]
    chains: dict[int, tuple[int, ...]]
    limited: set[int]
    nested: set[int]
    attached: dict[int, int]
    pins: set[int]
    users: dict[str, int]
    generations: dict[int, int]


def read(name: str) -> State:
    with Instance.open(name) as instance:
        slots = slots_by_cgroup(instance)
        users = {str(e.sir): e.limit for e in endpoints.read_all(instance) if e.limit}
        rows = instance.limits.rows()[1]
        used = {*slots.values(), *users.values()}
        flag = schema.enum("ilax_limit_flag")["ILAX_LIMIT_NESTED"]
        pins = cgroup_attach.pinned(instance.pins)
        attached = {}
        for cgroup in pins & living().keys():
            with Link.open_pinned(instance.pins.links / f"cgroup_{cgroup}") as link:
                if link.info().cgroup == cgroup:
                    attached[cgroup] = cgroup_attach.slot(instance, cgroup)
        return State(
            slots=slots,
            rows={slot: rows[slot].tobytes() for slot in used},
            chains={s: tuple(p for p in rows[s]["parents"].tolist() if p) for s in used},
            limited={s for s in used if rows[s]["byte_cost"] or rows[s]["packet_cost"]},
            nested={s for s in used if rows[s]["flags"] & flag},
            attached=attached,
            pins=pins,
            users=users,
            generations={s: int(row["generation"]) for s, row in enumerate(rows)},
        )


def living() -> dict[int, tuple[int, ...]]:
    """Numbers of the cgroups above each one that exists, by the file system alone."""
    top = root()
    found: dict[int, tuple[int, ...]] = {}
    for folder, _, _ in os.walk(top):
        path = Path(folder)
        # Whoever else uses this host removes cgroups meanwhile.
        with contextlib.suppress(FileNotFoundError):
            above = [p.stat().st_ino for p in path.parents if p.is_relative_to(top)]
            found[path.stat().st_ino] = tuple(above)
    return found


def assert_safe(state: State) -> None:
    """What holds at every moment, also after a crash: nobody names a stranger's slot."""
    owners = set(state.slots.values())
    assert len(owners) == len(state.slots)
    assert set(state.users.values()) <= owners
    for slot, chain in state.chains.items():
        assert set(chain) <= owners & state.limited, (slot, chain)
        assert slot not in chain
    assert {slot for slot in state.attached.values() if slot} <= owners


def assert_tidy(state: State) -> None:
    """What holds after every command that ended."""
    assert_safe(state)
    above = living()
    used = set(state.users.values())
    for cgroup, slot in state.slots.items():
        assert cgroup in above, f"row of a removed cgroup {cgroup}"
        chain = state.chains[slot]
        assert not chain or state.chains[chain[0]] == chain[1:]
        below = [other for other in state.slots if cgroup in above[other]]
        assert (slot in state.nested) == bool(below), (cgroup, below)
        assert slot in state.limited or slot in used, f"empty row of {cgroup} for nobody"
        program_here = slot in state.limited
        assert state.attached.get(cgroup) == (slot if program_here else None), cgroup
    assert state.pins <= set(state.slots)
