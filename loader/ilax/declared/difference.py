# SPDX-License-Identifier: Apache-2.0
"""What a document and the live state differ in, as plain data. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ilax.declared import difference_limits, difference_mappings
from ilax.declared.difference_limits import LimitsDifference
from ilax.declared.difference_mappings import MappingsDifference
from ilax.declared.document import Document, EndpointWish
from ilax.declared.host import Names, device_mac
from ilax.declared.left_out import LeftOut, Skipped
from ilax.declared.live import Device, Live, LiveEndpoint
from ilax.declared.problems import Problems
from ilax.endpoint.endpoints import Endpoint
from ilax.hooks.modes import TcMode, XdpMode
from ilax.hooks.xdp_slot import Slot
from ilax.instances.up_options import UpOptions
from ilax.limiting import limits
from ilax.system.netlink import interface_names, namespace_path

# Key -> what is in force and what is declared.
Fields = dict[str, tuple[Any, Any]]

# These can only be had by making the endpoint anew.
_ANEW = {"netns", "device", "link", "mtu", "host"}


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """An endpoint that is to be made or changed.

    Attributes:
        row: what is there; None for a new one.
        fields: what is different; empty for a new one.
        anew: it has to be removed and made again.
    """

    wish: EndpointWish
    row: Endpoint | None
    fields: Fields
    anew: bool


@dataclass
class Difference:
    """All that has to happen.

    Attributes:
        fresh: the instance is not up.
        up: settings of `ilax up`; {} if there is nothing to do.
        endpoints: to be made or changed.
        surplus_endpoints: that nobody declared; `devices` the same, without a row.
        repairs: what a killed command has left undone about limits.
        prune: whether surplus things are to go.
        skipped: what is declared, and is left as it is.
    """

    prune: bool
    fresh: bool
    up: Fields
    endpoints: list[EndpointChange]
    surplus_endpoints: list[Endpoint]
    devices: list[Device]
    limits: LimitsDifference
    mappings: MappingsDifference
    repairs: list[str] = field(default_factory=list)
    skipped: tuple[Skipped, ...] = ()

    @property
    def surplus(self) -> int:
        """How many things are there that nobody declared."""
        return (
            len(self.surplus_endpoints)
            + len(self.devices)
            + len(self.limits.surplus)
            + len(self.mappings.surplus)
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (
            self.up
            or self.endpoints
            or self.limits.changes
            or self.repairs
            or self.mappings.count
            or (self.prune and self.surplus)
        )


def options_of(document: Document) -> UpOptions:
    """What `up` is asked for by a document."""
    up = document.up
    return UpOptions(
        uplink=up.uplink,
        fabric=document.fabric,
        gateway=up.gateway,
        host_address=up.host_address,
        xdp=XdpMode(up.xdp),
        xdp_chain=up.xdp_chain,
        tc=TcMode(up.tc),
        tc_order=up.tc_order,
        max_endpoints=up.max_endpoints,
        max_mappings=up.max_mappings,
        max_limits=up.max_limits,
    )


def compare(
    document: Document, live: Live | None, names: Names, problems: Problems, *, prune: bool
) -> Difference:
    """Compare a document with what is in force.

    Args:
        live: None if the instance is not up.
        names: what the document names, all of it found, and what was left out of it.
        problems: where rules are reported that only the host can tell.
    """
    wishes = _wishes(document, names.left_out)
    there = live.endpoints if live is not None else {}
    declared = {wish.sir for wish in wishes} | names.left_out.endpoints
    surplus = [one.row for sir, one in there.items() if sir not in declared]
    assert names.uplink is not None
    return Difference(
        prune=prune,
        fresh=live is None,
        up={"instance": ("down", "up")} if live is None else _up(document, live, names),
        endpoints=[
            change
            for wish in wishes
            if (change := _endpoint(wish, there.get(wish.sir), live, names)) is not None
        ],
        surplus_endpoints=surplus,
        devices=live.devices if live is not None else [],
        limits=difference_limits.compare(
            document,
            live.book if live is not None else None,
            names,
            limits.frame_of(names.uplink.mtu),
            problems,
            prune=prune,
        ),
        mappings=difference_mappings.compare(
            document.placement,
            document.fabric,
            live,
            declared | {row.sir for row in surplus if there[row.sir].mapped},
        ),
        repairs=live.repairs if live is not None else [],
        skipped=names.left_out.skipped,
    )


def _up(document: Document, live: Live, names: Names) -> Fields:
    """Settings of `up` that are not in force."""
    up, now = document.up, live.fabric
    assert names.uplink is not None
    found: Fields = {}

    def differ(key: str, old: object, new: object) -> None:
        if old != new:
            found[key] = (old, new)

    differ("uplink", _device_name(live.uplink), up.uplink)
    if live.uplink == names.uplink.index:
        differ("MTU of the uplink", live.mtu, names.uplink.mtu)
    differ("sir-prefix", _texts(now.sir_prefixes if now else ()), _texts(up.sir_prefixes))
    differ("locator", _texts(now.locators if now else ()), _texts(up.locators))
    # A longer block stands first whatever the order, so there is none to compare.
    differ("block", sorted(_texts(now.blocks if now else ())), sorted(_texts(up.blocks)))
    if now is not None:
        differ("cbit", now.cbit, up.cbit)
        differ("typed", now.typed, up.typed)
    differ("gateway", _text(live.gateway), _text(up.gateway))
    if up.host_address is not None:
        there = live.endpoints.get(up.host_address)
        is_there = there is not None and there.row.delivery == "host"
        differ("host-address", _text(live.source if is_there else None), _text(up.host_address))
    if up.xdp != XdpMode.AUTO:
        now_xdp = "native" if live.xdp else "off"
        differ("xdp", "chain" if live.chained else now_xdp, up.xdp)
    if up.xdp_chain is not None:
        with Slot.open(up.xdp_chain) as slot:
            wanted = slot.array.id, slot.index
        differ("xdp-chain", wanted in live.chained, True)
    if up.tc != TcMode.AUTO:
        differ("tc", live.tc, up.tc)
    if up.tc_order is not None and live.uplink == names.uplink.index:
        wrong = [
            f"{way} {' '.join(name for _, name in standing.programs)}"
            for way, (standing, own) in live.places.items()
            if not standing.holds(up.tc_order, own)
        ]
        if wrong:
            found["tc-order"] = (", ".join(wrong), str(up.tc_order))
    for name, key, rows in (
        ("ilax_endpoints", "max-endpoints", up.max_endpoints),
        ("ilax_mappings", "max-mappings", up.max_mappings),
        ("ilax_limits", "max-limits", up.max_limits),
    ):
        if rows:
            differ(key, live.capacities[name], rows)
    if live.unfinished:
        found["state"] = (", ".join(live.unfinished), "complete")
    return found


def _texts(prefixes: tuple[object, ...]) -> list[str]:
    return [str(prefix) for prefix in prefixes]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _device_name(index: int) -> str:
    return interface_names().get(index, f"interface {index} (gone)")


# --- endpoints -----------------------------------------------------------------


def _wishes(document: Document, left_out: LeftOut) -> list[EndpointWish]:
    """Declared endpoints, with the host's own address among them."""
    own = document.up.host_address
    if own is None or any(wish.sir == own for wish in document.endpoints):
        return list(document.endpoints)
    if own in left_out.endpoints:
        # `up` makes it, and nobody says here which cgroup it has.
        return list(document.endpoints)
    return [EndpointWish(path=("up", "host-address"), sir=own), *document.endpoints]


