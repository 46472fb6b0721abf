# SPDX-License-Identifier: Apache-2.0
"""`ilax capture` on what a wire really carried; tcpdump judges the checksums."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilax.frames import decode, pcap
from lab import operator
from lab.cleanup import PREFIX
from lab.ilax import environment
from lab.netns import run
from lab.probes import must_ping, traceroute
from lab.topology import Lab, Plan
from lab.tshark import dumping

PORT = 4711


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.make(f"{PREFIX}capture", Plan(hosts=2)) as made:
        operator.bring_up(made, operator.Options(xdp="native"))
        made.complete_checksums()
        for container in made.containers:
            container.ns.run("ethtool", "-K", "eth0", "tx", "off")
        yield made


def checksums(file: Path) -> tuple[int, int]:
    """How many checksums tcpdump finds right and wrong."""
    text = run("tcpdump", "-nvvr", str(file)).stdout
    good = len(re.findall(r"\(correct\)|udp sum ok|icmp6 sum ok", text))
    return good, len(re.findall(r"incorrect|bad udp cksum|bad icmp6 cksum", text))


def test_a_capture_of_the_wire_becomes_one_of_tasks_and_back(lab: Lab, tmp_path: Path) -> None:
    host = lab.hosts[0]
    sender, target = lab.hosts[1].containers[0], host.containers[0]
    on_wire, as_sir, again = (tmp_path / f"{name}.pcap" for name in ("wire", "sir", "again"))
    with dumping(lab.router, host.router_port, on_wire):
        must_ping(sender.ns, target.address)
        with sender.ns.entered():
            plain = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with plain:
            for size in (1, 2, 900):
                plain.sendto(b"x" * size, (target.address, PORT))
        with sender.ns.entered():
            stream = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        with stream:
            assert stream.connect_ex((target.address, PORT)) == errno.ECONNREFUSED
        traceroute(target.ns, sender.address)
    count = len(_records(on_wire))
    assert count >= 8
    assert {6, 17, 58} <= {decode(data).protocol for data in _records(on_wire)}
    done = host.ilax.json("capture", "to-sir", on_wire, as_sir)
    assert done["frames"] == count
    wire_address = host.ilax.wire(target.address)
    before, after = _addresses(on_wire), _addresses(as_sir)
    assert wire_address in before
    assert not any(address.startswith("2001:db8:42:") and "3000" in address for address in after)
    assert {sender.address, target.address} <= after
    good, bad = checksums(as_sir)
    assert good >= 8
    assert (good, bad) == checksums(on_wire)
    assert bad == 0
    # Without an instance and through pipes: the same bytes.
    options = (
        *("--sir-prefix", str(lab.plan.sir_prefix), "--block", str(lab.plan.block)),
        *("-", "-"),
    )
    piped = subprocess.run(
        [sys.executable, "-m", "ilax", "capture", "to-sir", *options],
        input=on_wire.read_bytes(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        env={**os.environ, **environment()},
    )
    assert piped.stdout == as_sir.read_bytes()
    host.ilax("capture", "to-wire", as_sir, again)
    assert _without_errors(again) == _without_errors(on_wire)


def _records(file: Path) -> list[bytes]:
    with file.open("rb") as stream:
        return [record.data for record in pcap.read(stream)]


def _without_errors(file: Path) -> list[bytes]:
    """Frames but ICMPv6 errors: a router sends those to a SIR address, a task to a wire address."""
    return [data for data in _records(file) if decode(data).quoted is None]


def _addresses(file: Path) -> set[str]:
    """All that stands in a capture's headers and in what its errors quote."""
    found: set[str] = set()
    for data in _records(file):
        packet = decode(data)
        for one in (packet, packet.quoted):
            if one is not None:
                found |= {str(one.src), str(one.dst)}
    return found
