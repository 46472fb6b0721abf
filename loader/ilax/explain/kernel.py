# SPDX-License-Identifier: Apache-2.0
"""What the kernel's own routes and neighbours say of a packet.

For the parts of its way that no program of ours decides and no test run shows.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilax.system.netlink import errors

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.system.netlink import Network

_FAMILY = socket.AF_INET6
_KINDS = {1: "unicast", 2: "local", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
# Answers that mean "there is no route".
_NOWHERE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENODEV)


@dataclass(frozen=True, slots=True)
class Route:
    """Where the kernel would send a packet.

    Attributes:
        kind: "unicast", "local", "blackhole", "unreachable", "prohibit" or "none".
        ifindex, device: it leaves by; 0 and "" if it does not.
        next_hop: a gateway, or the destination itself.
        neighbour: state of the next hop, such as "reachable"; "unknown" if it
            has not been asked for yet.
        mac: of the next hop, where it is known.
        source: address that the host's own processes send from, if it says one.
    """

    kind: str
    ifindex: int = 0
    device: str = ""
    next_hop: str = ""
    neighbour: str = ""
    mac: str = ""
    source: str = ""

    def __str__(self) -> str:
        if self.kind == "local":
            return "to the host's own processes"
        if self.kind != "unicast":
            return "nowhere: no route" if self.kind == "none" else f"nowhere: {self.kind}"
        mac = f", {self.mac}" if self.mac else ""
        return f"by {self.device}, next hop {self.next_hop} ({self.neighbour}{mac})"


def route(network: Network, dst: Address, *, out: int = 0, arrived: int = 0) -> Route:
    """Ask for the route to a destination.

    Args:
        out: it has to leave by this interface.
        arrived: it came in by this interface, and is to be forwarded.
    """
    arguments: dict[str, Any] = {"dst": str(dst), "family": _FAMILY}
    if out:
        arguments["oif"] = out
    if arrived:
        arguments["iif"] = arrived
    found: list[Any] = []
    with errors(f"ask for the route to {dst}", fine=_NOWHERE):
        found = list(network.ipr.route("get", **arguments))
    if not found:
        return Route("none")
    kind = _KINDS.get(int(found[0]["type"]), str(found[0]["type"]))
    source = str(found[0].get_attr("RTA_PREFSRC") or "")
    if kind != "unicast":
        return Route(kind, source=source)
    ifindex = int(found[0].get_attr("RTA_OIF") or 0)
    way = towards(network, ifindex, str(found[0].get_attr("RTA_GATEWAY") or dst))
    return replace(way, source=source)


def towards(network: Network, ifindex: int, next_hop: str) -> Route:
    """By way of a next hop that is known already."""
    interface = network.interface_by_index(ifindex)
    device = interface.name if interface else f"interface {ifindex}"
    neighbours: list[Any] = []
    with errors(f"look neighbour {next_hop} up"):
        neighbours = [
            item
            for item in network.ipr.get_neighbours(family=_FAMILY, ifindex=ifindex)
            if item.get_attr("NDA_DST") == next_hop
        ]
    if not neighbours:
        return Route("unicast", ifindex, device, next_hop, "unknown")
    state = _STATES.get(int(neighbours[0]["state"]), "unknown")
    mac = str(neighbours[0].get_attr("NDA_LLADDR") or "")
    return Route("unicast", ifindex, device, next_hop, state, mac)


def forwards() -> bool:
    """Whether this namespace's stack forwards IPv6 (and sends a router's errors)."""
    return Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text().strip() != "0"