def _endpoint(
    wish: EndpointWish, there: LiveEndpoint | None, live: Live | None, names: Names
) -> EndpointChange | None:
    if there is None:
        return EndpointChange(wish, None, {}, anew=False)
    row = there.row
    found: Fields = {}
    if (row.delivery == "host") != (wish.netns is None):
        found["host"] = (row.delivery == "host", wish.netns is None)
    elif wish.netns is not None:
        if not there.present:
            found["device"] = ("gone", wish.device)
        elif device_mac(FilePath(namespace_path(wish.netns)), wish.device) != row.mac:
            found["netns"] = ("another", f"{wish.device} of {wish.netns}")
        if there.present and wish.link != there.link:
            found["link"] = (there.link, wish.link)
        if wish.mtu and wish.mtu != row.mtu:
            found["mtu"] = (row.mtu, wish.mtu)
        if wish.delivery != row.delivery:
            found["delivery"] = (row.delivery, wish.delivery)
        if wish.any_source != there.any_source:
            found["any-source"] = (there.any_source, wish.any_source)
    wanted = names.cgroups[wish.cgroup] if wish.cgroup is not None else None
    if there.cgroup != (wanted.id if wanted else 0) or (row.limit and not there.cgroup):
        old = live.book.cgroups.name(there.cgroup) if live and live.book and there.cgroup else None
        found["cgroup"] = (old, wanted.name if wanted else None)
    if not there.mapped:
        found["mapping"] = ("elsewhere", "local")
    return EndpointChange(wish, row, found, not _ANEW.isdisjoint(found)) if found else None
