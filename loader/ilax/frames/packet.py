# SPDX-License-Identifier: Apache-2.0
"""A frame, decoded as far as it was captured."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from ilax.address import Address
from ilax.frames import headers
from ilax.frames.headers import Link

_TCP_FLAGS = "FSRPAUEW"  # FIN is the lowest bit
_DISCOVERY_TARGETS = (135, 136, 137)  # solicitation, advertisement, redirect


@dataclass(frozen=True, slots=True)
class Packet:
    """What a frame says. A field is None where the frame has no such thing.

    Attributes:
        length: bytes of the frame when it was on the wire.
        captured: bytes of it that were there to decode.
        ends_in: the header within which the captured bytes end, such as "tcp";
            None if all headers that are decoded here are whole.
        src_mac: such as "02:00:00:00:00:01"; `dst_mac` alike.
        ethertype: of the network's header.
        vlans: identifiers of VLAN tags, the outer one first.
        src: IPv6 source; `dst` alike. All that follows is None without them.
        traffic_class: 8 bits; the lower two are ECN.
        payload_length: as the IPv6 header has it; 0 in packets over 64 KiB.
        extensions: names of extension headers, in their order.
        fragment: (offset in bytes, whether more follow, identification).
        protocol: number of the upper protocol.
        src_port: of TCP and UDP; `dst_port` alike.
        upper_length: bytes of payload of TCP and UDP by the lengths in the
            headers, captured or not.
        flags: of TCP, letters of "FSRPAUEW" in this order, "" for none.
        icmp_rest: the 32 bits behind the checksum of ICMPv6: MTU, pointer, or
            identifier and number of an echo.
        target: address that neighbour discovery asks for or tells of.
        quoted: packet that an ICMPv6 error answers, without a link's header.
    """

    length: int
    captured: int
    ends_in: str | None = None
    src_mac: str | None = None
    dst_mac: str | None = None
    ethertype: int = 0
    vlans: tuple[int, ...] = ()
    src: Address | None = None
    dst: Address | None = None
    traffic_class: int | None = None
    flow_label: int | None = None
    hop_limit: int | None = None
    payload_length: int | None = None
    extensions: tuple[str, ...] = ()
    fragment: tuple[int, bool, int] | None = None
    protocol: int | None = None
    src_port: int | None = None
    dst_port: int | None = None
    upper_length: int | None = None
    flags: str | None = None
    seq: int | None = None
    ack: int | None = None
    window: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_rest: int | None = None
    target: Address | None = None
    quoted: Packet | None = None


def decode(data: bytes, length: int | None = None, link: Link = Link.ETHERNET) -> Packet:
    """Decode a frame. Never fails: what is not there or not known is left out.

    Args:
        data: the captured bytes.
        length: of the whole frame; default: all of it was captured.
        link: what the frame begins with.
    """
    whole = len(data) if length is None else length
    found = headers.network(data, link)
    packet = Packet(
        length=whole,
        captured=len(data),
        ethertype=found.ethertype,
        vlans=tuple(tag & 0xFFF for tag in found.tags),
    )
    if link is Link.ETHERNET and len(data) >= 12:
        packet = replace(packet, dst_mac=data[:6].hex(":"), src_mac=data[6:12].hex(":"))
    if not found.is_ipv6:
        cut = len(data) < found.offset
        return replace(packet, ends_in="link") if cut else packet
    return _network(packet, data, found.offset)


def _network(packet: Packet, data: bytes, offset: int) -> Packet:
    if len(data) < offset + headers.IPV6_BYTES:
        return replace(packet, ends_in="ipv6")
    first, payload, _, hops = struct.unpack_from("!IHBB", data, offset)
    if first >> 28 != 6:
        return packet
    found = headers.upper(data, offset)
    packet = replace(
        packet,
        src=_address(data, offset + headers.SRC),
        dst=_address(data, offset + headers.DST),
        traffic_class=first >> 20 & 0xFF,
        flow_label=first & 0xFFFFF,
        hop_limit=hops,
        payload_length=payload,
        extensions=tuple(headers.EXTENSIONS[number] for number in found.extensions),
        fragment=found.fragment,
        protocol=found.protocol,
    )
    if not found.has_header:
        return packet
    if found.protocol in headers.EXTENSIONS:
        return replace(packet, ends_in=headers.EXTENSIONS[found.protocol])
    before = found.offset - offset - headers.IPV6_BYTES
    room = payload - before if payload else packet.length - found.offset
    match found.protocol:
        case headers.TCP:
            return _tcp(packet, data, found.offset, room)
        case headers.UDP:
            return _udp(packet, data, found.offset)
        case headers.ICMPV6:
            return _icmpv6(packet, data, found.offset)
    return packet


def _tcp(packet: Packet, data: bytes, offset: int, room: int) -> Packet:
    if len(data) < offset + 4:
        return replace(packet, ends_in="tcp")
    # Quoted packets may end behind the ports.
    packet = _ports(packet, data, offset)
    if len(data) < offset + 20:
        return replace(packet, ends_in="tcp")
    seq, ack, size, flags, window = struct.unpack_from("!IIBBH", data, offset + 4)
    names = "".join(name for bit, name in enumerate(_TCP_FLAGS) if flags >> bit & 1)
    return replace(
        packet,
        seq=seq,
        ack=ack,
        window=window,
        flags=names,
        upper_length=max(0, room - (size >> 4) * 4),
    )


def _udp(packet: Packet, data: bytes, offset: int) -> Packet:
    if len(data) < offset + 8:
        return replace(packet, ends_in="udp")
    (length,) = struct.unpack_from("!H", data, offset + 4)
    return replace(_ports(packet, data, offset), upper_length=max(0, length - 8))


def _ports(packet: Packet, data: bytes, offset: int) -> Packet:
    src, dst = struct.unpack_from("!HH", data, offset)
    return replace(packet, src_port=src, dst_port=dst)


def _icmpv6(packet: Packet, data: bytes, offset: int) -> Packet:
    if len(data) < offset + headers.ICMPV6_BYTES:
        return replace(packet, ends_in="icmpv6")
    kind, code, _, rest = struct.unpack_from("!BBHI", data, offset)
    packet = replace(packet, icmp_type=kind, icmp_code=code, icmp_rest=rest)
    inside = offset + headers.ICMPV6_BYTES
    if kind in headers.ICMPV6_ERRORS:
        quoted = Packet(
            length=max(0, packet.length - inside),
            captured=len(data) - inside,
            ethertype=headers.ETHERTYPE_IPV6,
        )
        return replace(packet, quoted=_network(quoted, data, inside))
    if kind in _DISCOVERY_TARGETS and len(data) >= inside + 16:
        return replace(packet, target=_address(data, inside))
    return packet


def _address(data: bytes, at: int) -> Address:
    return Address.from_bytes(bytes(data[at : at + 16]))
