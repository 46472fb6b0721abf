# SPDX-License-Identifier: Apache-2.0
"""A described packet is the frame that scapy would make of the description."""

from __future__ import annotations

import logging

import pytest

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.layers.inet import TCP, UDP  # noqa: E402  (imported with its warnings off)
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

from ilax.address import parse  # noqa: E402
from ilax.errors import UsageError  # noqa: E402
from ilax.explain import changes  # noqa: E402
from ilax.explain.packet import (  # noqa: E402
    Description,
    of_record,
    readdressed,
    with_hop_limit,
    without_outer_tag,
)
from ilax.frames import Link, decode  # noqa: E402
from ilax.frames.record import Record  # noqa: E402

SRC, DST = "2001:db8:5a5a:1:2000::5", "2001:db8:42:7:3000::1dea"
MACS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
UPPER = {
    "tcp": TCP(sport=1234, dport=443, seq=1, flags="S", window=0xFFFF),
    "udp": UDP(sport=1234, dport=443),
    "icmp6": ICMPv6EchoRequest(id=1, seq=1),
}


def described(protocol: str, **how: object) -> Description:
    ports = {} if protocol == "icmp6" else {"sport": 1234, "dport": 443}
    fields = {"src": parse(SRC), "dst": parse(DST), "protocol": protocol, **ports, **how}
    return Description(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("extra", [0, 1, 1000])
@pytest.mark.parametrize("protocol", UPPER)
def test_the_frame(protocol: str, extra: int) -> None:
    upper = UPPER[protocol] / Raw(bytes(extra))
    expected = bytes(Ether(src=MACS[0], dst=MACS[1]) / IPv6(src=SRC, dst=DST, hlim=9) / upper)
    length = len(expected) - 14
    assert described(protocol, hop_limit=9, length=length).frame(*MACS) == expected


def test_the_shortest_is_the_default() -> None:
    for protocol, size in (("tcp", 20), ("udp", 8), ("icmp6", 8)):
        assert len(described(protocol).frame(*MACS)) == 14 + 40 + size


def test_ecn() -> None:
    assert decode(described("udp", ecn=True).frame(*MACS)).traffic_class == 2


@pytest.mark.parametrize(
    "how", [{"length": 47}, {"length": 65576}, {"protocol": "icmp6", "dport": 7}]
)
def test_what_makes_no_packet_is_refused(how: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        described(**{"protocol": "udp", **how}).frame(*MACS)  # type: ignore[arg-type]


@pytest.mark.parametrize("front", [b"", bytes(14) + b"\x86\xdd"], ids=["raw", "cooked"])
def test_a_captured_packet_gets_the_header_that_it_lacks(front: bytes) -> None:
    frame = described("udp", length=100).frame(*MACS)
    link = Link.LINUX_SLL if front else Link.RAW
    whole = Record(0, len(front) + 100, front + frame[14:], link)
    assert of_record(whole, *MACS) == frame
    # What was cut off is zeros, as it was in this packet.
    cut = Record(0, len(front) + 100, front + frame[14:84], link)
    assert of_record(cut, *MACS) == frame


def test_an_ethernet_frame_stays_as_it_is() -> None:
    frame = described("udp").frame(MACS[1], MACS[0])
    assert of_record(Record(0, len(frame), frame, Link.ETHERNET), *MACS) == frame


def test_changes_are_named() -> None:
    before = described("udp").frame(*MACS)
    after = with_hop_limit(readdressed(before, MACS[0]), 63)
    found = changes.between(decode(before), decode(after))
    assert [(c.what, c.before, c.after) for c in found] == [
        ("hop limit", "64", "63"),
        ("link destination", "02:00:00:00:00:02", "02:00:00:00:00:01"),
    ]
    assert changes.between(decode(before), decode(before)) == []


def test_the_outer_tag_stands_beside_the_frame() -> None:
    frame = described("udp").frame(*MACS)
    assert without_outer_tag(frame) == (frame, None)
    tagged = frame[:12] + b"\x81\x00\x20\x05" + frame[12:]
    twice = frame[:12] + b"\x88\xa8\x00\x07" + tagged[12:]
    assert without_outer_tag(tagged) == (frame, 5)
    assert without_outer_tag(twice) == (tagged, 7)
    assert without_outer_tag(tagged[:16]) == (tagged[:16], None)
