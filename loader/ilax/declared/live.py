# SPDX-License-Identifier: Apache-2.0
"""What is in force: read from the maps, the pins and the kernel, and never written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ilax.address import Address
from ilax.bpf import Link, Program
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.endpoint.endpoints import Endpoint
from ilax.errors import NotFoundError
from ilax.hooks import xdp_slot
from ilax.hooks.modes import tc_in_force
from ilax.hooks.places import CGROUP, CONTAINER, UPLINK_TC, XDP_INGRESS, is_beside, uplink_hooks
from ilax.hooks.tc_order import Standing
from ilax.instances import others, status
from ilax.instances.instance import Instance
from ilax.instances.sir_routes import SIR_GATEWAY
from ilax.limiting import limits_gc
from ilax.limiting.limit_book import Book, slots_by_cgroup
from ilax.system.ethtool import driver_of
from ilax.system.netlink import Network, interface_names
from ilax.translation import fabric, mappings
from ilax.translation.fabric import BadRow, Fabric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UPLINK = (*UPLINK_TC, XDP_INGRESS)


@dataclass(frozen=True, slots=True)
class LiveEndpoint:
    """An endpoint with what other maps say of it.

    Attributes:
        cgroup: number of the cgroup whose limit it names, 0 = none.
        mapped: its SIR address is mapped to it.
        present: its device is there.
        link: kind of its device: "netkit", or "veth" for all others.
    """

    row: Endpoint
    any_source: bool
    cgroup: int
    mapped: bool
    present: bool
    link: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device of ours whose endpoint is gone or was never finished."""

    index: int
    name: str
    alias: str


@dataclass
class Live:
    """An instance that is up, or half up.

    Attributes:
        fabric: None if a killed `up` has written no prefixes.
        bad_prefixes: rows of others that make no sense beside it.
        uplink: number of the interface, 0 = not known.
        mtu: of the uplink when `up` read it.
        source: address that routes to SIR prefixes name, the host's own.
        unfinished: what a killed `up` has left to do, or what was lost since.
        endpoints: by SIR address.
        chained: slots that hold the XDP program: number of the map, and index.
        places: the tcx programs of the uplink by "ingress" and "egress", and the number of
            ours among them; without a hook where ours is not.
        sir, mappings: all rows, as `mappings.read_all` gives them.
        book: limits; None if there are none.
        repairs: what `limit gc` would put right about living cgroups.
    """

    fabric: Fabric | None
    bad_prefixes: tuple[BadRow, ...]
    uplink: int
    mtu: int
    gateway: Address | None
    source: Address | None
    xdp: bool
    chained: frozenset[tuple[int, int]]
    tc: str
    places: dict[str, tuple[Standing, int]]
    capacities: dict[str, int]
    unfinished: list[str]
    endpoints: dict[Address, LiveEndpoint]
    sir: NDArray[np.uint64]
    mappings: NDArray[np.void]
    book: Book | None
    repairs: list[str] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)


def read(instance: Instance, network: Network, *, with_limits: bool) -> Live:
    """Read everything that a document can say.

    Args:
        with_limits: also where no cgroup has a row so far.
    """
    row = instance.config.get(index_key(0))
    uplink = int(row["uplink_ifindex"]) if row is not None else 0
    gateway = None
    if row is not None:
        gateway = Address(int(row["gateway"]["prefix"]), int(row["gateway"]["identifier"]))
    prefixes = fabric.survey(instance)
    known = prefixes.fabric
    routes = network.routes_via(SIR_GATEWAY)
    sources = {destination: source for (destination, _), source in routes.items()}
    own = {str(p): sources.get(str(p)) for p in known.sir_prefixes} if known else {}
    source = next((text for text in own.values() if text), None)
    sir, rows = mappings.read_all(instance)
    slots = slots_by_cgroup(instance)
    book = Book(instance) if slots or with_limits else None
    return Live(
        fabric=known,
        bad_prefixes=prefixes.bad,
        uplink=uplink,
        mtu=int(row["uplink_mtu"]) if row is not None else 0,
        gateway=gateway if gateway is not None and gateway.is_unicast else None,
        source=None if source is None else _address(source),
        xdp=_ifindex_of(instance, XDP_INGRESS.link) == uplink,
        chained=_slots(instance),
        tc=tc_in_force(instance.pins.links).value,
        places=_places(instance, uplink),
        capacities=status.capacities(instance),
        unfinished=[
            *(f"row {bad.index} of ilax_prefixes makes no sense" for bad in prefixes.bad),
            *_unfinished(instance, known, uplink, set(routes), own),
        ],
        endpoints=_endpoints(instance, {slot: cgroup for cgroup, slot in slots.items()}),
        sir=sir,
        mappings=rows,
        book=book,
        repairs=_repairs(instance, book) if book is not None else [],
        devices=_left_over(instance, network),
    )


def _slots(instance: Instance) -> frozenset[tuple[int, int]]:
    with xdp_slot.remembered(instance.pins) as slots:
        ours = [s for s in slots if xdp_slot.holds_ours(instance.pins, s)]
        return frozenset((slot.array.id, slot.index) for slot in ours)


