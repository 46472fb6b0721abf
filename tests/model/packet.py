# SPDX-License-Identifier: Apache-2.0
"""From a frame to the few fields that decide."""

from __future__ import annotations

from dataclasses import dataclass

ETHERNET = 14
TAG = 4
IPV6 = 40
MAX_TAGS = 2
ETH_P_IPV6 = 0x86DD
# What Linux takes for a VLAN tag.
TAG_TYPES = (0x8100, 0x88A8)

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)
ICMPV6, TCP, UDP = 58, 6, 17


@dataclass(frozen=True)
class Frame:
    """A frame as a hook gets it.

    Attributes:
        data: from the Ethernet header.
        for_us: false if its Ethernet destination is another station.
        tagged: the device took a VLAN tag off and keeps it beside the frame.
        linear: bytes that a hook reaches without help; None = all.
        fits_in_segments: for super-packets, whether each segment will fit the
            next MTU; None = no super-packet.
        metadata_room: bytes that XDP may still put in front.
    """

    data: bytes
    ifindex: int = 1
    for_us: bool = True
    tagged: bool = False
    linear: int | None = None
    fits_in_segments: bool | None = None
    metadata_room: int = 32


@dataclass(frozen=True)
class Parsed:
    """Fields of a frame with a whole IPv6 header.

    Attributes:
        length: bytes of the frame, as far as the hook looks: where the header
            promises nothing beyond the linear part, it does not ask for more.
    """

    length: int
    tags: int
    l3: int
    next_header: int
    hop_limit: int
    src: bytes
    dst: bytes


def u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def parse(frame: Frame, *, can_pull: bool) -> Parsed | str:
    """The fields, or the name of the reason to leave the frame alone.

    Args:
        can_pull: the hook can bring distant bytes within reach.
    """
    data = frame.data
    reach = len(data) if can_pull or frame.linear is None else frame.linear
    tags = 0
    at = ETHERNET
    kind = u16(data, 12)
    while kind in TAG_TYPES and tags < MAX_TAGS:
        if at + TAG > reach:
            return "PASS_MANY_TAGS"
        kind = u16(data, at + 2)
        at += TAG
        tags += 1
    if kind in TAG_TYPES:
        return "PASS_MANY_TAGS"
    if kind != ETH_P_IPV6:
        return "PASS_NOT_IPV6"
    if not frame.for_us:
        return "PASS_OTHER_HOST"
    if at + IPV6 > len(data):
        return "PASS_MALFORMED"
    if at + IPV6 > reach:
        return "PASS_NOT_LINEAR"
    if data[at] >> 4 != 6:
        return "PASS_MALFORMED"
    end = at + IPV6 + u16(data, at + 4)
    return Parsed(
        length=len(data) if end > reach else reach,
        tags=tags,
        l3=at,
        next_header=data[at + 6],
        hop_limit=data[at + 7],
        src=data[at + 8 : at + 24],
        dst=data[at + 24 : at + 40],
    )


def next_extension(data: bytes, at: int, kind: int) -> tuple[int, int] | None:
    """Offset and type of the header behind the extension header at `at`.

    None where that cannot be told: the bytes are missing, or a later fragment
    follows, which starts in the middle of something.
    """
    if at + 4 > len(data):
        return None
    if kind == FRAGMENT:
        if u16(data, at + 2) >> 3:
            return None
        return at + 8, data[at]
    return at + 8 + 8 * data[at + 1], data[at]
