# SPDX-License-Identifier: Apache-2.0
"""Where things are in a frame: the link's header, IPv6 and what follows it.

Offsets only, no copies: whoever rewrites a capture needs them for each packet.
Frames may end anywhere, as those of a capture do.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ilax.errors import UsageError

ETHERTYPE_IPV6 = 0x86DD
VLAN_ETHERTYPES = (0x8100, 0x88A8, 0x9100)
MAX_TAGS = 2
IPV6_BYTES = 40
SRC, DST = 8, 24

TCP, UDP, ICMPV6, NO_NEXT = 6, 17, 58, 59
_HOP, _ROUTING, _FRAGMENT, _AUTH, _DSTOPTS, _MOBILITY = 0, 43, 44, 51, 60, 135
EXTENSIONS = {
    _HOP: "hop-by-hop",
    _ROUTING: "routing",
    _FRAGMENT: "fragment",
    _AUTH: "auth",
    _DSTOPTS: "destination",
    _MOBILITY: "mobility",
}
# Errors quote the packet that they answer behind 8 bytes (RFC 4443).
ICMPV6_ERRORS = range(1, 128)
ICMPV6_BYTES = 8


class Link(enum.IntEnum):
    """What a frame begins with: link types of captures that are understood here."""

    ETHERNET = 1
    RAW = 101
    LINUX_SLL = 113
    IPV6 = 229
    LINUX_SLL2 = 276


def link_of(number: int) -> Link:
    """The link of a capture's number.

    Raises:
        UsageError: none that is known here.
    """
    try:
        return Link(number)
    except ValueError as error:
        known = ", ".join(f"{link.value} ({link.name.lower()})" for link in Link)
        raise UsageError(
            f"link type {number} of the capture is not known; these are: {known}"
        ) from error


@dataclass(frozen=True, slots=True)
class Network:
    """What stands in front of the network's header.

    Attributes:
        offset: of the network's header, bytes.
        ethertype: of that header; 0 where the frame ends before it says so.
        tags: VLAN tags in front of it, 16 bits each, the outer one first.
    """

    offset: int
    ethertype: int
    tags: tuple[int, ...] = ()

    @property
    def is_ipv6(self) -> bool:
        """Whether IPv6 is next."""
        return self.ethertype == ETHERTYPE_IPV6


def network(data: bytes, link: Link = Link.ETHERNET) -> Network:
    """Find the network's header behind that of the link and up to two VLAN tags."""
    match link:
        case Link.ETHERNET:
            at = 12
        case Link.LINUX_SLL:
            at = 14
        case Link.LINUX_SLL2:
            return Network(20, _word(data, 0))
        case _:
            version = data[0] >> 4 if data else 0
            return Network(0, {6: ETHERTYPE_IPV6, 4: 0x0800}.get(version, 0))
    ethertype = _word(data, at)
    if ethertype not in VLAN_ETHERTYPES:
        return Network(at + 2, ethertype)
    tags: list[int] = []
    while ethertype in VLAN_ETHERTYPES and len(tags) < MAX_TAGS and len(data) >= at + 6:
        tags.append(_word(data, at + 2))
        at += 4
        ethertype = _word(data, at)
    return Network(at + 2, ethertype, tuple(tags))


def guess_link(data: bytes, length: int) -> Link:
    """Whether a dropped frame has an Ethernet header; not all devices have one.

    Args:
        data: its first bytes.
        length: of the whole frame.
    """
    if network(data).is_ipv6 or len(data) < IPV6_BYTES:
        return Link.ETHERNET
    is_ipv6 = data[0] >> 4 == 6 and _word(data, 4) + IPV6_BYTES == length
    return Link.RAW if is_ipv6 else Link.ETHERNET


@dataclass(frozen=True, slots=True)
class Upper:
    """What follows an IPv6 header and its extensions.

    Attributes:
        offset: of the upper protocol's header, bytes from the frame's start;
            may lie behind the end of a frame that was cut.
        protocol: number of the upper protocol; or of the extension header at
            which the frame ends.
        extensions: numbers of the extension headers before it.
        fragment: (offset in bytes, more follow, identification), or None.
    """

    offset: int
    protocol: int
    extensions: tuple[int, ...] = ()
    fragment: tuple[int, bool, int] | None = None

    @property
    def has_header(self) -> bool:
        """Whether the upper protocol's header is there: not in later fragments."""
        return self.fragment is None or self.fragment[0] == 0


def upper(data: bytes, offset: int) -> Upper:
    """Walk from the IPv6 header at `offset`, which is there whole, to the upper protocol."""
    protocol = data[offset + 6]
    at = offset + IPV6_BYTES
    if protocol not in EXTENSIONS:
        return Upper(at, protocol)
    passed: list[int] = []
    fragment = None
    while protocol in EXTENSIONS and len(data) >= at + 8:
        passed.append(protocol)
        following = data[at]
        if protocol == _FRAGMENT:
            word = _word(data, at + 2)
            fragment = (word & 0xFFF8, bool(word & 1), int.from_bytes(data[at + 4 : at + 8]))
            size = 8
        elif protocol == _AUTH:
            size = (data[at + 1] + 2) * 4
        else:
            size = (data[at + 1] + 1) * 8
        at += size
        protocol = following
        if fragment is not None and fragment[0]:
            break
    return Upper(at, protocol, tuple(passed), fragment)


def quoted_offset(data: bytes, found: Upper) -> int | None:
    """Where the packet begins that an ICMPv6 error quotes; None for all else."""
    if found.protocol != ICMPV6 or not found.has_header:
        return None
    if found.offset >= len(data) or data[found.offset] not in ICMPV6_ERRORS:
        return None
    return found.offset + ICMPV6_BYTES


def has_ipv6_at(data: bytes, offset: int) -> bool:
    """Whether a whole IPv6 header stands there."""
    return len(data) >= offset + IPV6_BYTES and data[offset] >> 4 == 6


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2]) if len(data) >= at + 2 else 0
