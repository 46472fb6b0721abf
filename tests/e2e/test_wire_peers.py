# SPDX-License-Identifier: Apache-2.0
"""Others on the wire: plain routers and NPTv6 forward our packets, Wireshark reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from lab import operator, probes, tcp, tshark, udp
from lab.cleanup import PREFIX
from lab.netns import Namespace
from lab.probes import must_ping
from lab.topology import UPLINK, Container, Lab, Plan

# A prefix that only routers know as another name of the block. RFC 6296 puts the
# difference of the two into the fourth word, which is the number of a host here.
OUTSIDE = IPv6Network("2001:db8:99::/48")
PACKETS = 300


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.make(f"{PREFIX}peers", Plan(hosts=2)) as made:
        extra = ("--block", str(OUTSIDE))
        operator.bring_up(made, operator.Options(xdp="native", extra=extra))
        made.complete_checksums()
        for host in made.hosts:
            # Merged segments have the checksum of none of them.
            host.ns.run("ethtool", "-K", UPLINK, "gro", "off")
        for container in made.containers:
            container.ns.run("ethtool", "-K", "eth0", "tx", "off")
        yield made


def _ends(lab: Lab) -> tuple[Container, Container]:
    return lab.hosts[0].containers[0], lab.hosts[1].containers[0]


def _forwarded(ns: Namespace) -> int:
    """Packets that the kernel has forwarded as a router."""
    (row,) = [
        line.split()
        for line in ns.run("cat", "/proc/net/snmp6").stdout.splitlines()
        if line.startswith("Ip6OutForwDatagrams")
    ]
    return int(row[1])


def _traffic(source: Container, target: Container) -> int:
    """All that must arrive does; returns a number of packets that this took at least."""
    stream = udp.exchange(source.ns, target.ns, target.address, PACKETS)
    assert (stream.lost, stream.duplicates, stream.corrupt) == ((), 0, 0)
    big = udp.exchange(source.ns, target.ns, target.address, 10, size=4000)
    assert (big.lost, big.corrupt) == ((), 0)
    must_ping(source.ns, target.address, count=3)
    report = tcp.transfer(source.ns, target.ns, target.address, 1 << 20)
    assert report.error is None
    assert report.same_content
    # Three fragments each, and echoes with their answers. What TCP sends is merged on the
    # way into super-packets of any size.
    return stream.sent + 3 * big.sent + 6


def test_a_plain_router_forwards_and_wireshark_decodes(lab: Lab, tmp_path: Path) -> None:
    source, target = _ends(lab)
    wire, task = tmp_path / "wire.pcap", tmp_path / "task.pcap"
    before = _forwarded(lab.router)
    with (
        tshark.dumping(lab.router, target.host.router_port, wire),
        tshark.dumping(target.ns, "eth0", task),
    ):
        least = _traffic(source, target)
        probes.traceroute(source.ns, target.address)
    assert _forwarded(lab.router) - before >= least
    for file in (wire, task):
        good = tshark.faultless(file)
        assert good["udp"] >= PACKETS
        assert good["tcp"] > 10
        assert good["icmpv6"] >= 6


def _translated(ns: Namespace) -> dict[str, int]:
    """Packets by the prefix that was translated."""
    rules = ns.run("ip6tables-save", "-c", "-t", "mangle").stdout
    found = re.findall(r"^\[(\d+):\d+\] .*-d (\S+) -j DNPT", rules, re.MULTILINE)
    return {destination: int(packets) for packets, destination in found}


def _outside(locator: IPv6Network) -> IPv6Network:
    """The locator that NPTv6 makes `locator` of."""
    words = [int(word, 16) for word in locator.network_address.exploded.split(":")]
    out = [int(word, 16) for word in OUTSIDE.network_address.exploded.split(":")]
    out[3] = (words[3] + sum(words[:3]) - sum(out[:3])) % 0xFFFF
    return IPv6Network((IPv6Address(":".join(f"{word:x}" for word in out)), 64))


def test_nptv6_translates_between_our_hosts(lab: Lab, tmp_path: Path) -> None:
    """A locator that exists outside only; both translations leave all checksums right."""
    source, target = _ends(lab)
    for here, there in ((source, target), (target, source)):
        host = here.host
        host.ilax("mapping", "add", there.address, "--locator", _outside(there.host.locator))
    lab.router.run(
        *("ip6tables", "-t", "mangle", "-A", "PREROUTING", "-d", str(OUTSIDE), "-j", "DNPT"),
        *("--src-pfx", str(OUTSIDE), "--dst-pfx", str(lab.plan.block)),
    )
    outside, inside = tmp_path / "outside.pcap", tmp_path / "inside.pcap"
    with (
        tshark.dumping(source.host.ns, UPLINK, outside),
        tshark.dumping(lab.router, target.host.router_port, inside),
    ):
        least = _traffic(source, target)
    assert _translated(lab.router)[str(OUTSIDE)] >= least
    assert tshark.faultless(outside)["udp"] >= PACKETS
    assert tshark.faultless(inside)["udp"] >= PACKETS
