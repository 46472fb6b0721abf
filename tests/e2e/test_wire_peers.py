# SPDX-License-Identifier: Apache-2.0
"""Others on the wire: plain routers and NPTv6 forward our packets, Wireshark reads them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from lab import operator, probes, tcp, tshark, udp
from lab.cleanup import PREFIX
from lab.netns import Namespace, run
from lab.probes import must_ping
from lab.topology import UPLINK, Container, Lab, Plan

# A prefix that only routers know as another name of the block. RFC 6296 puts the
# difference of the two into the fourth word, which is the number of a host here.
OUTSIDE = IPv6Network("2001:db8:99::/48")
# Likewise of the prefix that SIR addresses are from.
ALIAS = IPv6Network("2001:db8:77::/48")
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


@contextlib.contextmanager
def _nptv6(
    ns: Namespace, way: str, old: IPv6Network, new: IPv6Network, port: str
) -> Iterator[None]:
    """A rule of the router for one side of it.

    Args:
        way: DNPT, destinations of what comes in, or SNPT, sources of what goes out.
    """
    chain, side, match = {
        "DNPT": ("PREROUTING", "-i", "-d"),
        "SNPT": ("POSTROUTING", "-o", "-s"),
    }[way]
    rule = (
        *(chain, side, port, match, str(old)),
        *("-j", way, "--src-pfx", str(old), "--dst-pfx", str(new)),
    )
    ns.run("ip6tables", "-t", "mangle", "-A", *rule)
    try:
        yield
    finally:
        ns.run("ip6tables", "-t", "mangle", "-D", *rule)


def _translated(ns: Namespace, way: str) -> int:
    """Packets that a rule has translated."""
    rules = ns.run("ip6tables-save", "-c", "-t", "mangle").stdout
    (packets,) = re.findall(rf"^\[(\d+):\d+\] .* -j {way}", rules, re.MULTILINE)
    return int(packets)


def _renamed(address: IPv6Address, old: IPv6Network, new: IPv6Network) -> IPv6Address:
    """What NPTv6 makes of an address: RFC 6296 for prefixes of 48 bits."""

    def words(of: IPv6Address) -> list[int]:
        return [int.from_bytes(of.packed[at : at + 2], "big") for at in range(0, 16, 2)]

    first, then = words(new.network_address)[:3], words(old.network_address)[:3]
    subnet = (words(address)[3] + sum(then) - sum(first)) % 0xFFFF
    return IPv6Address(
        b"".join(word.to_bytes(2, "big") for word in (*first, subnet, *words(address)[4:]))
    )


def test_nptv6_translates_destinations_between_our_hosts(lab: Lab, tmp_path: Path) -> None:
    """A locator that exists outside only; both translations leave all checksums right."""
    source, target = _ends(lab)
    for here, there in ((source, target), (target, source)):
        locator = _renamed(there.host.locator.network_address, lab.plan.block, OUTSIDE)
        here.host.ilax("mapping", "add", there.address, "--locator", f"{locator}/64")
    outside, inside = tmp_path / "outside.pcap", tmp_path / "inside.pcap"
    try:
        with (
            _nptv6(lab.router, "DNPT", OUTSIDE, lab.plan.block, "+"),
            tshark.dumping(source.host.ns, UPLINK, outside),
            tshark.dumping(lab.router, target.host.router_port, inside),
        ):
            least = _traffic(source, target)
            assert _translated(lab.router, "DNPT") >= least
    finally:
        operator.publish(lab)
    assert tshark.faultless(outside)["udp"] >= PACKETS
    assert tshark.faultless(inside)["udp"] >= PACKETS


def test_nptv6_translates_sources_and_the_way_back(lab: Lab, tmp_path: Path) -> None:
    """The other host is outside, and knows a task of this one by another prefix.

    The task's packets have a wire destination and get another source; answers go to a
    name that is none of ilax, and come back with the task's SIR address as destination.
    """
    source, target = _ends(lab)
    inside = lab.plan.sir_prefix.supernet(new_prefix=48)
    alias, port = str(_renamed(source.sir, inside, ALIAS)), target.host.router_port
    lab.router.ip(
        *("-6", "route", "add", source.address, "dev", source.host.router_port),
        *("via", str(lab.plan.link_local(source.host.number))),
    )
    near, far = tmp_path / "near.pcap", tmp_path / "far.pcap"
    with (
        _nptv6(lab.router, "SNPT", inside, ALIAS, port),
        _nptv6(lab.router, "DNPT", ALIAS, inside, port),
        tshark.dumping(source.ns, "eth0", near),
        tshark.dumping(target.ns, "eth0", far),
    ):
        least = _traffic(source, target)
        assert _translated(lab.router, "SNPT") >= least
        back = _translated(lab.router, "DNPT")
        assert back > 3  # answers to echoes, and acknowledgements
        report = tcp.transfer(target.ns, source.ns, alias, 1 << 20)
        assert (report.error, report.same_content) == (None, True)
        assert _translated(lab.router, "DNPT") > back
    assert tshark.faultless(near)["tcp"] > 10
    assert tshark.faultless(far)["tcp"] > 10
    # Neither end has ever heard of the other's name for the task.
    assert _addresses(near) == {source.address, target.address}
    assert _addresses(far) == {alias, target.address}


def _addresses(file: Path) -> set[str]:
    """Sources and destinations of a capture, but for those of the link."""
    command = ("tshark", "-n", "-r", str(file), "-T", "fields", "-e", "ipv6.src", "-e", "ipv6.dst")
    # Of an error, the quoted ones follow.
    found = {field.split(",")[0] for field in run(*command).stdout.split()}
    return {text for text in found if not text.startswith(("fe80:", "ff02:"))}
