# SPDX-License-Identifier: Apache-2.0
"""Super-packets at a cgroup are charged as the frames that they were on the wire."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from datapath import packets as p
from datapath import plan
from datapath.world import GSO_BY_FRAGS, Packet, World, skb_context
from fuzz.attached import load_attached
from ilax.bpf import Program
from lab.limits import policed
from model import Hook

SEGMENT = 1448
ETHERNET, OVERHEAD = 14, 24
TCP_WITH_TIMES = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 8 << 4, 0x10, 65535, 0, 0) + bytes(12)
UDP = struct.pack("!HHHH", 1, 2, 0, 0)
SCTP = struct.pack("!HHII", 1, 2, 3, 0)
PROTOCOLS = {TCP_WITH_TIMES: 6, UDP: 17, SCTP: p.SCTP}


def ipv4(transport: bytes, payload: bytes, options: bytes = b"") -> tuple[bytes, int]:
    """The packet behind an Ethernet header, and the bytes of all headers."""
    words = 5 + len(options) // 4
    length = words * 4 + len(transport) + len(payload)
    kind = PROTOCOLS[transport]
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, 0, 0, 64, kind, 0) + bytes(8)
    inner = header + options + transport
    return bytes(12) + b"\x08\0" + inner + payload, ETHERNET + len(inner)


def ipv6(transport: bytes, payload: bytes) -> tuple[bytes, int]:
    kind = PROTOCOLS[transport]
    header = struct.pack("!IHBB", 6 << 28, len(transport + payload), kind, 64) + p.FOREIGN * 2
    return bytes(12) + b"\x86\xdd" + header + transport + payload, 54 + len(transport)


@pytest.fixture(scope="module")
def attached(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with ExitStack() as stack:
        yield load_attached(stack, world.maps, tmp_path_factory.mktemp("attached"))
    world.counted()  # not the next module's


# The upper half of a byte may look like a header's length.
@pytest.mark.parametrize("byte", [0x00, 0x10, 0x50, 0xF0], ids=hex)
@pytest.mark.parametrize("size", [SEGMENT, 1], ids=["full segments", "segments of a byte"])
@pytest.mark.parametrize(
    "what", ["IPv4 TCP", "IPv4 TCP behind options", "IPv4 UDP", "IPv6 TCP", "IPv6 UDP"]
)
def test_charged_as_on_the_wire(
    world: World, attached: Program, what: str, size: int, byte: int
) -> None:
    payload = bytes([byte]) * 2 * SEGMENT
    transport = TCP_WITH_TIMES if "TCP" in what else UDP
    if what.startswith("IPv6"):
        frame, headers = ipv6(transport, payload)
    else:
        frame, headers = ipv4(transport, payload, bytes(8 if "options" in what else 0))
    before = policed(world.maps, plan.PASSES)
    run = attached.test_run(frame, ctx=skb_context(plan.UPLINK, (plan.PASSES,), size))
    after = policed(world.maps, plan.PASSES)
    segments = 2 * SEGMENT // size
    assert run.retval == 1
    assert after["passed_packets"] - before["passed_packets"] == segments
    charged = after["passed_bytes"] - before["passed_bytes"]
    assert charged == 2 * SEGMENT + segments * (headers + OVERHEAD)


# The kernel leaves their number to whoever made them.
@pytest.mark.parametrize("pieces", [1, 2, 5, 0], ids="{} pieces".format)
@pytest.mark.parametrize("what", ["IPv4", "IPv6"])
def test_pieces_of_sctp_are_charged_as_frames(
    world: World, attached: Program, what: str, pieces: int
) -> None:
    """They are of any length, so they are counted and not computed."""
    payload = bytes(2 * SEGMENT)
    frame, headers = ipv4(SCTP, payload) if what == "IPv4" else ipv6(SCTP, payload)
    context = skb_context(plan.UPLINK, (plan.PASSES,), GSO_BY_FRAGS, pieces)
    before = policed(world.maps, plan.PASSES)
    assert attached.test_run(frame, ctx=context).retval == 1
    after = policed(world.maps, plan.PASSES)
    expected = max(pieces, 1)
    assert after["passed_packets"] - before["passed_packets"] == expected
    charged = after["passed_bytes"] - before["passed_bytes"]
    assert charged == len(payload) + expected * (headers + OVERHEAD)


def test_pieces_of_sctp_are_charged_at_the_uplink(world: World) -> None:
    packet = p.sctp(1500)(plan.CBIT.here(plan.WITHIN_TASK), 64)
    before = policed(world.maps, plan.PASSES)
    given = Packet(p.ether(packet), gso_size=GSO_BY_FRAGS, gso_segs=3)
    assert (Hook.UPLINK_IN, "SEND_PEER") in world.run(Hook.UPLINK_IN, given).counted
    after = policed(world.maps, plan.PASSES)
    assert after["passed_packets"] - before["passed_packets"] == 3
    charged = after["passed_bytes"] - before["passed_bytes"]
    assert charged == 1500 - 52 + 3 * (ETHERNET + 52 + OVERHEAD)
