# SPDX-License-Identifier: Apache-2.0
"""What an instance is made of right now."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.bpf import Link
from ilax.bpf.program import identify
from ilax.contract.tables import index_key
from ilax.errors import NotFoundError
from ilax.hooks import xdp_slot
from ilax.hooks.modes import tc_in_force
from ilax.hooks.places import XDP_INGRESS
from ilax.system import cgroups
from ilax.translation import fabric
from ilax.translation.domain import Devices

if TYPE_CHECKING:
    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What hangs on one hook.

    Attributes:
        ifindex: 0 when the device is gone, and for cgroups.
        cgroup: number of the cgroup; 0 when it is gone, and for devices.
        device: name of the device, cgroup_name: path of the cgroup below the root of
            the hierarchy; None where that cannot be seen, as from another namespace.
    """

    link: str
    program: str
    tag: str
    ifindex: int
    cgroup: int
    device: str | None = None
    cgroup_name: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """An instance at a glance.

    Attributes:
        netns: inode number of the namespace it serves.
        here: whether that is ours.
        uplink: name of the uplink; None when it is gone, and from another namespace.
        bad_prefixes: rows that make no sense beside these, in words.
        xdp: whether an XDP program of ours is attached, or in a slot.
        xdp_slots: slots of foreign arrays that hold it, in words.
        tc: "tcx" or "clsact"; filters of clsact are not among the links.
        limits: cgroups that have a row, empty ones included.
        capacities: rows each table has room for; of limits, row 0 is unused.
    """

    instance: str
    netns: int
    here: bool
    uplink: str | None
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


def read(instance: Instance) -> Status:
    """Gather the status; reads only."""
    row = instance.config.get(index_key(0))
    prefixes = fabric.survey(instance)
    known = prefixes.fabric or fabric.read(instance)
    devices = Devices(instance)
    links = _links(instance, devices)
    keys, _ = instance.endpoints.rows()
    assert row is not None
    slots = [where for where, number in xdp_slot.programs(instance.pins) if number]
    return Status(
        instance=instance.name,
        netns=int(row["netns"]),
        here=devices.here,
        uplink=devices.name(int(row["uplink_ifindex"])),
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
        tc=tc_in_force(instance.pins.links).value,
        links=links,
        endpoints=len(keys),
        mappings=instance.mappings.map.count(),
        limits=len(instance.cgroups.lookup_batch()[0]),
        capacities=capacities(instance),
    )


def _links(instance: Instance, devices: Devices) -> list[LinkStatus]:
    pins = instance.pins.links
    found = []
    # A killed `down` may have taken the folder away already.
    for pin in sorted(pins.iterdir()) if pins.is_dir() else []:
        with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
            found.append((pin.name, link.info()))
    names = cgroups.names() if any(info.cgroup for _, info in found) else {}
    links = []
    for name, info in found:
        program = identify(info.program_id)
        links.append(
            LinkStatus(
                link=name,
                program=program.short,
                tag=program.tag,
                ifindex=info.ifindex,
                cgroup=info.cgroup,
                device=devices.name(info.ifindex),
                cgroup_name=names.get(info.cgroup),
            )
        )
    return links


def capacities(instance: Instance) -> dict[str, int]:
    """Rows each table has room for; of limits, row 0 is unused."""
    tables = (instance.endpoints, instance.mappings, instance.limits)
    return {table.map.name: table.map.max_entries for table in tables}
