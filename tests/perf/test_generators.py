# SPDX-License-Identifier: Apache-2.0
"""Generators on live devices: every packet that arrives is looked at.

pktgen has a test of its own, for kernels that have it (tests/kernels/inside/).
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

import build_objects
from ilax.errors import UsageError
from ilax_perf import objects
from ilax_perf.generate import cli, sequence
from ilax_perf.generate.choose import choose
from ilax_perf.generate.generator import Generator, GeneratorError
from ilax_perf.generate.live_frames import LARGEST, LiveFrames
from ilax_perf.generate.packet_socket import PacketSocket
from ilax_perf.generate.traffic import FIRST_PORT, Range, Traffic, Zipf
from lab.packets import Frame
from lab.wait import until
from lab.wire import SOURCE, Wire

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="makes network namespaces and loads a program: needs root"
)

TAG = "ilxperfg"
FIRST = IPv6Address("2001:db8:42:1:2000::1")
BOTH = pytest.mark.parametrize("generator", [LiveFrames(), PacketSocket()], ids=lambda g: g.name)
_SPRAY = Path(__file__).resolve().parents[2] / "perf" / "bpf" / "spray.bpf.c"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp("perf")
    build_objects.build([_SPRAY], folder)
    with (
        pytest.MonkeyPatch.context() as patch,
        Wire.make(TAG, Range(FIRST, 100), count=300) as wire,
    ):
        patch.setattr(objects, "BUILD", folder)
        wire.far.run("ethtool", "-K", "v1", "gro", "on")
        yield wire


def _check(frames: list[Frame], traffic: Traffic) -> None:
    """Destinations as they were drawn, and all that differs from packet to packet."""
    drawn = [IPv6Address(row.tobytes()) for row in sequence.addresses(traffic)]
    order = itertools.islice(itertools.cycle(drawn), len(frames))
    assert [frame.destination for frame in frames] == list(order)
    for number, frame in enumerate(frames):
        assert frame.payload[8:] == (number % 65536).to_bytes(2, "big") + bytes(traffic.size - 64)
        assert frame.ports == (FIRST_PORT + number % traffic.flows, traffic.port)
        assert frame.checksum_valid
        assert len(frame.raw) == traffic.size


@BOTH
def test_packets_arrive_in_the_order_that_was_drawn(generator: Generator, wire: Wire) -> None:
    # More than the kernel has frames for, so all are used again.
    for changes in (
        {"count": 1500, "flows": 7},
        {"count": 1500, "destinations": Range(FIRST, 1 << 16), "distribution": Zipf(1.1)},
    ):
        traffic = wire.traffic(**changes)
        sent, frames = wire.exchange(generator, traffic)
        assert sent.packets == len(frames) == traffic.count
        _check(frames, traffic)


@BOTH
@pytest.mark.parametrize("size", [64, 65, 512, 1514, LARGEST, 9014])
def test_sizes_are_those_of_frames(generator: Generator, wire: Wire, size: int) -> None:
    traffic = wire.traffic(size=size, count=100)
    if generator.name == "live-frames" and size > LARGEST:
        with wire.near.entered():
            assert "of several fragments" in str(generator.why_not("v0", traffic))
            assert choose("v0", traffic).generator.name == "packet-socket"
        return
    _, frames = wire.exchange(generator, traffic)
    assert len(frames) == 100
    _check(frames, traffic)


@BOTH
def test_a_rate_is_not_exceeded_and_all_packets_come(generator: Generator, wire: Wire) -> None:
    traffic = wire.traffic(rate=500.0, count=100)
    sent, frames = wire.exchange(generator, traffic)
    assert len(frames) == sent.packets == 100
    assert sent.seconds >= 0.95 * 99 / 500
    _check(frames, traffic)
    sent, frames = wire.exchange(generator, wire.traffic(rate=500.0, count=None, seconds=0.2))
    assert 0 < sent.packets == len(frames) <= 100


@BOTH
def test_an_open_loop_ends_when_its_time_is_over(generator: Generator, wire: Wire) -> None:
    with wire.near.entered():
        sent = generator.run("v0", wire.traffic(count=None, seconds=0.05))
    assert sent.packets > 0
    assert sent.seconds > 0


def test_live_frames_that_nobody_takes_are_an_error(wire: Wire) -> None:
    wire.far.run("ethtool", "-K", "v1", "gro", "off")
    try:
        with (
            wire.near.entered(),
            pytest.raises(GeneratorError, match="v0 took none of 300 live frames") as caught,
        ):
            LiveFrames().run("v0", wire.traffic())
    finally:
        wire.far.run("ethtool", "-K", "v1", "gro", "on")
    assert "GRO" in str(caught.value.hint)


def test_what_a_device_cannot_take_is_said_before(wire: Wire) -> None:
    wire.near.ip("link", "set", "v0", "mtu", "1500")
    try:
        with wire.near.entered():
            assert choose("v0", wire.traffic(size=1514)).generator.name == "live-frames"
            with pytest.raises(GeneratorError, match="1501 bytes exceed the MTU of v0, 1500"):
                choose("v0", wire.traffic(size=1515))
            with pytest.raises(UsageError, match="presets are pktgen's"):
                choose("v0", wire.traffic(), "packet-socket", preset="simple")
            # A loopback device is no veth.
            chosen = choose("lo", wire.traffic())
            assert chosen.generator.name == "packet-socket"
            assert "is no veth" in chosen.passed_over["live-frames"]
    finally:
        wire.near.ip("link", "set", "v0", "mtu", "9000")


def test_the_command_sends_and_says_by_which(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["v0", "--mac", wire.macs[1], "--to", f"{FIRST}-{FIRST + 4}", "--from", str(SOURCE)]
    words += ["--count", "10", "--by", "live-frames"]
    with wire.capture() as capture, wire.near.entered():
        assert cli.main([*words, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert cli.main(words) == 0
        until(lambda: len(capture.frames) == 20, "20 frames")
    assert (result["generator"], result["packets"], result["destinations"]) == (
        *("live-frames", 10, 5),
    )
    assert "10 packets of 64 bytes" in capsys.readouterr().out
    assert {frame.destination for frame in capture.frames} == {FIRST + k for k in range(5)}


@pytest.mark.parametrize(
    ("changes", "code", "complaint"),
    [
        ({"device": "nowhere"}, 1, "no device nowhere in this network namespace"),
        ({"--mac": "zz"}, 2, "zz is no MAC address"),
        ({"--to": "10.0.0.1"}, 2, "10.0.0.1 is no IPv6 address"),
        ({"--to": "2001:db8::1/64"}, 2, "2001:db8::1/64 is no IPv6 prefix"),
        ({"--to": "2001:db8::/64"}, 2, "take 1 to 1048576"),
        ({"--distribution": "zipf"}, 2, "zipf is no distribution"),
        ({"--distribution": "zipf:0"}, 2, "Zipf exponent of 0"),
        ({"--cpus": "999"}, 2, "CPU 999 is none of those here"),
        ({"--size": "10"}, 2, "frames of 10 bytes"),
    ],
)
def test_wrong_usage_is_one_line_without_a_traceback(
    wire: Wire,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    code: int,
    complaint: str,
) -> None:
    words = {"device": "v0", "--mac": wire.macs[1], "--to": str(FIRST), "--from": str(SOURCE)}
    words |= {"--count": "1"} | changes
    device = words.pop("device")
    with wire.near.entered():
        assert cli.main([device, *itertools.chain(*words.items())]) == code
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].startswith("ilax-perf: ")
    assert complaint in captured.err
    assert "Traceback" not in captured.err and not captured.out
