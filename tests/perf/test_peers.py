# SPDX-License-Identifier: Apache-2.0
"""Each peer does on the wire what its row claims: built once, with a few packets."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv6Address

import pytest

from ilax_perf import availability, flows, objects, overlays, peer_flows
from ilax_perf.flows import REMOTE, Flow
from ilax_perf.sites import REMOTE_SENDER
from lab.capture import Capture, send_frames
from lab.cleanup import unwinding_signals
from lab.netns import FOLDER, Namespace, run
from lab.packets import UDP, Frame, decode
from lab.topology import UPLINK, Plan
from lab.wait import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

_BUILDER = objects.BUILD.parents[1] / "tools" / "build_objects.py"
COUNT = 5
IPV6_IN_IPV6 = 41
SIR = Plan().sir(1)
LOCATOR = Plan().locator(1)
HOST = LOCATOR.network_address + 1


@pytest.fixture(autouse=True, scope="module")
def _prepared() -> Iterator[None]:
    """The sinks are compiled, as `make perf-objects` does it."""
    source = _BUILDER.parents[1] / "perf" / "bpf" / "peers.bpf.c"
    run(sys.executable, _BUILDER, "--output", objects.BUILD, source)
    with unwinding_signals():
        yield


@dataclass(frozen=True)
class Seen:
    """Packets of one flow: one as sent, and all on the wire and where they arrived or left."""

    sent: Frame
    wire: list[Frame]
    end: list[Frame]


def observe(flow: Flow, letter: str) -> Seen:
    """Send a few packets of a flow, and count them as the benchmark does."""
    tag = f"{flows.TAG}{letter}"
    task, host = Namespace(f"{tag}-c1"), Namespace(f"{tag}-h1")
    router = Namespace(f"{tag}-r1")
    port = "to-h1"
    # UDP and all behind it, which no peer changes; kernels send packets of their own.
    tail = flow.frame[-10:]
    sender = flow.frame[6:12] if flow.device == port else b""

    def ours(frame: Frame) -> bool:
        return tail in frame.packet

    def leaving(frame: Frame) -> bool:
        """The router sees what it sends as well, if it is the generator."""
        return ours(frame) and frame.raw[6:12] != sender

    arrives = flow.device == port and not flow.name.endswith(("router", "back"))
    place = (task, "eth0") if arrives else (router, port)
    with (
        Capture(host, UPLINK, ours) as wire,
        Capture(*place, ours if arrives else leaving) as end,
    ):
        flow.prepare()
        before = flow.count()
        send_frames(flow.ns, flow.device, *[flow.frame] * COUNT)
        until(lambda: flow.count() - before >= COUNT, f"{flow.name}: {COUNT} packets counted")
        until(lambda: len(end.frames) >= COUNT, f"{flow.name}: {COUNT} packets seen")
        until(lambda: len(wire.frames) >= COUNT, f"{flow.name}: {COUNT} packets on the wire")
    assert flow.count() - before == COUNT
    assert len(end.frames) == COUNT
    sent = decode(flow.frame)
    assert sent is not None
    return Seen(sent, wire.frames, end.frames)


def inside(frame: Frame) -> Frame:
    """What a packet of IPv6 in IPv6 carries."""
    assert frame.next_header == IPV6_IN_IPV6
    inner = decode(bytes(12) + b"\x86\xdd" + frame.payload)
    assert inner is not None
    return inner


def inside_vxlan(frame: Frame) -> Frame:
    """What a packet of VXLAN over IPv6 carries."""
    assert frame.next_header == UDP
    _, port, length, checksum, flags, number = struct.unpack_from("!HHHHII", frame.payload)
    assert (port, length, checksum) == (overlays.VXLAN_PORT, len(frame.payload), 0)
    assert (flags, number >> 8) == (0x08000000, overlays.VXLAN_ID)
    inner = decode(frame.payload[16:])
    assert inner is not None
    return inner


def is_plain(frame: Frame, source: IPv6Address, destination: IPv6Address) -> None:
    assert (frame.source, frame.destination) == (source, destination)
    assert frame.next_header == UDP
    assert frame.checksum_valid


def nptv6_in(seen: Seen) -> None:
    # ip6tables writes into what captures have, so the wire shows the result, too.
    assert seen.sent.destination in LOCATOR
    assert seen.sent.checksum_valid
    for frame in seen.end:
        is_plain(frame, REMOTE_SENDER, SIR)
        assert frame.hop_limit == 63


def nptv6_out(seen: Seen) -> None:
    for frame in seen.end:
        is_plain(frame, SIR, overlays.nptv6_wire(REMOTE_SENDER, REMOTE.locator))


def srv6_in(seen: Seen) -> None:
    for frame in seen.wire:
        assert frame.destination == overlays.segment(LOCATOR)
        is_plain(inside(frame), REMOTE_SENDER, SIR)
    for frame in seen.end:
        is_plain(frame, REMOTE_SENDER, SIR)


def srv6_out(seen: Seen) -> None:
    for frame in seen.end:
        assert (frame.source, frame.destination) == (HOST, overlays.segment(REMOTE.locator))
        is_plain(inside(frame), SIR, REMOTE_SENDER)


def vxlan_in(seen: Seen) -> None:
    for frame in seen.wire:
        assert frame.destination == HOST
        is_plain(inside_vxlan(frame), REMOTE_SENDER, SIR)
    for frame in seen.end:
        is_plain(frame, REMOTE_SENDER, SIR)


def vxlan_out(seen: Seen) -> None:
    for frame in seen.end:
        assert (frame.source, frame.destination) == (HOST, REMOTE.address)
        is_plain(inside_vxlan(frame), SIR, REMOTE_SENDER)


def switched(seen: Seen) -> None:
    """No router was on the way, so the frame is the one that was sent."""
    for frame in seen.end:
        is_plain(frame, REMOTE_SENDER, SIR)
        assert frame.hop_limit == 64
        assert frame.raw == seen.wire[0].raw


def routed_back(seen: Seen) -> None:
    """In by the uplink with a SIR address, out of it with a wire address."""
    for frame in seen.end:
        assert frame.destination in REMOTE.locator
        assert frame.destination.packed[8:14] == (
            (0x3000).to_bytes(2, "big") + REMOTE_SENDER.packed[10:14]
        )
        assert frame.hop_limit == 63
        assert frame.checksum_valid
    assert {frame.destination for frame in seen.wire} == {
        REMOTE_SENDER,
        seen.end[0].destination,
    }


CLAIMS: dict[str, Callable[[Seen], None]] = {
    "rate.nptv6": nptv6_in,
    "rate.egress_nptv6": nptv6_out,
    "rate.srv6": srv6_in,
    "rate.egress_srv6": srv6_out,
    "rate.vxlan": vxlan_in,
    "rate.egress_vxlan": vxlan_out,
    "rate.bridge": switched,
    "rate.macvlan": switched,
    "rate.router": routed_back,
}
LETTERS: dict[Callable[[ExitStack], list[Flow]], str] = {
    peer_flows.nptv6: "n",
    peer_flows.srv6: "s",
    peer_flows.vxlan: "v",
    peer_flows.bridge: "b",
    peer_flows.macvlan: "m",
    flows.ilax: "o",
}


def test_every_peer_is_tested() -> None:
    assert peer_flows.SITES.keys() <= LETTERS.keys()
    assert {name for names in peer_flows.SITES.values() for name in names} <= CLAIMS.keys()


@pytest.mark.parametrize("build", LETTERS, ids=lambda build: build.__name__)
def test_packets_look_as_claimed(build: Callable[[ExitStack], list[Flow]]) -> None:
    said: list[str] = []
    if availability.left_out(peer_flows.NEEDS.get(build, ()), [build.__name__], said.append):
        pytest.skip(said[0])
    with ExitStack() as stack:
        built = [flow for flow in build(stack) if flow.name in CLAIMS]
        assert built
        for flow in built:
            CLAIMS[flow.name](observe(flow, LETTERS[build]))


def test_a_peer_that_is_not_here_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reason is what the tool said to what a kernel really lacks."""
    monkeypatch.setattr(
        availability,
        "_TRIES",
        {**availability._TRIES, "warp drive": "ip link add try2 type warpdrive"},
    )
    said: list[str] = []
    assert availability.left_out(["bridge", "warp drive"], ["rate.warp"], said.append)
    (line,) = said
    assert line.startswith("rate.warp: left out, no warp drive here: ")
    assert "type" in line.rpartition("here: ")[2]
    assert not availability.left_out(["bridge"], ["rate.bridge"], said.append)
    assert not (FOLDER / "ilxperfa-try").exists()
