# SPDX-License-Identifier: Apache-2.0
"""Transport checksums over an IPv6 packet (RFC 8200, section 8.1)."""

from __future__ import annotations

from model.address import invert, total, words
from model.packet import EXTENSIONS, FRAGMENT, ICMPV6, IPV6, TCP, UDP, next_extension, u16

_FIELD = {TCP: 16, UDP: 6, ICMPV6: 2}


def locate(packet: bytes) -> tuple[int, int] | None:
    """Offset and protocol of the transport header of a whole packet.

    Args:
        packet: from its IPv6 header.

    Returns:
        None for fragments and for protocols without a pseudo-header sum.
    """
    at, kind = IPV6, packet[6]
    while kind in EXTENSIONS:
        if kind == FRAGMENT and u16(packet, at + 2) & 0xFFF9:
            return None
        step = next_extension(packet, at, kind)
        if step is None:
            return None
        at, kind = step
    return (at, kind) if kind in _FIELD else None


def of(packet: bytes, at: int, protocol: int) -> int:
    """One's complement sum over pseudo-header and payload; 0xffff when right."""
    payload = packet[at:]
    length = len(payload)
    pseudo = packet[8:40] + length.to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    return total(words(pseudo + payload + bytes(length % 2)))


def fill(packet: bytes) -> bytes:
    """The packet with its transport checksum set."""
    found = locate(packet)
    assert found is not None
    at, protocol = found
    field = at + _FIELD[protocol]
    cleared = packet[:field] + b"\0\0" + packet[field + 2 :]
    value = invert(of(cleared, at, protocol)) or 0xFFFF
    return packet[:field] + value.to_bytes(2, "big") + packet[field + 2 :]


def is_right(packet: bytes) -> bool | None:
    """Whether the transport checksum holds; None if the packet has none."""
    found = locate(packet)
    return None if found is None else of(packet, *found) == 0xFFFF
