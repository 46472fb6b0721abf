# SPDX-License-Identifier: Apache-2.0
"""`ilax trace` by real bcc, while packets arrive and get lost in ways that are known.

Needs bcc and kernel headers, which `make setup` does not install: see docs/trace.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ilax.bpf import Link, Object
from ilax.trace import needs
from ilax.trace.layout import has_kprobes
from lab import foreign, operator
from lab.cleanup import PREFIX
from lab.damage import device
from lab.ilax import environment
from lab.netns import Namespace, run
from lab.topology import Container, Host, Lab, Plan
from lab.udp import exchange

_HEADERS = Path(__file__).resolve().parents[2] / "build/kernels/headers"
_CLOSED_PORT = 9
_LOST = 10


def tracing_environment() -> dict[str, str]:
    """Where this source tree has headers, if somebody has fetched them."""
    found = {"BCC_KERNEL_SOURCE": str(_HEADERS)} if _HEADERS.is_dir() else {}
    return {**os.environ, **environment(), **found}


def lacking() -> list[str]:
    found = [needs.bcc_module(), needs.kernel_headers(tracing_environment())]
    return [f"{need.name}: {need.why}" for need in found if not need.found]


@contextlib.contextmanager
def tracing(host: Host, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A trace that has begun."""
    argv = [
        *(*host.ns.prefix(), sys.executable, "-m", "ilax", "--instance", host.ilax.instance),
        *("--json", "trace", *arguments),
    ]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=tracing_environment()
    ) as process:
        assert process.stderr is not None
        try:
            first = process.stderr.readline()
            assert first.startswith("tracing instance"), first + process.stderr.read()
            yield process
        finally:
            process.kill()


def send(source: Namespace, target: str, size: int = 10) -> None:
    with source.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sender:
        for _ in range(_LOST):
            sender.sendto(bytes(size), (target, _CLOSED_PORT))


