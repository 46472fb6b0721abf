# SPDX-License-Identifier: Apache-2.0
"""Frames: decoded as Scapy built them, cut anywhere, in files, translated."""

from __future__ import annotations

import io
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy import packet as scapy_packet
from scapy import utils as scapy_utils
from scapy.layers import inet, inet6, l2

from ilax.address import Address, Prefix, parse, parse_prefix, to_wire
from ilax.errors import UsageError
from ilax.frames import (
    Link,
    Record,
    Translator,
    as_dict,
    decode,
    guess_link,
    lines,
    one_line,
    pcap,
    rewrite,
)
from lab.packets import decode as decode_apart

SIR_PREFIX = parse_prefix("2001:db8:5a5a:1::/64")
BLOCK = parse_prefix("2001:db8:42::/48")
LOCATOR = parse_prefix("2001:db8:42:7::/64")
SIR = parse("2001:db8:5a5a:1:2000::5")
OTHER = parse("2001:db8:5a5a:1:2000::9")
WIRE = to_wire(SIR, LOCATOR.upper)
ROUTER = parse("2001:db8:42:9::1")

DOMAIN = Translator(
    (SIR_PREFIX,),
    (BLOCK,),
    (LOCATOR,),
    place_of={SIR: WIRE}.get,
    name_of={SIR: "iltask7"}.get,
)

ETHERNET = l2.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def ipv6(src: Address, dst: Address, **fields: Any) -> Any:
    return inet6.IPv6(src=str(src), dst=str(dst), **fields)


def tcp(dst: Address = WIRE) -> Any:
    header = inet.TCP(sport=4000, dport=443, flags="SA", seq=7, ack=9, window=512)
    return ipv6(OTHER, dst, tc=1, fl=0xABCDE) / header / (b"x" * 100)


def too_big() -> Any:
    return ipv6(ROUTER, OTHER) / inet6.ICMPv6PacketTooBig(mtu=1280) / tcp()


def build(*layers: Any) -> bytes:
    """A frame with everything computed that Scapy computes."""
    frame = ETHERNET
    for layer in layers:
        frame = frame / layer
    return bytes(frame)


FRAMES = {
    "tcp": build(tcp()),
    "udp in two tags": build(
        l2.Dot1Q(vlan=5), l2.Dot1Q(vlan=7), ipv6(OTHER, WIRE), inet.UDP(sport=1, dport=2), b"hi!"
    ),
    "udp behind extensions": build(
        ipv6(OTHER, WIRE), inet6.IPv6ExtHdrHopByHop(), inet6.IPv6ExtHdrDestOpt(),
        inet.UDP(sport=1, dport=2), b"hello",
    ),
    "first fragment": build(
        ipv6(OTHER, WIRE), inet6.IPv6ExtHdrFragment(offset=0, m=1, id=77),
        inet.UDP(sport=1, dport=2, chksum=1), bytes(8),
    ),
    "later fragment": build(
        ipv6(OTHER, WIRE), inet6.IPv6ExtHdrFragment(offset=100, m=0, id=77, nh=17), bytes(16)
    ),
    "echo": build(ipv6(OTHER, WIRE), inet6.ICMPv6EchoRequest(id=3, seq=4)),
    "too big": build(too_big()),
    "solicitation": build(ipv6(ROUTER, OTHER), inet6.ICMPv6ND_NS(tgt=str(WIRE))),
    "arp": build(l2.ARP()),
}  # fmt: skip


# --- decoding ---------------------------------------------------------------------


def test_fields_are_those_that_scapy_wrote() -> None:
    found = decode(FRAMES["tcp"])
    assert (found.src, found.dst, found.protocol) == (OTHER, WIRE, 6)
    assert (found.src_port, found.dst_port, found.flags) == (4000, 443, "SA")
    assert (found.seq, found.ack, found.window, found.upper_length) == (7, 9, 512, 100)
    assert (found.traffic_class, found.flow_label, found.hop_limit) == (1, 0xABCDE, 64)
    assert (found.src_mac, found.dst_mac) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert found.ends_in is None


def test_tags_and_extensions_are_walked() -> None:
    tagged = decode(FRAMES["udp in two tags"])
    assert (tagged.vlans, tagged.dst_port, tagged.upper_length) == ((5, 7), 2, 3)
    behind = decode(FRAMES["udp behind extensions"])
    assert (behind.extensions, behind.dst_port) == (("hop-by-hop", "destination"), 2)


def test_only_the_first_fragment_has_ports() -> None:
    first, later = decode(FRAMES["first fragment"]), decode(FRAMES["later fragment"])
    assert (first.fragment, first.dst_port) == ((0, True, 77), 2)
    assert (later.fragment, later.protocol, later.dst_port) == ((800, False, 77), 17, None)


def test_the_quoted_packet_of_an_error_is_decoded() -> None:
    found = decode(FRAMES["too big"])
    assert (found.icmp_type, found.icmp_rest) == (2, 1280)
    assert found.quoted is not None
    assert (found.quoted.dst, found.quoted.dst_port, found.quoted.flags) == (WIRE, 443, "SA")


