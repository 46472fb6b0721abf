# SPDX-License-Identifier: Apache-2.0
"""Processes of the hosts themselves reach SIR addresses, and are reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address

import pytest

from lab import operator, probes, tcp, udp
from lab.cleanup import PREFIX
from lab.netns import Namespace
from lab.topology import Container, Lab, Plan, attach_plainly


def own_address(lab: Lab, number: int) -> str:
    """SIR address of host `number`'s own processes."""
    return str(lab.plan.sir_prefix.network_address + (0x2000 << 48) + 0x10 + number)


@pytest.fixture(scope="module", params=["native", "off"], ids=["native", "tc-only"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts with SIR addresses of their own: one by `up`, one by `endpoint add`."""
    with Lab.make(f"{PREFIX}hosts{request.param}", Plan(hosts=2)) as made:
        first, second = made.hosts
        options = operator.Options(xdp=request.param)
        first.ilax(
            *operator.up_arguments(made, first, options), "--host-address", own_address(made, 1)
        )
        second.ilax(*operator.up_arguments(made, second, options))
        second.ilax("endpoint", "add", own_address(made, 2), "--host")
        for host, other in ((first, second), (second, first)):
            for task in host.containers:
                host.ilax(*operator.add_arguments(task))
            host.ilax(
                *("mapping", "add", own_address(made, other.number)),
                *("--locator", other.locator),
            )
        operator.publish(made)
        yield made


def parties(lab: Lab) -> dict[str, tuple[Namespace, str]]:
    """Who can talk: both hosts and their first tasks."""
    first, second = lab.hosts
    return {
        "host 1": (first.ns, own_address(lab, 1)),
        "task 1": (first.containers[0].ns, first.containers[0].address),
        "host 2": (second.ns, own_address(lab, 2)),
        "task 2": (second.containers[0].ns, second.containers[0].address),
    }


PAIRS = [
    ("host 1", "task 1"),
    ("task 1", "host 1"),
    ("host 1", "task 2"),
    ("task 2", "host 1"),
    ("host 1", "host 2"),
    ("host 2", "host 1"),
    ("host 2", "task 2"),
    ("task 2", "host 2"),
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_they_talk(lab: Lab, source: str, target: str) -> None:
    everybody = parties(lab)
    (ns, own), (peer, address) = everybody[source], everybody[target]
    # A host has other addresses as well; from this one it can be answered by tasks.
    options = ("-I", own)
    for size in (56, 1452, 5000):
        probes.must_ping(ns, address, size=size, options=options)
    report = tcp.transfer(ns, peer, address, 8 << 20)
    assert report.error is None
    assert report.same_content
    stream = udp.exchange(ns, peer, address, 200)
    assert (stream.lost, stream.corrupt) == ((), 0)


def test_a_host_chooses_its_sir_address_by_itself(lab: Lab) -> None:
    """`up --host-address` makes it the source towards SIR addresses."""
    first, second = lab.hosts
    (row,) = first.ns.ip_json("-6", "route", "get", second.containers[0].address)
    assert row["prefsrc"] == own_address(lab, 1)


def test_traceroute_from_a_host(lab: Lab) -> None:
    first, second = lab.hosts
    task = second.containers[0]
    # Towards a SIR address, the other host answers from its own one.
    assert probes.traceroute(first.ns, task.address) == [
        str(lab.plan.router), own_address(lab, 2), task.address
    ]  # fmt: skip


@pytest.fixture
def narrow(lab: Lab) -> Iterator[Lab]:
    """With a link of a smaller MTU behind the router."""
    port = lab.hosts[1].router_port
    lab.router.ip("link", "set", port, "mtu", "1400")
    try:
        yield lab
    finally:
        lab.router.ip("link", "set", port, "mtu", "1500")
        lab.hosts[0].ns.ip("-6", "route", "flush", "cache")


def test_path_mtu_for_a_host(narrow: Lab) -> None:
    first, second = narrow.hosts
    task = second.containers[0]
    report = tcp.transfer(first.ns, task.ns, task.address, 4 << 20)
    assert report.same_content
    assert report.pmtu == 1400


@pytest.mark.parametrize("who", ["the host", "somebody behind it"])
def test_path_mtu_for_an_address_that_is_no_sir_address(narrow: Lab, who: str) -> None:
    """An error about its packets is for the host's stack, and quotes a wire address."""
    first, second = narrow.hosts
    task = second.containers[0]
    with ExitStack() as stack:
        ns, source = first.ns, "2001:db8:77::1"
        if who != "the host":
            source = "2001:db8:77::2"
            ns = Namespace(f"{narrow.tag}-outside")
            ns.create()
            stack.callback(ns.remove)
            outside = Container("outside", ns, IPv6Address(source), first)
            attach_plainly(first, outside, outside.sir)
        else:
            first.ns.ip("address", "add", f"{source}/128", "dev", "lo")
            stack.callback(first.ns.ip, "address", "del", f"{source}/128", "dev", "lo")
        route = (source, "via", str(narrow.plan.link_local(1)), "dev", first.router_port)
        narrow.router.ip("-6", "route", "add", *route)
        stack.callback(narrow.router.ip, "-6", "route", "del", *route)
        report = tcp.transfer(ns, task.ns, task.address, 1 << 20, source=source, timeout=10)
    assert report.error is None
    assert report.same_content
    assert report.pmtu == 1400


def test_locator_addresses_of_hosts_still_work(lab: Lab) -> None:
    """Type-0 identifiers below a locator are ordinary addresses."""
    first, second = lab.hosts
    probes.must_ping(first.ns, str(second.address), options=("-I", str(first.address)))


def test_the_address_goes_with_the_endpoint(lab: Lab) -> None:
    extra = own_address(lab, 7)
    host = lab.hosts[1]
    host.ilax("endpoint", "add", extra, "--host")
    with host.ns.entered():
        import socket

        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
            bound.bind((extra, 0))
    host.ilax("endpoint", "del", extra)
    found = [info["local"] for row in host.ns.ip_json("-6", "address") for info in row["addr_info"]]
    assert IPv6Address(extra) not in map(IPv6Address, found)
