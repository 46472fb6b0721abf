# SPDX-License-Identifier: Apache-2.0
"""A packet in words, as a frame: Ethernet, IPv6, and TCP, UDP or ICMPv6."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.errors import UsageError
from ilax.frames import Link, headers

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.frames.record import Record

# What skb_vlan_untag() of the kernel knows as a tag.
_VLAN_ETHERTYPES = (0x8100, 0x88A8)
_TAGGED_BYTES = 18
_ECT_0 = 2
_SYN = 0x02
_ECHO_REQUEST = 128
_UDP_NUMBER = headers.UDP

# Number of the protocol, bytes of its header, and where its checksum is.
_PROTOCOLS = {
    "tcp": (headers.TCP, 20, 16),
    "udp": (_UDP_NUMBER, 8, 6),
    "icmp6": (headers.ICMPV6, 8, 2),
}
_LONGEST = headers.IPV6_BYTES + 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A packet, as an operator describes it.

    Attributes:
        protocol: "tcp" (a SYN), "udp", or "icmp6" (an echo request).
        sport, dport: None for ICMPv6.
        length: bytes of the IPv6 packet; 0: its headers and no more.
        ecn: ECN-capable, so that limits can mark it.
    """

    src: Address
    dst: Address
    protocol: str
    sport: int | None = None
    dport: int | None = None
    length: int = 0
    hop_limit: int = 64
    ecn: bool = False

    def frame(self, src_mac: bytes, dst_mac: bytes) -> bytes:
        """The packet behind an Ethernet header, with a right checksum.

        Raises:
            UsageError: a length that cannot be, or ports of ICMPv6.
        """
        number, size, checksum_at = _PROTOCOLS[self.protocol]
        shortest = headers.IPV6_BYTES + size
        length = self.length or shortest
        if not shortest <= length <= _LONGEST:
            raise UsageError(
                f"an IPv6 packet of {self.protocol} has {shortest} to {_LONGEST} bytes, "
                f"not {length}"
            )
        upper = bytearray(self._header(length - headers.IPV6_BYTES))
        upper += bytes(length - shortest)
        pseudo = self.src.packed + self.dst.packed + struct.pack("!II", len(upper), number)
        checksum = _checksum(pseudo + upper)
        if number == _UDP_NUMBER:
            checksum = checksum or 0xFFFF
        struct.pack_into("!H", upper, checksum_at, checksum)
        first = 6 << 28 | (_ECT_0 if self.ecn else 0) << 20
        ip6 = struct.pack("!IHBB", first, len(upper), number, self.hop_limit)
        return ethernet(ip6 + self.src.packed + self.dst.packed + bytes(upper), src_mac, dst_mac)

    def _header(self, length: int) -> bytes:
        if self.protocol == "icmp6":
            if self.sport is not None or self.dport is not None:
                raise UsageError("ICMPv6 has no ports")
            return struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 1, 1)
        sport, dport = self.sport or 40000, self.dport or 80
        if self.protocol == "udp":
            return struct.pack("!HHHH", sport, dport, length, 0)
        return struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 5 << 4, _SYN, 0xFFFF, 0, 0)


def ethernet(packet: bytes, src_mac: bytes, dst_mac: bytes) -> bytes:
    """Put an Ethernet header in front of an IPv6 packet."""
    return dst_mac + src_mac + struct.pack("!H", headers.ETHERTYPE_IPV6) + packet


def readdressed(frame: bytes, mac: bytes) -> bytes:
    """A frame with another link-layer destination."""
    return mac + frame[len(mac) :]


def without_outer_tag(frame: bytes) -> tuple[bytes, int | None]:
    """A frame as tc finds it: the kernel keeps the outer VLAN tag beside it.

    Returns:
        The frame, and the number of that VLAN; None if it has no tag.
    """
    if int.from_bytes(frame[12:14]) not in _VLAN_ETHERTYPES or len(frame) < _TAGGED_BYTES:
        return frame, None
    return frame[:12] + frame[16:], int.from_bytes(frame[14:16]) & 0xFFF


def with_hop_limit(frame: bytes, hop_limit: int) -> bytes:
    """An IPv6 frame with another hop limit."""
    at = headers.network(frame).offset + 7
    return frame[:at] + bytes([hop_limit]) + frame[at + 1 :]


def of_record(record: Record, src_mac: bytes, dst_mac: bytes) -> bytes:
    """A captured frame, whole: what the capture has cut off is zeros.

    Args:
        record: of any link; one without an Ethernet header gets one.
    """
    data = record.data + bytes(max(0, record.length - len(record.data)))
    if record.link is Link.ETHERNET:
        return data
    return ethernet(data[headers.network(data, record.link).offset :], src_mac, dst_mac)


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
