# SPDX-License-Identifier: Apache-2.0
"""Interfaces, addresses, routes and neighbours of a network namespace, read at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ilax.errors import SystemCallError
from ilax.system.netlink import ROUTE_PROTOCOL, Interface, errors

if TYPE_CHECKING:
    from ilax.system.netlink import Network

_FAMILY = socket.AF_INET6
_MAIN_TABLE = 254
_PERMANENT = 0x80
_FAILED = 0x20
# enum rtn_type: unreachable, blackhole and prohibit lead nowhere on purpose.
_UNICAST = 1
_LOCAL = 2
# Of routes that the kernel made by itself, as a router advertised them.
PROTOCOL_RA = 9

# Identifier of a SIR address that no task is likely to have: the last one of a type.
NOBODY = 0x3FFF_FFFF_FFFF_FFFE


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        destination: such as "2001:db8::/64".
        index: of the interface; 0 for several next hops, or none.
        gateway: next hop, or "".
        protocol: who made it.
    """

    destination: str
    index: int
    gateway: str
    protocol: int
    metric: int
    source: str
    unicast: bool
    local: bool

    @property
    def ours(self) -> bool:
        """Whether ilax made it."""
        return self.protocol == ROUTE_PROTOCOL


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One neighbour: its hardware address, and what the kernel thinks of it."""

    mac: bytes
    permanent: bool
    silent: bool


class Snapshot:
    """What a network namespace looks like.

    Attributes:
        links: interfaces by number.
        routes: of the main table.
        addresses: of each interface by number: address and prefix length.
        neighbours: by interface number and address.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.links: dict[int, Interface] = {link.index: link for link in network.interfaces()}
        self.addresses: dict[int, dict[str, int]] = {}
        self.neighbours: dict[tuple[int, str], Neighbour] = {}
        ipr = network.ipr
        with errors("list addresses"):
            for row in ipr.get_addr(family=_FAMILY):
                own = self.addresses.setdefault(int(row["index"]), {})
                own[str(row.get_attr("IFA_ADDRESS"))] = int(row["prefixlen"])
        with errors("list routes"):
            self.routes = [_route(row) for row in ipr.get_routes(family=_FAMILY, table=_MAIN_TABLE)]
        with errors("list neighbours"):
            for row in ipr.get_neighbours(family=_FAMILY):
                self._add_neighbour(row)

    def _add_neighbour(self, row: Any) -> None:
        mac = str(row.get_attr("NDA_LLADDR") or "")
        state = int(row["state"])
        self.neighbours[int(row["ifindex"]), str(row.get_attr("NDA_DST"))] = Neighbour(
            bytes.fromhex(mac.replace(":", "")),
            bool(state & _PERMANENT),
            bool(state & _FAILED),
        )

    def name(self, index: int) -> str:
        """Name of an interface; "interface 7" if it is gone."""
        link = self.links.get(index)
        return link.name if link else f"interface {index}"

    def own_addresses(self) -> Iterator[tuple[str, str]]:
        """Each address with the name of its interface."""
        for index, addresses in self.addresses.items():
            for address in addresses:
                yield address, self.name(index)

    def route_to(self, destination: str, index: int) -> Route | None:
        """Our route to a prefix by way of an interface."""
        for route in self.routes:
            if route.ours and (route.destination, route.index) == (destination, index):
                return route
        return None

    def rival(self, destination: str) -> Route | None:
        """The foreign route to a prefix that comes first."""
        rivals = [r for r in self.routes if r.destination == destination and not r.ours]
        return min(rivals, key=lambda r: r.metric, default=None)

    def learned_by(self, index: int) -> list[Route]:
        """Routes that router advertisements on an interface have brought."""
        return [r for r in self.routes if (r.index, r.protocol) == (index, PROTOCOL_RA)]

    def lookup(self, address: str) -> Route | None:
        """The way that the kernel would take; None if there is none."""
        try:
            with errors(f"look the route to {address} up"):
                rows = list(self.network.ipr.route("get", dst=address, family=_FAMILY))
        except SystemCallError:
            return None
        return _route(rows[0]) if rows else None


def _route(row: Any) -> Route:
    return Route(
        destination=f"{row.get_attr('RTA_DST') or '::'}/{row['dst_len']}",
        index=int(row.get_attr("RTA_OIF") or 0),
        gateway=str(row.get_attr("RTA_GATEWAY") or ""),
        protocol=int(row["proto"]),
        metric=int(row.get_attr("RTA_PRIORITY") or 0),
        source=str(row.get_attr("RTA_PREFSRC") or ""),
        unicast=int(row["type"]) == _UNICAST,
        local=int(row["type"]) == _LOCAL,
    )
