# SPDX-License-Identifier: Apache-2.0
"""Packets for the table, made with scapy, which fills in lengths and checksums.

A builder takes a destination and a hop limit and returns an IPv6 packet, so
that a row's packet before and after differ in nothing else, and both have the
checksum that scapy computes for *their* destination.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.layers import inet, inet6  # noqa: E402  (imported with its warnings off)
from scapy.packet import Packet, Raw  # noqa: E402

from datapath import plan  # noqa: E402
from model.address import address  # noqa: E402

Builder = Callable[[bytes, int], bytes]

# Somebody with a SIR address elsewhere; sources are SIR addresses on the wire, too.
PEER = plan.CBIT.name("2000:7:c1c2:c3c4")
ROUTER = address("2001:db8:99:3::10")
FOREIGN = address("2001:db8:99:3::80")
TASK = plan.CBIT.name(plan.STACK_TASK)
# Where it stands in a packet without an Ethernet header, it says that IPv6 follows.
LIKE_ETHERNET = address("2001:db8:86dd:6000::5")
# A group address, which every station may accept.
LIKE_IPV6_MAC = bytes((0x61, 0, 0, 0, 9, 9))
OTHER_MAC = bytes((2, 0, 0, 0, 9, 9))
TEXT = b"The quick brown fox jumps over the lazy dog."

SCTP = 132
DOT1Q, DOT1AD, OLD_QINQ = 0x8100, 0x88A8, 0x9100


def ether(packet: bytes, ifindex: int = plan.UPLINK, tags: tuple[int, ...] = ()) -> bytes:
    """A frame for a device, with tags as type << 16 | tag, outermost first."""
    return link(plan.mac(ifindex), packet, tags=tags)


def link(dst: bytes, packet: bytes, kind: int = 0x86DD, tags: tuple[int, ...] = ()) -> bytes:
    front = b"".join(tag.to_bytes(4, "big") for tag in tags)
    return dst + OTHER_MAC + front + kind.to_bytes(2, "big") + packet


def _ipv6(src: bytes, dst: bytes, hop: int, layers: Packet, **fields: int) -> bytes:
    header = inet6.IPv6(src=inet6.inet_ntop(10, src), dst=inet6.inet_ntop(10, dst), hlim=hop)
    for name, value in fields.items():
        setattr(header, name, value)
    return bytes(header / layers)


def of(layers: Packet, src: bytes = PEER, **fields: int) -> Builder:
    """A builder around everything behind the fixed header."""
    return lambda dst, hop: _ipv6(src, dst, hop, layers, **fields)


def tcp(payload: bytes = TEXT, flags: str = "A", src: bytes = PEER) -> Builder:
    segment = inet.TCP(sport=49152, dport=8080, seq=1, flags=flags, window=65535)
    return of(segment / Raw(payload), src)


def udp(payload: bytes = TEXT, src: bytes = PEER) -> Builder:
    return of(inet.UDP(sport=49152, dport=53) / Raw(payload), src)


def echo(src: bytes = PEER) -> Builder:
    return of(inet6.ICMPv6EchoRequest(id=7, seq=9, data=TEXT), src)


def sized(length: int, src: bytes = PEER) -> Builder:
    """A TCP packet of `length` bytes from its IPv6 header on."""
    return tcp(b"x" * (length - 60), src=src)


def sctp(length: int, src: bytes = PEER) -> Builder:
    """An SCTP packet of `length` bytes from its IPv6 header on: ports, and text as data."""
    return raw(SCTP, bytes(12) + b"x" * (length - 52), src)


def chain(*headers: Packet, last: Packet | None = None, src: bytes = PEER) -> Builder:
    """Extension headers in front of TCP, or of `last`."""
    layers: Packet = last if last is not None else inet.TCP(sport=1, dport=2) / Raw(TEXT)
    for header in reversed(headers):
        layers = header / layers
    return of(layers, src)


def hop_by_hop() -> Packet:
    return inet6.IPv6ExtHdrHopByHop(options=inet6.RouterAlert())


def destination_options() -> Packet:
    return inet6.IPv6ExtHdrDestOpt(options=inet6.PadN(optdata=b"\0" * 12))


def routing() -> Packet:
    return inet6.IPv6ExtHdrRouting(type=4, segleft=0, addresses=["2001:db8:99::1"])


def fragment(offset: int, *, more: bool, kind: int = 6, src: bytes = PEER) -> Builder:
    """A fragment of `kind`; its payload at an offset is plain text."""
    header = inet6.IPv6ExtHdrFragment(offset=offset, m=int(more), id=0x11223344, nh=kind)
    return of(header / Raw(TEXT), src)


def raw(next_header: int, payload: bytes = TEXT, src: bytes = PEER) -> Builder:
    return of(Raw(payload), src, nh=next_header)


def big_tcp() -> Builder:
    """What the kernel makes of super-packets above 64 KiB, before 6.19 or so.

    Payload length 0 and a jumbo payload option; the frame itself is short here.
    """
    jumbo = inet6.IPv6ExtHdrHopByHop(options=inet6.Jumbo(jumboplen=100_000))
    return of(jumbo / inet.TCP(sport=1, dport=2) / Raw(TEXT), plen=0)


def huge(payload: bytes, *, jumbo_option: bool, src: bytes = PEER) -> Builder:
    """TCP beyond 64 KiB; made by hand, because its checksum is the device's to make."""
    segment = bytes(inet.TCP(sport=49152, dport=8080, flags="A", chksum=0)) + payload
    option = b"\x06\0\xc2\x04" + (len(segment) + 8).to_bytes(4, "big")
    front = option if jumbo_option else b""
    first = 0 if jumbo_option else 6

    def build(dst: bytes, hop: int) -> bytes:
        return b"\x60\0\0\0\0\0" + bytes([first, hop]) + src + dst + front + segment

    return build


def two_headers(inner: bytes) -> bytes:
    """For nobody here; read 14 bytes later, as behind an Ethernet header, for `inner`."""
    source = LIKE_ETHERNET[:12] + bytes([59, 64, 0, 0])
    packet = raw(59, inner[2:] + TEXT, src=source)(FOREIGN[:14] + inner[:2], 64)
    assert (packet[12:15], packet[21], packet[38:54]) == (b"\x86\xdd\x60", 64, inner)
    return packet


# --- ICMPv6 errors ---

_ERRORS = {
    1: inet6.ICMPv6DestUnreach,
    2: inet6.ICMPv6PacketTooBig,
    3: inet6.ICMPv6TimeExceeded,
    4: inet6.ICMPv6ParamProblem,
}


def quoted(dst: bytes, src: bytes = TASK) -> bytes:
    """The packet that an error is about, as it was on the wire."""
    return udp(src=src)(dst, 3)


def error_layer(inner: bytes, kind: int = 3) -> Packet:
    if kind in _ERRORS:
        return _ERRORS[kind]() / Raw(inner)
    return inet6.ICMPv6Unknown(type=kind, code=0, msgbody=bytes(4) + inner)


def error(inner: bytes, kind: int = 3, *headers: Packet, src: bytes = ROUTER) -> Builder:
    """An error about `inner`, behind extension headers."""
    return chain(*headers, last=error_layer(inner, kind), src=src)


def arp() -> bytes:
    return link(b"\xff" * 6, bytes.fromhex("0001080006040001") + bytes(20), 0x0806)


def ipv4() -> bytes:
    packet = inet.IP(src="192.0.2.1", dst="192.0.2.2") / inet.UDP() / Raw(TEXT)
    return link(plan.mac(plan.UPLINK), bytes(packet), 0x0800)
