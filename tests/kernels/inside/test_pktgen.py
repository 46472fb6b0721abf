# SPDX-License-Identifier: Apache-2.0
"""The driver of pktgen against the kernel's own module: what it sends is looked at.

Needs root, and a kernel with pktgen, veth and dummy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import numpy as np
import pytest

from ilax.errors import UsageError
from ilax_perf.generate import cli
from ilax_perf.generate.choose import choose
from ilax_perf.generate.generator import GeneratorError, Sent
from ilax_perf.generate.links import Device
from ilax_perf.generate.pktgen import driver
from ilax_perf.generate.pktgen.control import Line, PktgenError
from ilax_perf.generate.pktgen.driver import Assigned, Pktgen
from ilax_perf.generate.pktgen.generator import PktgenGenerator, settings_of
from ilax_perf.generate.pktgen.presets import PRESETS
from ilax_perf.generate.traffic import FIRST_PORT, Listed, Range, Zipf
from lab.wait import until
from lab.wire import SOURCE, Wire

pytestmark = pytest.mark.skipif(
    not driver.is_here() or os.geteuid() != 0, reason="needs root and a kernel with pktgen"
)

TAG = "ilxpktg"
RANGE = IPv6Network("2001:db8:42:1::1:0/120")
# Not all presets send out of the device, and not all can do so out of a veth.
_OVER_VETH = [name for name in PRESETS if name not in {"netif-receive", "burst-single-flow"}]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    to = Range(RANGE.network_address, RANGE.num_addresses)
    with Wire.make(TAG, to, size=128, flows=3, count=500) as wire:
        # A device that leaves packets alone.
        wire.near.ip("link", "add", "d0", "mtu", "9000", "type", "dummy")
        wire.near.ip("link", "set", "d0", "up")
        yield wire


def _send(wire: Wire, preset: str = "simple", device: str = "v0") -> Sent:
    with wire.near.entered():
        return PktgenGenerator(preset).run(device, wire.traffic())


@pytest.mark.parametrize("preset", [*_OVER_VETH, "netif-receive"])
def test_all_packets_of_a_preset_arrive_and_look_right(wire: Wire, preset: str) -> None:
    traffic = wire.traffic()
    # What netif_receive sends seems to have come in at our own end.
    own_end = preset == "netif-receive"
    sent, frames = wire.exchange(PktgenGenerator(preset), traffic, own_end=own_end)
    assert sent.packets == traffic.count == len(frames)
    assert {len(frame.raw) for frame in frames} == {128}
    assert all(frame.destination in RANGE for frame in frames)
    assert len({frame.destination for frame in frames}) > len(frames) // 4
    flows = {"many-flows": 3, "flow-per-thread": 1}.get(preset, traffic.flows)
    ports = {(FIRST_PORT + number, traffic.port) for number in range(flows)}
    assert {frame.ports for frame in frames} == ports
    assert all(frame.checksum_valid or frame.checksum_partial for frame in frames)
    near, far = (bytes.fromhex(mac.replace(":", "")) for mac in wire.macs)
    assert {frame.raw[:12] for frame in frames} == {far + near}


def test_many_flows_make_a_thousand_of_one(wire: Wire) -> None:
    _, frames = wire.exchange(PktgenGenerator("many-flows"), wire.traffic(flows=1))
    assert len({frame.ports for frame in frames}) == len(frames)


def test_bursts_need_a_device_that_leaves_packets_alone(wire: Wire) -> None:
    with pytest.raises(PktgenError) as caught:
        _send(wire, "burst-single-flow")
    assert str(caught.value).startswith("/proc/net/pktgen/v0@")
    assert "'burst 32': Operation is not supported" in str(caught.value)
    assert "as veth does" in str(caught.value.hint)
    # A dummy device takes them, and counts: whole bursts are sent, here 16 of 32.
    with wire.near.entered():
        before = Device.find("d0").sent()
    sent = _send(wire, "burst-single-flow", "d0")
    with wire.near.entered():
        assert Device.find("d0").sent() - before == sent.packets == 512


@pytest.mark.parametrize("size", [78, 512, 1514, 9014])
def test_sizes_are_those_of_frames(wire: Wire, size: int) -> None:
    _, frames = wire.exchange(PktgenGenerator(), wire.traffic(size=size, count=50))
    assert [len(frame.raw) for frame in frames] == [size] * 50


def test_one_destination_is_no_range(wire: Wire) -> None:
    only = IPv6Address("2001:db8:42:1::7")
    for to in (Range(only), Listed(np.frombuffer(only.packed, np.uint8).reshape(1, 16))):
        _, frames = wire.exchange(PktgenGenerator(), wire.traffic(destinations=to, count=20))
        assert [frame.destination for frame in frames] == [only] * 20


def test_a_rate_is_not_exceeded_and_all_packets_come(wire: Wire) -> None:
    sent, frames = wire.exchange(PktgenGenerator(), wire.traffic(rate=200.0, count=60))
    assert sent.packets == len(frames) == 60
    assert sent.seconds >= 0.9 * 59 / 200
    sent, frames = wire.exchange(
        PktgenGenerator(), wire.traffic(rate=200.0, count=None, seconds=0.3)
    )
    assert 0 < sent.packets == len(frames) <= 60


def test_an_open_loop_ends_when_its_time_is_over(wire: Wire) -> None:
    sent, frames = wire.exchange(PktgenGenerator(), wire.traffic(count=None, seconds=0.1))
    assert sent.packets == len(frames) > 0


REFUSED = [
    (Line("count", "abc"), "took it for 'OK: count=0'"),
    (Line("udp_src_min", 70000), "took it for 'OK: udp_src_min=4464'"),
    (Line("dst6", "nonsense"), "took it for 'OK: dst6=::'"),
    (Line("flag", "NONSENSE"), "NONSENSE"),
    (Line("xmit_mode", "sideways"), "sideways"),
    (Line("nonsense", 5), "Invalid argument"),
    (Line("dst_mac", "nonsense"), "Invalid argument"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=str)
def test_an_error_names_file_and_line_and_what_the_kernel_said(
    wire: Wire, line: Line, said: str
) -> None:
    with wire.near.entered(), Pktgen.make() as pktgen:
        assigned = Assigned("v0", pktgen.threads()[0])
        pktgen.add(assigned, settings_of(wire.traffic()))
        with pytest.raises(PktgenError) as caught:
            pktgen.device(assigned).write(line)
    assert str(caught.value).startswith(f"/proc/net/pktgen/v0: '{line}': ")
    assert said in caught.value.said


def test_a_device_that_is_not_there_is_named(wire: Wire) -> None:
    with wire.near.entered(), Pktgen.make() as pktgen:
        cpu = pktgen.threads()[0]
        with pytest.raises(PktgenError, match="'add_device nowhere': No such device"):
            pktgen.add(Assigned("nowhere", cpu), settings_of(wire.traffic()))
        with pytest.raises(GeneratorError, match="no pktgen thread on CPU 999"):
            pktgen.add(Assigned("v0", 999), settings_of(wire.traffic()))


def test_queues_that_the_device_does_not_have_are_an_error(wire: Wire) -> None:
    with wire.near.entered(), Pktgen.make() as pktgen:
        assigned = Assigned("v0", pktgen.threads()[0])
        settings = replace(settings_of(wire.traffic(count=1)), queues=(9, 9))
        with pytest.raises(PktgenError, match=r"'queue_map_min 9, queue_map_max 9'.*0 to 0"):
            pktgen.run({assigned: settings})


def test_a_device_that_is_down_is_an_error(wire: Wire) -> None:
    wire.near.ip("link", "set", "d0", "down")
    try:
        with pytest.raises(PktgenError, match="'add_device d0': Network is down") as caught:
            _send(wire, device="d0")
    finally:
        wire.near.ip("link", "set", "d0", "up")
    assert caught.value.hint == "`ip link set d0 up`"


def test_a_device_that_goes_down_before_the_start_is_an_error(wire: Wire) -> None:
    class Late(Pktgen):
        def start(self) -> None:
            wire.near.ip("link", "set", "d0", "down")
            super().start()

    try:
        with wire.near.entered(), Late.make() as pktgen:
            plan = {Assigned("d0", pktgen.threads()[0]): settings_of(wire.traffic())}
            with pytest.raises(PktgenError, match="'start': ") as caught:
                pktgen.run(plan)
    finally:
        wire.near.ip("link", "set", "d0", "up")
    assert caught.value.hint == "is d0 up?"


def test_nothing_stays_behind(wire: Wire) -> None:
    _send(wire)
    with wire.near.entered():
        names = {path.name for path in driver.FOLDER.iterdir()}
        assert "v0" not in names and "pgctrl" in names
        for name in names - {"pgctrl"}:
            assert "v0" not in (driver.FOLDER / name).read_text()


def test_devices_of_somebody_else_are_left_alone(wire: Wire) -> None:
    with wire.near.entered():
        with Pktgen.make() as pktgen:
            pktgen.add(Assigned("d0", pktgen.threads()[0]), settings_of(wire.traffic()))
            with pytest.raises(GeneratorError, match="pktgen has devices already: d0"):
                PktgenGenerator().run("v0", wire.traffic())
            assert pktgen.devices() == ["d0"]
        assert _send(wire).packets == 500


def test_what_pktgen_cannot_do_is_done_by_another_one(wire: Wire) -> None:
    listed = Listed(Range(SOURCE, 3).table())
    cases = {
        "no Zipf": wire.traffic(distribution=Zipf(1.0)),
        "no list": wire.traffic(destinations=listed),
        "a whole prefix": wire.traffic(destinations=Range(RANGE.network_address + 1, 6)),
        "78 bytes long at least": wire.traffic(size=64),
    }
    with wire.near.entered():
        assert choose("v0", wire.traffic()).generator.name == "pktgen"
        for reason, traffic in cases.items():
            chosen = choose("v0", traffic)
            assert chosen.generator.name != "pktgen"
            assert reason in chosen.passed_over["pktgen"]
            with pytest.raises(UsageError, match=f"pktgen cannot send this.*{reason}"):
                choose("v0", traffic, "pktgen")


def test_the_command_sends_by_pktgen(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["v0", "--mac", wire.macs[1], "--to", str(RANGE), "--from", str(SOURCE)]
    words += ["--size", "256", "--count", "100", "--preset", "queue-xmit", "--json"]
    with wire.capture() as capture, wire.near.entered():
        code = cli.main(words)
        until(lambda: len(capture.frames) >= 100, "100 frames")
    result = json.loads(capsys.readouterr().out)
    assert (code, result["generator"], result["packets"]) == (0, "pktgen", 100)
    assert [len(frame.raw) for frame in capture.frames] == [256] * 100
