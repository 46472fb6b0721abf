# SPDX-License-Identifier: Apache-2.0
"""Random packets that are likely to mean something to the datapath."""

from __future__ import annotations

from hypothesis import strategies as st

from datapath import packets as p
from datapath import plan
from datapath.plan import PLAN
from datapath.world import Packet
from model import Hook, checksum
from model.address import address
from model.packet import FRAGMENT, ICMPV6, TCP, UDP
from model.tables import ACTION_FORWARD

FAR_ADDRESSES = (
    "::", "::1", "fe80::1", "fe80::2", "ff02::1", "ff02::1:ff00:1", "ff0e::101",
    "2001:db8:42:7::1", "2001:db8:42:9::1", "2001:db8:43:9::1", "2001:db8:44:9::1",
    "2001:db8:42:ffff::1", "2001:db8:99:3::80",
)  # fmt: skip

wires = st.sampled_from([*(row.wire for row in PLAN.mappings.values()), *PLAN.endpoints])
known_addresses = st.one_of(
    st.sampled_from([*PLAN.endpoints]),
    st.sampled_from([*PLAN.mappings]),
    wires,
    st.sampled_from([*map(address, FAR_ADDRESSES), p.TASK, p.PEER]),
)
forwarded = [sir for sir, row in PLAN.mappings.items() if row.action == ACTION_FORWARD]
# Where packets at a hook usually go to.
USUAL = {
    Hook.XDP: st.sampled_from([*PLAN.endpoints]),
    Hook.UPLINK_IN: st.sampled_from([*PLAN.endpoints]),
    Hook.UPLINK_OUT: st.sampled_from([*PLAN.mappings, *forwarded * 3]),
    Hook.CONTAINER: st.sampled_from([*PLAN.mappings, *forwarded * 3]),
}
halves = st.binary(min_size=8, max_size=8)


def seldom(draw: st.DrawFn, one_in: int) -> bool:
    """True about once in so many; never for the simplest example."""
    return draw(st.integers(1, one_in)) == one_in


@st.composite
def addresses(draw: st.DrawFn, usual: st.SearchStrategy[bytes] = known_addresses) -> bytes:
    """Mostly usual ones; known ones; some with one bit changed; some made up."""
    if not seldom(draw, 3):
        return draw(usual)
    if not seldom(draw, 3):
        return draw(known_addresses)
    if draw(st.booleans()):
        raw = int.from_bytes(draw(st.one_of(usual, known_addresses)), "big")
        return (raw ^ 1 << draw(st.integers(0, 127))).to_bytes(16, "big")
    upper = draw(st.sampled_from([row.upper for row in PLAN.prefixes]))
    return draw(st.one_of(st.just(upper), halves)) + draw(halves)


hop_limits = st.sampled_from((64, 255, 3, 2, 1, 0, 64, 64, 64))
tag_types = st.sampled_from((0x8100, 0x88A8, 0x8100, 0x88A8, 0x9100))
tags = st.builds(lambda kind, tci: kind << 16 | tci, tag_types, st.integers(0, 0xFFFF))


def transport(payload: bytes, kind: int) -> bytes:
    """A header of TCP, UDP or an ICMPv6 query; its checksum is still empty."""
    if kind == TCP:
        return bytes.fromhex("c0001f90 00000001 00000000 5010ffff 00000000") + payload
    if kind == UDP:
        return bytes.fromhex("c0000035") + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
    return bytes.fromhex("80000000 00070009") + payload


@st.composite
def extensions(draw: st.DrawFn, last: int, limit: int = 8) -> tuple[int, bytes]:
    """Type of the first header, and headers that lead to `last`."""
    kinds = draw(st.lists(st.sampled_from((0, 60, 43, FRAGMENT)), max_size=limit))
    raw = b""
    following = last
    for kind in reversed(kinds):
        if kind == FRAGMENT:
            header = bytes([following]) + bytes(3) + b"ilax"
        else:
            units = draw(st.integers(0, 2))
            padding = bytes([1, 4 + 8 * units]) + bytes(4 + 8 * units)
            if kind == 43:  # a routing header without segments left
                padding = b"\4\0" + bytes(4 + 8 * units)
            header = bytes([following, units]) + padding
        raw = header + raw
        following = kind
    return following, raw


def ipv6(src: bytes, dst: bytes, hop: int, kind: int, payload: bytes) -> bytes:
    length = min(len(payload), 0xFFFF).to_bytes(2, "big")
    return b"\x60\0\0\0" + length + bytes([kind, hop]) + src + dst + payload


