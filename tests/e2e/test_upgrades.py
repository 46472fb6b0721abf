# SPDX-License-Identifier: Apache-2.0
"""`up` again, `down`, and several instances: nothing lost, nothing left."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Network

import pytest

from ilax.bpf import Link, Object
from ilax.contract import schema
from lab import operator, probes
from lab.ilax import Ilax
from lab.netns import Namespace
from lab.operator import Options
from lab.tcp import Transfer
from lab.topology import UPLINK, Container, Host, Lab
from lab.traces import Traces, network_state
from lab.udp import NumberedStream, assert_unharmed
from lab.wait import until


@pytest.mark.parametrize(
    "options",
    [
        Options(xdp="native"),
        Options(xdp="native", delivery="xdp"),
        Options(xdp="off", tc="tcx"),
        Options(xdp="off", tc="clsact"),
    ],
    ids=["native-stack", "native-xdp", "tcx", "clsact"],
)
def test_up_under_load_loses_nothing(bare: Lab, options: Options) -> None:
    operator.bring_up(bare, options)
    a, same, b, _ = bare.containers
    programs = {host.name: _programs(host) for host in bare.hosts}
    with (
        NumberedStream(a.ns, b.ns, b.address, rate=1000, port=7001) as out,
        NumberedStream(b.ns, a.ns, a.address, rate=1000, port=7002) as back,
        NumberedStream(a.ns, same.ns, same.address, rate=1000, port=7003) as inside,
        Transfer(a.ns, b.ns, b.address, rate=4_000_000) as tcp,
    ):
        streams = (out, back, inside)
        until(lambda: all(s.received > 100 for s in streams) and tcp.received > 0, "traffic")
        for _ in range(2):
            for host in bare.hosts:
                answer = host.ilax(*operator.up_arguments(bare, host, options))
                assert "upgraded" in answer
        then = [s.received for s in streams]
        until(
            lambda: all(s.received > n + 100 for s, n in zip(streams, then, strict=True)),
            "traffic after the upgrades",
        )
    for stream in streams:
        assert_unharmed(stream)
    assert tcp.report().error is None
    assert tcp.report().same_content
    # It was an upgrade indeed: other programs, and the same rows.
    for host in bare.hosts:
        assert not programs[host.name] & _programs(host)
        assert len(host.ilax.json("endpoint", "list")) == 2


def test_a_failed_move_to_another_uplink_loses_nothing(bare: Lab) -> None:
    """The second uplink has tc programs already when its XDP is refused."""
    operator.bring_up(bare)
    host = bare.hosts[0]
    a, _, b, _ = bare.containers
    host.ns.ip("link", "add", "up1", "type", "veth", "peer", "name", "end1")
    host.ns.ip("link", "set", "up1", "up")
    native = Options(xdp="native")
    with host.ns.entered(), Object.open(schema.object_path("ingress")) as foreign:
        foreign.load()
        index = host.ns.ifindex("up1")
        with foreign.programs["ilax_uplink_xdp"].open() as program, Link.xdp(program, index):
            before = network_state(host.ns), Traces.of_pins(host.ilax.pins)
            with (
                NumberedStream(a.ns, b.ns, b.address, rate=1000, port=7001) as out,
                NumberedStream(b.ns, a.ns, a.address, rate=1000, port=7002) as back,
            ):
                until(lambda: out.received > 100 and back.received > 100, "traffic")
                arguments = operator.up_arguments(bare, host, native)
                refused = host.ilax.try_(*arguments, "--uplink", "up1")
                then = out.received, back.received
                until(
                    lambda: out.received > then[0] + 100 and back.received > then[1] + 100,
                    "traffic afterwards",
                )
            assert refused.returncode == 4
            assert "foreign program" in refused.stderr
            assert (network_state(host.ns), Traces.of_pins(host.ilax.pins)) == before
    assert_unharmed(out, back)


def _programs(host: Host) -> set[int]:
    return Traces.of_pins(host.ilax.pins).objects["prog"]


@pytest.mark.parametrize(
    "options",
    [Options(), Options(delivery="xdp"), Options(xdp="off", tc="clsact")],
    ids=["tcx", "xdp-delivery", "clsact"],
)
def test_down_leaves_nothing(bare: Lab, options: Options) -> None:
    host = bare.hosts[0]
    namespaces = [host.ns, *(task.ns for task in host.containers)]
    before = [network_state(ns) for ns in namespaces]
    host.ilax(*operator.up_arguments(bare, host, options), "--host-address", bare.plan.sir(77))
    for task in host.containers:
        host.ilax(*operator.add_arguments(task, options))
    host.ilax("mapping", "add", bare.plan.sir(9), "--locator", bare.hosts[1].locator)
    traces = Traces.of_pins(host.ilax.pins)
    assert [network_state(ns) for ns in namespaces] != before
    assert {kind for kind, numbers in traces.objects.items() if numbers} >= {"map", "prog"}

    host.ilax("down")

    assert not host.ilax.pins.exists()
    assert traces.leftovers() == []
    assert [network_state(ns) for ns in namespaces] == before
    done = host.ilax.try_("down")
    assert done.returncode == 3


def test_endpoint_del_undoes_endpoint_add(pair: Lab) -> None:
    host, task = pair.hosts[0], pair.containers[0]
    host.ilax("endpoint", "del", task.address)
    before = network_state(host.ns), network_state(task.ns)
    rows = host.ilax("mapping", "export", "-", "--format", "csv")
    for delivery in ("stack", "xdp"):
        host.ilax(*operator.add_arguments(task, Options(delivery=delivery)))
        probes.must_ping(pair.containers[1].ns, task.address)
        host.ilax("endpoint", "del", task.address)
        assert (network_state(host.ns), network_state(task.ns)) == before
        assert host.ilax("mapping", "export", "-", "--format", "csv") == rows


def test_a_foreign_address_and_route_survive(bare: Lab) -> None:
    """`down` removes what ilax made, and nothing that looks similar."""
    host = bare.hosts[0]
    task = host.containers[0]
    task.ns.ip("link", "add", "own0", "type", "veth", "peer", "name", "own1")
    host.ns.ip("-6", "route", "add", "2001:db8:77::/64", "via", "fe80::ff", "dev", UPLINK)
    host.ns.ip("-6", "neigh", "add", "fe80::77", "lladdr", "02:00:00:00:00:77", "dev", UPLINK)
    before = network_state(host.ns), network_state(task.ns)
    host.ilax(*operator.up_arguments(bare, host))
    host.ilax(*operator.add_arguments(task))
    host.ilax("down")
    assert (network_state(host.ns), network_state(task.ns)) == before


def test_two_instances_on_one_uplink(pair: Lab) -> None:
    """Another SIR domain beside the first, with programs in one chain."""
    domain, block = IPv6Network("2001:db8:5a5a:2::/64"), IPv6Network("2001:db8:43::/48")
    second: list[tuple[Ilax, Container, IPv6Network]] = []
    for host in pair.hosts:
        locator = IPv6Network((int(block.network_address) + (host.number << 64), 64))
        pair.router.ip(
            *("-6", "route", "add", str(locator), "dev", host.router_port),
            *("via", str(pair.plan.link_local(host.number))),
        )
        ilax = Ilax(host.ns, f"{host.ilax.instance}b")
        ilax(
            *("up", "--uplink", UPLINK, "--sir-prefix", domain),
            *("--locator", locator, "--block", block),
        )
        name = f"b{host.number}"
        sir = domain.network_address + (0x2000 << 48) + host.number
        tenant = Container(name, Namespace(f"{pair.tag}-{name}"), sir, host)
        tenant.ns.create()
        second.append((ilax, tenant, locator))
    try:
        for ilax, tenant, _ in second:
            ilax("endpoint", "add", tenant.address, "--netns", tenant.ns.name)
        (first, a, here), (other, b, there) = second
        first("mapping", "add", b.address, "--locator", there)
        other("mapping", "add", a.address, "--locator", here)

        old, far = pair.containers[0], pair.containers[2]
        before = Counter(first.counters()), Counter(pair.hosts[0].ilax.counters())
        probes.must_ping(a.ns, b.address, count=3)
        probes.must_ping(old.ns, far.address, count=3)
        # Each counts its own.
        counted = Counter(first.counters()) - before[0]
        assert counted["container", "send_forward"] == 3
        counted = Counter(pair.hosts[0].ilax.counters()) - before[1]
        assert counted["container", "send_forward"] == 3
    finally:
        for ilax, _, _ in second:
            ilax("down")
    # The first one has not noticed.
    probes.must_ping(old.ns, far.address)
    for host in pair.hosts:
        assert len(host.ilax.json("status")["links"]) == 5


def test_another_namespace_is_refused(pair: Lab) -> None:
    """Interface numbers would name other devices there."""
    first, second = pair.hosts
    stranger = Ilax(second.ns, first.ilax.instance)
    for arguments in (
        ("down",),
        ("endpoint", "del", pair.containers[0].address),
        tuple(operator.up_arguments(pair, first)),
    ):
        done = stranger.try_(*arguments)
        assert done.returncode == 4
        assert "namespace" in done.stderr
    probes.must_ping(pair.containers[0].ns, pair.containers[2].address)