@dataclass
class Story:
    """What happened, and what the trace has told about it."""

    host: Host
    arrived: dict[str, int] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    code: int = -1

    @property
    def by_tc(self) -> Container:
        return self.host.containers[0]

    @property
    def by_xdp(self) -> Container:
        return self.host.containers[1]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One trace, as bcc takes seconds to begin, and everything that can be provoked."""
    if missing := lacking():
        pytest.skip("; ".join(missing))
    built = foreign.build(tmp_path_factory.mktemp("foreign"))
    with Lab.make(f"{PREFIX}trace", Plan(hosts=2)) as lab:
        operator.bring_up(lab)
        lab.complete_checksums()
        host = lab.hosts[0]
        story = Story(host)
        host.ilax("endpoint", "del", story.by_xdp.address)
        host.ilax(*operator.add_arguments(story.by_xdp, operator.Options(delivery="xdp")))
        story.devices = {task.address: device(task) for task in host.containers}
        with tracing(host) as process:
            provoke(story, lab.hosts[1].containers[0], built)
            process.send_signal(signal.SIGINT)
            text, _ = process.communicate(timeout=120)
        story.told, story.code = json.loads(text), process.returncode
        yield story


def provoke(story: Story, far: Container, built: Path) -> None:
    host, by_tc, by_xdp = story.host, story.by_tc, story.by_xdp
    for task in host.containers:
        report = exchange(far.ns, task.ns, task.address, 200)
        assert not report.lost
        story.arrived[task.address] = report.received
    # From a container of the same host, so never at the uplink.
    assert not exchange(by_tc.ns, by_xdp.ns, by_xdp.address, 50).lost
    send(far.ns, by_tc.address)
    story.arrived[by_tc.address] += _LOST
    name = story.devices[by_xdp.address]
    host.ns.ip("link", "set", name, "mtu", "1280")
    send(far.ns, by_xdp.address, 1350)
    host.ns.ip("link", "set", name, "mtu", "1500")
    by_xdp.ns.run("ethtool", "-K", "eth0", "gro", "off")
    send(far.ns, by_xdp.address)
    by_xdp.ns.run("ethtool", "-K", "eth0", "gro", "on")
    number = host.ns.ifindex(story.devices[by_tc.address])
    with Object.open(built) as obj:
        obj.load()
        with obj.programs["foreign_aborts"].open() as program, host.ns.entered():
            link = Link.xdp(program, number)
        with link:
            send(by_tc.ns, far.address)
    # Nothing is mended behind this.
    by_tc.ns.ip("link", "set", "eth0", "down")
    send(far.ns, by_tc.address)


def test_it_ends_by_ctrl_c_with_what_it_has_seen(story: Story) -> None:
    assert story.code == 0
    assert story.told["uplinks"] == ["up0"]
    assert story.told["endpoints"] == 2
    assert story.told["seconds"] > 0
    assert story.told["untold"] == 0


def test_each_packet_from_the_uplink_is_timed_once(story: Story) -> None:
    if story.told["gaps"] and not has_kprobes():
        whys = [gap["because"] for gap in story.told["gaps"]]
        assert all(any("CONFIG_KPROBES" in why for why in because) for because in whys)
        pytest.skip("this kernel refuses BPF trampolines and has no kprobes: told as it is")
    assert story.told["gaps"] == []
    found = {(way["endpoint"], way["path"]): way for way in story.told["ways"]}
    assert {key: way["latency"]["packets"] for key, way in found.items()} == {
        (story.by_tc.address, "stack"): story.arrived[story.by_tc.address],
        (story.by_xdp.address, "xdp"): story.arrived[story.by_xdp.address],
    }
    for (endpoint, _), way in found.items():
        latency = way["latency"]
        assert way["device"] == story.devices[endpoint]
        assert sum(slot["packets"] for slot in latency["slots"]) == latency["packets"]
        assert 0 < latency["mean_ns"] < 10**10
        assert latency["slots"][0]["low"] <= latency["mean_ns"] <= latency["slots"][-1]["high"]


def test_redirect_errors_have_their_errno(story: Story) -> None:
    name = story.devices[story.by_xdp.address]
    # veth has said since Linux 6.3 whether it can take frames; before, it refused them.
    major, minor = map(int, platform.release().split(".")[:2])
    no_napi = ("redirect", "EOPNOTSUPP") if (major, minor) >= (6, 3) else ("transmit", "ENXIO")
    found = {(e["step"], e["error"]): e for e in story.told["redirects"]}
    assert {key: (e["source"], e["target"], e["packets"]) for key, e in found.items()} == {
        ("redirect", "EMSGSIZE"): ("up0", name, _LOST),
        no_napi: ("up0", name, _LOST),
    }


def test_exceptions_have_their_program(story: Story) -> None:
    (found,) = story.told["exceptions"]
    assert found["device"] == story.devices[story.by_tc.address]
    assert (found["action"], found["program"]) == ("ABORTED", "foreign_aborts")
    assert found["packets"] == _LOST


def test_drops_behind_a_delivery_have_the_reason_of_the_kernel(story: Story) -> None:
    mine = [drop for drop in story.told["drops"] if drop["endpoint"] == story.by_tc.address]
    closed = [drop for drop in mine if drop["reason"] == "NO_SOCKET"]
    assert sum(drop["packets"] for drop in closed) == _LOST
    assert {drop["device"] for drop in closed} == {""}
    down = [drop for drop in mine if drop["function"] == "skb_do_redirect"]
    assert sum(drop["packets"] for drop in down) == _LOST
    assert {drop["device"] for drop in down} == {"up0"}


def test_nothing_is_left_of_it(story: Story) -> None:
    """Probes are gone with the process; the datapath has never known of them."""
    loaded = json.loads(run("bpftool", "--json", "prog", "list").stdout)
    ours = ("at_kfree_skb", "at_xdp_exceptio", "kprobe_ip6_inpu", "kfunc__ip6_inpu")
    assert [one["name"] for one in loaded if one.get("name") in ours] == []