@st.composite
def well_formed(draw: st.DrawFn, src: st.SearchStrategy[bytes], dst: bytes) -> bytes:
    """A whole IPv6 packet with extension headers and a right checksum."""
    kind = draw(st.sampled_from((TCP, UDP, ICMPV6)))
    first, headers = draw(extensions(kind))
    payload = headers + transport(draw(st.binary(max_size=200)), kind)
    hop = draw(st.integers(3, 255))
    return checksum.fill(ipv6(draw(src), dst, hop, first, payload))


@st.composite
def errors(draw: st.DrawFn) -> bytes:
    """An ICMPv6 message with something like a packet in it."""
    inner = ipv6(p.TASK, draw(addresses(wires)), 3, UDP, bytes(8))
    if seldom(draw, 4):
        inner = inner[: draw(st.integers(0, 48))]
    return bytes([draw(st.sampled_from((3, 2, 1, 4, 127, 128, 136)))]) + bytes(7) + inner


@st.composite
def plausible(draw: st.DrawFn, hook: Hook) -> bytes:
    """An IPv6 packet of known addresses; inside, anything."""
    kind = draw(st.sampled_from((TCP, UDP, ICMPV6, ICMPV6, 59, 51, 253)))
    body = draw(errors()) if kind == ICMPV6 else draw(st.binary(max_size=64))
    first, headers = draw(extensions(kind))
    if seldom(draw, 3):
        # later fragments, wrong lengths, headers that end too early
        headers = draw(mutations(headers))
    src, dst = draw(addresses()), draw(addresses(USUAL[hook]))
    return ipv6(src, dst, draw(hop_limits), first, headers + body)


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """A few bytes changed, or the end cut off."""
    raw = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        if raw:
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))])


@st.composite
def destinations(draw: st.DrawFn, ifindex: int) -> bytes:
    """An Ethernet destination: mostly the device's own."""
    if not seldom(draw, 8):
        return plan.mac(ifindex)
    return draw(st.sampled_from((p.OTHER_MAC, b"\xff" * 6, b"\x33\x33\0\0\0\1")))


@st.composite
def devices(draw: st.DrawFn, hook: Hook) -> int:
    if hook is Hook.CONTAINER:
        if seldom(draw, 12):
            return plan.STRANGER
        return draw(st.sampled_from((plan.TASK1, plan.TASK2, plan.TASK3)))
    return plan.UPLINK


@st.composite
def from_the_device(draw: st.DrawFn, hook: Hook, packet: bytes, ifindex: int) -> bytes:
    """Lets a container use its own source most of the time."""
    port = PLAN.ports.get(ifindex)
    if hook is Hook.CONTAINER and port and len(packet) >= 24 and not seldom(draw, 5):
        return packet[:8] + port.sir + packet[24:]
    return packet


@st.composite
def around(draw: st.DrawFn, hook: Hook, data: bytes, ifindex: int) -> Packet:
    """What comes with a frame at a hook."""
    if hook is Hook.XDP:
        before = 4 * draw(st.sampled_from((0, 0, 0, 1, 6)))
        linear = draw(st.integers(14, len(data))) if seldom(draw, 5) else None
        return Packet(data, linear=linear, metadata=b"m" * before)
    beside = draw(st.sampled_from((0, 0, 0, 0x81000005, 0x88A80006)))
    return Packet(data, ifindex=ifindex, tag=beside)


@st.composite
def plausible_frames(draw: st.DrawFn, hook: Hook) -> Packet:
    ifindex = draw(devices(hook))
    packet = draw(from_the_device(hook, draw(plausible(hook)), ifindex))
    outer = tuple(draw(st.lists(tags, max_size=3))) if seldom(draw, 3) else ()
    data = p.link(draw(destinations(ifindex)), packet, tags=outer)
    if seldom(draw, 12):
        data = data[: draw(st.integers(14, len(data)))]
    return draw(around(hook, data, ifindex))


@st.composite
def garbage_frames(draw: st.DrawFn, hook: Hook, seeds: list[Packet]) -> Packet:
    """Random bytes, or a packet of the table with bytes changed."""
    ifindex = draw(devices(hook))
    if not seldom(draw, 3):
        seed = draw(st.sampled_from(seeds))
        data, ifindex = seed.data[:600], seed.ifindex
        if draw(st.booleans()):
            # Where it hurts: the types and headers, not the addresses of the link.
            data = data[:12] + draw(mutations(data[12:]))
        else:
            data = draw(mutations(data))
        data = data.ljust(14, b"\0")
    else:
        front = draw(destinations(ifindex)) + p.OTHER_MAC
        kind = draw(st.sampled_from((b"\x86\xdd", b"\x86\xdd\x60", b"\x81\0", b"\x08\0", b"")))
        data = (front + kind + draw(st.binary(min_size=2, max_size=200))).ljust(14, b"\0")
    return draw(around(hook, data, ifindex))