def test_an_event_of_128_bytes_still_tells_the_quoted_ports() -> None:
    found = decode(FRAMES["too big"][:128], len(FRAMES["too big"]))
    assert found.quoted is not None
    assert (found.quoted.dst_port, found.length) == (443, len(FRAMES["too big"]))


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_may_end_anywhere(name: str) -> None:
    raw = FRAMES[name]
    whole = decode(raw)
    for size in range(len(raw)):
        found = decode(raw[:size], len(raw))
        assert found.src in (None, whole.src)
        assert found.dst_port in (None, whole.dst_port)
        text = [one_line(found, DOMAIN), *lines(found, DOMAIN)]
        assert all(text)
        assert json.loads(json.dumps(as_dict(found, DOMAIN)))["captured"] == size


@given(st.binary(max_size=200), st.sampled_from(list(Link)))
def test_noise_is_no_error(noise: bytes, link: Link) -> None:
    for raw in (noise, FRAMES["too big"][:54] + noise):
        found = decode(raw, link=link)
        assert one_line(found, DOMAIN)
        record = Record(0, len(raw), raw, link)
        assert len(rewrite.to_sir(DOMAIN)(record).data) == len(raw)


def test_text_says_who_is_meant() -> None:
    assert one_line(decode(FRAMES["tcp"]), DOMAIN) == (
        f"{OTHER}.4000 > {WIRE}.443 (iltask7, SIR {SIR}): "
        "tcp [SA], seq 7, ack 9, win 512, 100 bytes"
    )
    assert f"          to   {WIRE}  (wire of {SIR} (iltask7) at {LOCATOR})" in lines(
        decode(FRAMES["tcp"]), DOMAIN
    )
    known = as_dict(decode(FRAMES["too big"]), DOMAIN)
    assert known["src_meaning"]["kind"] == "host"
    assert known["quoted"]["dst_meaning"] == {
        "kind": "wire", "sir": str(SIR), "locator": str(LOCATOR), "ours": True, "name": "iltask7",
    }  # fmt: skip


def test_a_frame_without_a_link_header_is_recognised() -> None:
    packet = bytes(tcp())
    assert guess_link(packet[:128], len(packet)) is Link.RAW
    assert guess_link(FRAMES["arp"], len(FRAMES["arp"])) is Link.ETHERNET
    assert decode(packet, link=Link.RAW).dst == WIRE


# --- files ------------------------------------------------------------------------


def _written(records: list[Record], **options: Any) -> io.BytesIO:
    stream = io.BytesIO()
    writer = pcap.Writer(stream, Link.ETHERNET, **options)
    for record in records:
        writer.write(record)
    stream.seek(0)
    return stream


def test_a_pcap_keeps_times_and_lengths() -> None:
    records = [
        Record(1_700_000_000_123_456_789 + n, 2000 + n, FRAMES["tcp"][:128], Link.ETHERNET)
        for n in range(3)
    ]
    assert list(pcap.read(_written(records))) == records
    coarse = list(pcap.read(_written(records, nanoseconds=False)))
    assert [r.time for r in coarse] == [1_700_000_000_123_456_000] * 3


def test_tcpdump_reads_what_we_write(tmp_path: Path) -> None:
    file = tmp_path / "ours.pcap"
    raw = FRAMES["tcp"]
    file.write_bytes(_written([Record(10**18, len(raw), raw[:80], Link.ETHERNET)]).getvalue())
    shown = subprocess.run(
        ["tcpdump", "-nr", str(file)], check=True, capture_output=True, text=True
    ).stdout
    assert f"{OTHER}.4000 > {WIRE}.443: Flags [S.]" in shown