def _places(instance: Instance, uplink: int) -> dict[str, tuple[Standing, int]]:
    found = {}
    for hook in uplink_hooks(uplink):
        with suppress(NotFoundError), Link.open_pinned(instance.pins.links / hook.link) as link:
            info = link.info()
            if info.ifindex == uplink:
                way = hook.name.removeprefix("uplink_")
                found[way] = Standing.read(uplink, hook.direction), info.program_id
    return found


def _address(text: str) -> Address:
    from ilax.address import parse

    return parse(text)


def _ifindex_of(instance: Instance, link: str) -> int:
    try:
        with Link.open_pinned(instance.pins.links / link) as opened:
            return opened.info().ifindex
    except NotFoundError:
        return -1


def _endpoints(instance: Instance, owners: dict[int, int]) -> dict[Address, LiveEndpoint]:
    keys, ports = instance.ports.rows()
    flags = dict(zip(keys.tolist(), ports["flags"].tolist(), strict=True))
    present = interface_names()
    found = {}
    for row in endpoints.read_all(instance):
        mapping = mappings.get(instance, row.sir)
        found[row.sir] = LiveEndpoint(
            row=row,
            any_source=bool(flags.get(row.ifindex, 0)),
            cgroup=owners.get(row.limit, 0),
            mapped=mapping is not None and (mapping.wire, mapping.action) == (row.wire, "local"),
            present=row.delivery == "host" or (row.ifindex in present and row.ifindex in flags),
            link="netkit" if driver_of(present.get(row.ifindex, "")) == "netkit" else "veth",
        )
    return found


def _left_over(instance: Instance, network: Network) -> list[Device]:
    _, rows = instance.endpoints.rows()
    used = set(rows["ifindex"].tolist())
    found = []
    for index, name in interface_names().items():
        if not name.startswith(endpoints.DEVICE_PREFIX) or index in used:
            continue
        device = network.interface_by_index(index)
        if device is not None and (
            device.alias.startswith(endpoints.link_alias(instance.name, ""))
            or endpoints.is_unfinished(device)
        ):
            found.append(Device(index, device.name, device.alias))
    return found


# --- half an `up` ------------------------------------------------------------------


def _unfinished(
    instance: Instance,
    known: Fabric | None,
    uplink: int,
    routes: set[tuple[str, int]],
    sources: dict[str, str | None],
) -> list[str]:
    if known is None:
        return ["it has no prefixes"]
    pins = instance.pins
    found = [f"map folder {pins.maps_new.name} is left"] if pins.maps_new.is_dir() else []
    names = [pin.name for pin in pins.links.iterdir()] if pins.links.is_dir() else []
    found += [f"link {name} is left" for name in names if is_beside(name)]
    for kind in (*_UPLINK, CONTAINER, CGROUP):
        if not (pins.programs / kind.program).exists():
            found.append(f"program {kind.program} is not pinned")
    if not found:
        found += _links(instance, uplink)
    wanted = {(str(prefix), uplink) for prefix in known.sir_prefixes}
    found += [f"no route to {prefix}" for prefix, _ in sorted(wanted - routes)]
    foreign = {str(p) for other in others.at_work(instance.name) for p in other.sir_prefixes}
    ours = {str(prefix) for prefix in known.sir_prefixes}
    found += [
        f"an old route to {prefix}"
        for prefix, index in sorted(routes - wanted)
        if prefix not in foreign and (prefix in ours or index == uplink)
    ]
    if len(set(sources.values())) > 1:
        found.append("routes to SIR prefixes have different sources")
    return found


def _links(instance: Instance, uplink: int) -> list[str]:
    """Links of the uplink that hang elsewhere, or hold another program than is pinned."""
    found = []
    pins = instance.pins
    for kind in _UPLINK:
        try:
            with Link.open_pinned(pins.links / kind.link) as link:
                info = link.info()
        except NotFoundError:
            continue
        if info.ifindex != uplink:
            found.append(f"link {kind.link} is at another interface")
            continue
        with Program.open_pinned(pins.programs / kind.program) as pinned:
            if pinned.id != info.program_id:
                found.append(f"link {kind.link} holds an older program")
    return found


def _repairs(instance: Instance, book: Book) -> list[str]:
    """What is half done about limits of cgroups that exist."""
    found = limits_gc.collect(instance, dry_run=True)
    dead = {cgroup for cgroup in book.slots if cgroup not in book.cgroups.by_id}
    repairs = [f"{name}: its empty row serves nobody" for name in found.unused]
    repairs += [f"endpoint {sir} names a row of nobody" for sir in found.endpoints]
    repairs += [f"cgroup {c}: a needless program" for c in found.detached if c not in dead]
    repairs += [f"{name}: lacks its program" for name in found.attached]
    if not found.removed:
        # Else they differ by what the removed ones have left.
        repairs += [f"{name}: parents or flags are out of date" for name in found.rewritten]
    return repairs
