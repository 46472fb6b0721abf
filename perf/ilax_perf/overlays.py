# SPDX-License-Identifier: Apache-2.0
"""What else brings packets to containers on an underlay that knows hosts only.

NPTv6, SRv6 and VXLAN, each set up for its least work: containers are attached by
`plain.attach`, and every address that a packet needs is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from lab.netns import Namespace
from lab.topology import UPLINK, Container, Host

VXLAN_PORT, VXLAN_ID = 4789, 1
_VXLAN = "vx0"
# Bytes that a packet grows by: IPv6; IPv6, UDP, VXLAN, Ethernet.
_SRV6_HEADERS, _VXLAN_HEADERS = 40, 70
_SIR_BITS = 64


@dataclass(frozen=True, slots=True)
class Remote:
    """A container somewhere else.

    Attributes:
        sir: its address.
        number: of its host.
        locator: of its host.
    """

    sir: IPv6Address
    number: int
    locator: IPv6Network

    @classmethod
    def of(cls, container: Container) -> Remote:
        """As others see a container of a lab."""
        return cls(container.sir, container.host.number, container.host.locator)

    @property
    def address(self) -> IPv6Address:
        """Of its host."""
        return self.locator.network_address + 1


Connect = Callable[[Host, Iterable[Remote]], None]


def nptv6(host: Host, remotes: Iterable[Remote]) -> None:
    """ip6tables translates prefixes: of what comes by one rule, of what leaves by one each."""
    (sir_prefix,) = {IPv6Network((c.sir, _SIR_BITS), strict=False) for c in host.containers}
    _translate(host.ns, host.locator, host.locator, sir_prefix)
    for remote in remotes:
        _translate(host.ns, IPv6Network(remote.sir), sir_prefix, remote.locator)


def _translate(ns: Namespace, match: IPv6Network, old: IPv6Network, new: IPv6Network) -> None:
    ns.run(
        *("ip6tables", "--table", "mangle", "--append", "PREROUTING"),
        *("--destination", str(match), "--jump", "DNPT"),
        *("--src-pfx", str(old), "--dst-pfx", str(new)),
    )


def nptv6_wire(sir: IPv6Address, locator: IPv6Network) -> IPv6Address:
    """What a host must receive for `nptv6` to make `sir` of it.

    RFC 6296, section 3.5: a difference of checksums goes into the first word after the
    prefix (one that is not 0xffff, which no address of a lab has there).
    """

    def words(address: IPv6Address) -> list[int]:
        packed = address.packed
        return [int.from_bytes(packed[at : at + 2], "big") for at in range(0, 16, 2)]

    prefix, (first, *rest) = words(locator.network_address)[:4], words(sir)[4:]
    first = (first + sum(words(sir)[:4]) - sum(prefix)) % 0xFFFF
    return IPv6Address(b"".join(word.to_bytes(2, "big") for word in (*prefix, first, *rest)))


def srv6(host: Host, remotes: Iterable[Remote]) -> None:
    """One segment: so there is no routing header, only another IPv6 header (RFC 8986)."""
    ns = host.ns
    # Else the kernel looks for a source address for each packet.
    ns.ip("sr", "tunsrc", "set", str(host.address))
    _leave_room(host, _SRV6_HEADERS)
    ns.ip(
        *("-6", "route", "add", f"{segment(host.locator)}/128", "dev", UPLINK),
        *("encap", "seg6local", "action", "End.DT6", "table", "main"),
    )
    for remote in remotes:
        ns.ip(
            *("-6", "route", "add", f"{remote.sir}/128", "dev", UPLINK),
            *("encap", "seg6", "mode", "encap.red", "segs", str(segment(remote.locator))),
        )


def segment(locator: IPv6Network) -> IPv6Address:
    """The segment of a host that ends there: decapsulate, and look the packet up (End.DT6)."""
    return locator.network_address + 0xD6


def vxlan(host: Host, remotes: Iterable[Remote]) -> None:
    """VXLAN over IPv6 without UDP checksums (RFC 6935), behind a route for each container."""
    ns = host.ns
    ns.ip(
        *("link", "add", _VXLAN, "address", vxlan_mac(host.number)),
        *("mtu", str(_mtu(ns) - _VXLAN_HEADERS), "type", "vxlan", "id", str(VXLAN_ID)),
        *("local", str(host.address), "dstport", str(VXLAN_PORT), "nolearning"),
        *("udp6zerocsumtx", "udp6zerocsumrx"),
    )
    ns.ip("link", "set", _VXLAN, "up")
    _leave_room(host, _VXLAN_HEADERS)
    for remote in remotes:
        mac, hop = vxlan_mac(remote.number), f"fe80::{remote.number}"
        ns.run("bridge", "fdb", "append", mac, "dev", _VXLAN, "dst", str(remote.address))
        ns.ip("neighbour", "replace", hop, "dev", _VXLAN, "lladdr", mac, "nud", "permanent")
        ns.ip("-6", "route", "add", f"{remote.sir}/128", "via", hop, "dev", _VXLAN)


def vxlan_mac(number: int) -> str:
    """Of a host's VXLAN device."""
    return f"02:00:00:00:0a:{number:02x}"


def _leave_room(host: Host, headers: int) -> None:
    """Containers send packets that still fit into the uplink with so many bytes more."""
    mtu = str(_mtu(host.ns) - headers)
    for container in host.containers:
        host.ns.ip("link", "set", container.name, "mtu", mtu)
        container.ns.ip("link", "set", "eth0", "mtu", mtu)


def _mtu(ns: Namespace) -> int:
    (row,) = ns.ip_json("link", "show", UPLINK)
    mtu: int = row["mtu"]
    return mtu


CONNECT: Mapping[str, Connect] = {"nptv6": nptv6, "srv6": srv6, "vxlan": vxlan}
# Keys of `availability`.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "nptv6": ("ip6tables DNPT",),
    "srv6": ("seg6local", "seg6"),
    "vxlan": ("vxlan",),
}