def test_pcapng_of_scapy_is_read(tmp_path: Path) -> None:
    file = tmp_path / "scapy.pcapng"
    frames = [l2.Ether(raw) for raw in FRAMES.values()]
    scapy_utils.wrpcapng(str(file), frames)
    with file.open("rb") as stream:
        records = list(pcap.read(stream))
    assert [record.data for record in records] == list(FRAMES.values())
    assert [record.time // 10**9 for record in records] == [int(f.time) for f in frames]


def _block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_sections_resolutions_and_unknown_blocks(order: str) -> None:
    def options(resolution: int) -> bytes:
        return struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)

    section = _block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    raw = bytes(tcp())
    ethernet = struct.pack(order + "HHI", 1, 0, 0) + options(9)
    bare = struct.pack(order + "HHI", 101, 0, 60) + options(0x80 | 20)
    ticks = 5 << 20
    stream = io.BytesIO(
        section
        + _block(order, 1, ethernet)
        + _block(order, 1, bare)
        + _block(order, 0xBAD, b"somebody's own")
        + _block(order, 6, struct.pack(order + "IIIII", 1, 0, ticks, 60, len(raw)) + raw[:60])
        + section
        + _block(order, 1, bare)
        + _block(order, 3, struct.pack(order + "I", len(raw)) + raw[:60])
    )
    assert list(pcap.read(stream)) == [
        Record(5 * 10**9, len(raw), raw[:60], Link.RAW),
        Record(0, len(raw), raw[:60], Link.RAW),
    ]


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_capture_that_was_cut_gives_what_is_there_and_says_so(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "scapy"
    write = scapy_utils.wrpcap if kind == "pcap" else scapy_utils.wrpcapng
    write(str(file), [l2.Ether(FRAMES["tcp"]), l2.Ether(FRAMES["tcp"])])
    whole = file.read_bytes()
    seen = set()
    for size in range(len(whole)):
        records = []
        try:
            for record in pcap.read(io.BytesIO(whole[:size])):
                records.append(record)
        except UsageError:
            pass
        assert all(record.data == FRAMES["tcp"] for record in records)
        seen.add(len(records))
    assert seen == {0, 1}


@given(st.binary(max_size=80))
def test_a_damaged_capture_is_no_traceback(noise: bytes) -> None:
    for begin in (b"", b"\x0a\x0d\x0d\x0a", struct.pack("<I", 0xA1B2C3D4)):
        try:
            list(pcap.read(io.BytesIO(begin + noise)))
        except UsageError:
            continue


# --- translation ------------------------------------------------------------------


def _checksum_ok(raw: bytes) -> bool:
    """By Scapy, which makes it anew from nothing."""
    found = l2.Ether(raw)
    again = found.copy()
    for layer in (inet.TCP, inet.UDP):
        if layer in again and inet6.ICMPv6PacketTooBig not in again:
            del again[layer].chksum
    for layer in (inet6.ICMPv6EchoRequest, inet6.ICMPv6PacketTooBig):
        if layer in again:
            del again[layer].cksum
    return bytes(again) == raw


@pytest.mark.parametrize("name", ["tcp", "udp in two tags", "udp behind extensions", "echo"])
def test_destinations_become_sir_and_checksums_stay(name: str) -> None:
    raw = FRAMES[name]
    assert _checksum_ok(raw)
    there = rewrite.to_sir(DOMAIN)(Record(0, len(raw), raw, Link.ETHERNET))
    found = decode(there.data)
    assert (found.src, found.dst) == (OTHER, SIR)
    assert _checksum_ok(there.data)
    back = rewrite.to_wire(DOMAIN)(there)
    assert back.data == raw


def test_the_quoted_packet_is_translated_and_the_router_is_not() -> None:
    raw = FRAMES["too big"]
    rewriter = rewrite.to_sir(DOMAIN)
    there = rewriter(Record(0, len(raw), raw, Link.ETHERNET))
    found = decode(there.data)
    assert found.quoted is not None
    assert (found.src, found.dst, found.quoted.dst) == (ROUTER, OTHER, SIR)
    assert _checksum_ok(there.data)
    assert (rewriter.tally.frames, rewriter.tally.changed, rewriter.tally.addresses) == (1, 1, 1)


def test_a_header_that_was_cut_is_left_alone() -> None:
    raw = FRAMES["too big"]
    for size in (53, 54 + 8 + 39):
        record = Record(0, len(raw), raw[:size], Link.ETHERNET)
        assert rewrite.to_sir(DOMAIN)(record) is record


@given(
    number=st.integers(1, (1 << 60) - 1).filter(lambda n: n & 0xFFFF),
    kind=st.integers(1, 7),
    host=st.integers(0, 0xFFFF),
    cbit=st.booleans(),
    sources=st.booleans(),
    layer=st.sampled_from(["tcp", "udp", "echo", "error"]),
)
def test_to_wire_undoes_to_sir(
    number: int, kind: int, host: int, cbit: bool, sources: bool, layer: str
) -> None:
    locator = Prefix(BLOCK.upper | host)
    domain = Translator((SIR_PREFIX,), (BLOCK,), cbit=cbit)
    task = Address(SIR_PREFIX.upper, kind << 61 | number)
    wire = to_wire(task, locator.upper, cbit=cbit)
    source = wire if sources else parse("2001:db8:ffff::1")
    upper: scapy_packet.Packet = {
        "tcp": inet.TCP(sport=1, dport=2) / b"odd",
        "udp": inet.UDP(sport=1, dport=2) / b"even",
        "echo": inet6.ICMPv6EchoRequest(id=1, seq=2),
        "error": inet6.ICMPv6TimeExceeded() / ipv6(source, wire) / inet.UDP(sport=1, dport=2),
    }[layer]
    raw = build(ipv6(source, wire), upper)
    record = Record(0, len(raw), raw, Link.ETHERNET)
    there = rewrite.to_sir(domain)(record)
    frame = decode_apart(there.data)
    assert frame is not None
    assert frame.destination.packed == task.packed
    assert frame.checksum_valid
    assert rewrite.to_wire(domain, locator, sources=sources)(there) == record
