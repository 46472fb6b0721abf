# SPDX-License-Identifier: Apache-2.0
"""What an instance is made of right now."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.bpf import Link, Program
from ilax.contract.tables import index_key
from ilax.errors import IlaxError, NotFoundError
from ilax.hooks import xdp_slot
from ilax.hooks.modes import tc_in_force
from ilax.hooks.places import XDP_INGRESS
from ilax.translation import fabric

if TYPE_CHECKING:
    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What hangs on one hook.

    Attributes:
        ifindex: 0 when the device is gone, and for cgroups.
        cgroup: number of the cgroup; 0 when it is gone, and for devices.
    """

    link: str
    program: str
    tag: str
    ifindex: int
    cgroup: int


@dataclass(frozen=True, slots=True)
class Status:
    """An instance at a glance.

    Attributes:
        netns: inode number of the namespace it serves.
        bad_prefixes: rows that make no sense beside these, in words.
        xdp: whether an XDP program of ours is attached, or in a slot.
        xdp_slots: slots of foreign arrays that hold it, in words.
        tc: "tcx" or "clsact"; filters of clsact are not among the links.
        limits: cgroups that have a row, empty ones included.
        capacities: rows each table has room for; of limits, row 0 is unused.
    """

    instance: str
    netns: int
    uplink_ifindex: int
    uplink_mtu: int
    sir_prefixes: list[str]
    locators: list[str]
    blocks: list[str]
    bad_prefixes: list[str]
    cbit: bool
    typed: bool
    xdp: bool
    xdp_slots: list[str]
    tc: str
    links: list[LinkStatus]
    endpoints: int
    mappings: int
    limits: int
    capacities: dict[str, int]


def _program(number: int) -> tuple[str, str]:
    """Name and tag of a program; opening it by number needs CAP_SYS_ADMIN."""
    try:
        with Program.by_id(number) as program:
            return program.name, program.tag
    except IlaxError:
        return f"number {number}", ""


def read(instance: Instance) -> Status:
    """Gather the status; reads only."""
    row = instance.config.get(index_key(0))
    prefixes = fabric.survey(instance)
    known = prefixes.fabric or fabric.read(instance)
    links = []
    pins = instance.pins.links
    # A killed `down` may have taken the folder away already.
    for pin in sorted(pins.iterdir()) if pins.is_dir() else []:
        with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
            info = link.info()
            links.append(
                LinkStatus(pin.name, *_program(info.program_id), info.ifindex, info.cgroup)
            )
    keys, _ = instance.endpoints.rows()
    assert row is not None
    slots = [where for where, number in xdp_slot.programs(instance.pins) if number]
    return Status(
        instance=instance.name,
        netns=int(row["netns"]),
        uplink_ifindex=int(row["uplink_ifindex"]),
        uplink_mtu=int(row["uplink_mtu"]),
        sir_prefixes=[str(p) for p in known.sir_prefixes],
        locators=[str(p) for p in known.locators],
        blocks=[str(p) for p in known.blocks],
        bad_prefixes=[f"row {bad.index}, {bad.text}: {bad.problem}" for bad in prefixes.bad],
        cbit=known.cbit,
        typed=known.typed,
        xdp=bool(slots) or any(link.link == XDP_INGRESS.link and link.ifindex for link in links),
        xdp_slots=slots,
        tc=tc_in_force(pins).value,
        links=links,
        endpoints=len(keys),
        mappings=instance.mappings.map.count(),
        limits=len(instance.cgroups.lookup_batch()[0]),
        capacities=capacities(instance),
    )


def capacities(instance: Instance) -> dict[str, int]:
    """Rows each table has room for; of limits, row 0 is unused."""
    tables = (instance.endpoints, instance.mappings, instance.limits)
    return {table.map.name: table.map.max_entries for table in tables}
