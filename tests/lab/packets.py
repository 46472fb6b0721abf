# SPDX-License-Identifier: Apache-2.0
"""Take a frame apart, and say it in words. Written apart from the C code."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

ETH_IPV6 = 0x86DD
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
TCP, UDP, ICMPV6 = 6, 17, 58
_NAMES = {
    TCP: "TCP",
    UDP: "UDP",
    ICMPV6: "ICMPv6",
    41: "IPv6-in-IPv6",
    47: "GRE",
    4: "IPv4-in-IPv6",
}


@dataclass(frozen=True)
class Frame:
    """An Ethernet frame that carries IPv6.

    Attributes:
        raw: the bytes from the Ethernet header on, as captured.
        tags: VLAN identifiers, outermost first.
        source: of the IPv6 header.
        destination: of the IPv6 header.
        hop_limit: of the IPv6 header.
        next_header: of the fixed header: what follows directly.
        payload_length: of the IPv6 header, in bytes; 0 for a jumbogram.
        packet: the IPv6 packet: fixed header and payload.
    """

    raw: bytes
    tags: tuple[int, ...]
    source: IPv6Address
    destination: IPv6Address
    hop_limit: int
    next_header: int
    payload_length: int
    packet: bytes

    @property
    def payload(self) -> bytes:
        """What follows the fixed header."""
        return self.packet[40:]

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port of TCP or UDP."""
        source, destination = struct.unpack_from("!HH", self.payload)
        return source, destination

    @property
    def icmp_type(self) -> int | None:
        """Type, if ICMPv6 follows directly."""
        return self.payload[0] if self.next_header == ICMPV6 and self.payload else None

    @property
    def checksum_valid(self) -> bool:
        """Whether the transport's own checksum fits the addresses of this packet.

        Computed from first principles (RFC 8200, section 8.1). Senders may leave
        it to a card that does not exist here; see `checksum_partial`.
        """
        return _sum(self._pseudo_header() + self.payload) == 0xFFFF

    @property
    def checksum_partial(self) -> bool:
        """The field holds the sum of the pseudo-header only: left to the device."""
        offset = {TCP: 16, UDP: 6, ICMPV6: 2}.get(self.next_header)
        if offset is None:
            return False
        field = int.from_bytes(self.payload[offset : offset + 2], "big")
        return _sum(self._pseudo_header()) == field

    def _pseudo_header(self) -> bytes:
        return _pseudo_header(self.source, self.destination, len(self.payload), self.next_header)

    def describe(self) -> list[str]:
        """The packet in lines for people."""
        name = _NAMES.get(self.next_header, str(self.next_header))
        lines = [
            f"Ethernet  {self.raw[6:12].hex(':')} > {self.raw[:6].hex(':')}"
            + "".join(f" vlan {tag}" for tag in self.tags),
            f"IPv6      {self.source} > {self.destination}",
            f"          hop limit {self.hop_limit}, payload {self.payload_length} bytes, "
            f"next header {self.next_header} ({name})",
        ]
        if self.next_header in (TCP, UDP):
            source, destination = self.ports
            lines.append(
                f"{name:<9} {source} > {destination}, checksum "
                f"{'valid' if self.checksum_valid else 'left to the device'}"
            )
        return lines


def _pseudo_header(
    source: IPv6Address, destination: IPv6Address, length: int, next_header: int
) -> bytes:
    return source.packed + destination.packed + struct.pack("!II", length, next_header)


def _sum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def decode(raw: bytes) -> Frame | None:
    """Decode a frame; None if it does not carry IPv6."""
    tags: list[int] = []
    offset = 12
    while len(raw) >= offset + 2:
        (kind,) = struct.unpack_from("!H", raw, offset)
        offset += 2
        if kind not in _VLAN_TYPES:
            break
        tags.append(struct.unpack_from("!H", raw, offset)[0] & 0xFFF)
        offset += 2
    else:
        return None
    if kind != ETH_IPV6 or len(raw) < offset + 40:
        return None
    length, next_header, hop_limit = struct.unpack_from("!HBB", raw, offset + 4)
    return Frame(
        raw=raw,
        tags=tuple(tags),
        source=IPv6Address(raw[offset + 8 : offset + 24]),
        destination=IPv6Address(raw[offset + 24 : offset + 40]),
        hop_limit=hop_limit,
        next_header=next_header,
        payload_length=length,
        # Short frames are padded; a length of 0 means that the header has none.
        packet=raw[offset : offset + 40 + length] if length else raw[offset:],
    )


def udp_frame(
    macs: tuple[str, str],
    addresses: tuple[IPv6Address, IPv6Address],
    payload: bytes,
    *,
    ports: tuple[int, int] = (4242, 4242),
    hop_limit: int = 64,
    tags: tuple[tuple[int, int], ...] = (),
    extensions: bytes = b"",
    extension_type: int = UDP,
) -> bytes:
    """A frame with a UDP packet and a valid checksum.

    Args:
        macs: source and destination of the frame, as text.
        addresses: source and destination of the packet.
        tags: (ethertype, VLAN identifier), outermost first.
        extensions: extension headers, of which the last one must name UDP.
        extension_type: type of the first extension header, if there are any.
    """
    source, destination = addresses
    length = 8 + len(payload)
    datagram = struct.pack("!HHHH", *ports, length, 0) + payload
    checksum = 0xFFFF ^ _sum(_pseudo_header(source, destination, length, UDP) + datagram)
    datagram = datagram[:6] + struct.pack("!H", checksum or 0xFFFF) + payload
    header = struct.pack(
        "!IHBB",
        6 << 28,
        len(extensions) + length,
        extension_type if extensions else UDP,
        hop_limit,
    )
    packet = header + source.packed + destination.packed + extensions + datagram
    return ethernet(macs, packet, tags=tags)


def ipv6(
    source: IPv6Address, destination: IPv6Address, kind: int, upper: bytes, hop_limit: int = 64
) -> bytes:
    """A packet without extension headers but those that `upper` begins with."""
    header = struct.pack("!IHBB", 6 << 28, len(upper), kind, hop_limit)
    return header + source.packed + destination.packed + upper


def icmp(source: IPv6Address, destination: IPv6Address, body: bytes, hop_limit: int = 64) -> bytes:
    """A packet with `body`, whose checksum is filled in."""
    total = _sum(_pseudo_header(source, destination, len(body), ICMPV6) + body)
    body = body[:2] + struct.pack("!H", 0xFFFF - total) + body[4:]
    return ipv6(source, destination, ICMPV6, body, hop_limit)


def ethernet(
    macs: tuple[str, str],
    packet: bytes,
    *,
    ethertype: int = ETH_IPV6,
    tags: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """A frame around a packet; `macs` and `tags` as for `udp_frame`."""
    source, destination = (bytes.fromhex(mac.replace(":", "")) for mac in macs)
    between = b"".join(struct.pack("!HH", kind, tag) for kind, tag in tags)
    return destination + source + between + struct.pack("!H", ethertype) + packet
