# SPDX-License-Identifier: Apache-2.0
"""What goes wrong is refused, counted and undone; the rest goes on."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address

import pytest

from lab import operator, probes, scenarios
from lab.capture import Capture, mac_of, send_frames
from lab.operator import Options
from lab.packets import UDP, udp_frame
from lab.topology import UPLINK, Lab
from lab.traces import network_state
from lab.udp import NumberedStream
from lab.wait import until

USAGE, NOT_FOUND, CONFLICT, FULL = 2, 3, 4, 8


def test_without_a_mapping_the_packet_is_dropped(pair: Lab) -> None:
    a, b = pair.containers[0], pair.containers[2]
    ilax = a.host.ilax
    ilax("mapping", "del", b.address)
    before = Counter(ilax.counters())
    with ilax.events() as events:
        assert not probes.ping(a.ns, b.address, count=2, wait=0.2)
    assert (Counter(ilax.counters()) - before)["container", "drop_no_mapping"] == 2
    assert {(e.hook, e.reason) for e in events} == {("container", "drop_no_mapping")}
    assert ilax.try_("mapping", "del", b.address).returncode == NOT_FOUND
    # The other direction has lost its answers only; others are not concerned.
    probes.must_ping(a.ns, pair.containers[3].address)
    ilax("mapping", "add", b.address, "--locator", b.host.locator)
    probes.must_ping(a.ns, b.address)


@pytest.mark.parametrize("xdp", ["native", "off"])
def test_an_unknown_identifier_is_dropped(bare: Lab, xdp: str) -> None:
    """At the host that owns the locator, before any task or stack sees it."""
    operator.bring_up(bare, Options(xdp=xdp))
    a, host = bare.containers[0], bare.hosts[1]
    nobody = str(bare.plan.sir(99))
    a.host.ilax("mapping", "add", nobody, "--locator", host.locator)
    before = Counter(host.ilax.counters())
    with host.ilax.events() as events, Capture(bare.router, host.router_port) as seen:
        assert not probes.ping(a.ns, nobody, count=3, wait=0.2)
    hook = "uplink_ingress" if xdp == "off" else "xdp_ingress"
    assert (Counter(host.ilax.counters()) - before)[hook, "drop_unknown_identifier"] == 3
    assert events[0].reason == "drop_unknown_identifier"
    # The host is silent: whoever scans identifiers learns nothing.
    assert [f for f in seen.frames if f.source == host.address] == []


def test_a_type_zero_identifier_is_an_ordinary_host_address(pair: Lab) -> None:
    """Nobody has this one: the kernel answers, and ilax counts no drop."""
    first, second = pair.hosts
    before = Counter(second.ilax.counters())
    assert not probes.ping(first.ns, str(second.locator.network_address + 0x99), wait=0.2)
    assert "drop_unknown_identifier" not in {r for _, r in Counter(second.ilax.counters()) - before}


def test_identifiers_that_cannot_be_restored_are_refused(pair: Lab) -> None:
    """Their last 16 bits are zero."""
    host = pair.hosts[0]
    zero = str(pair.plan.sir_prefix.network_address + (0x2000 << 48) + 0x10000)
    for arguments in (
        ("mapping", "add", zero, "--locator", str(pair.hosts[1].locator)),
        ("endpoint", "add", zero, "--netns", pair.containers[0].ns.name),
        ("address", "encode", zero, "--locator", str(pair.hosts[1].locator)),
    ):
        done = host.ilax.try_(*arguments)
        assert done.returncode == USAGE
        assert "Traceback" not in done.stderr
    assert zero not in host.ilax("mapping", "export", "-", "--format", "csv")


def test_two_tasks_cannot_have_one_address(pair: Lab) -> None:
    a, b = pair.containers[:2]
    before = network_state(a.host.ns), network_state(b.ns)
    done = a.host.ilax.try_("endpoint", "add", a.address, "--netns", b.ns.name, "--device", "eth1")
    assert done.returncode == CONFLICT
    assert (network_state(a.host.ns), network_state(b.ns)) == before
    probes.must_ping(b.ns, a.address)


@pytest.mark.parametrize("delivery", ["stack", "xdp"])
def test_a_container_goes_away_under_load(bare: Lab, delivery: str) -> None:
    """Its device is deleted behind our back, while packets pour in."""
    operator.bring_up(bare, Options(delivery=delivery))
    a, same, b, other = bare.containers
    with (
        NumberedStream(a.ns, b.ns, b.address, rate=4000, port=7001) as to_victim,
        NumberedStream(same.ns, other.ns, other.address, rate=500, port=7002) as to_other,
    ):
        until(lambda: to_victim.received > 400 and to_other.received > 50, "traffic")
        before = Counter(b.host.ilax.counters())
        b.ns.ip("link", "del", "eth0")
        then = to_victim.sent, to_other.received
        until(
            lambda: to_victim.sent > then[0] + 800 and to_other.received > then[1] + 100,
            "traffic after the device was gone",
        )
        gone = to_victim.received
        # The loader finds a row whose device is gone, and makes a new one.
        b.host.ilax("endpoint", "del", b.address)
        b.host.ilax(*operator.add_arguments(b, Options(delivery=delivery)))
        until(lambda: to_victim.received > gone + 400, "traffic over the new device")
    assert to_other.report().lost == ()
    assert to_victim.report().corrupt == 0
    counted = Counter(b.host.ilax.counters()) - before
    if delivery == "xdp":
        # The kernel takes a device that dies out of the device map.
        assert counted["xdp_ingress", "drop_no_device"] > 0
    assert counted["xdp_ingress", "drop_unknown_identifier"] > 0
    links = [p.name for p in (b.host.ilax.pins / "v1" / "links").glob("port_*")]
    assert len(links) == len(b.host.containers)


def test_the_uplink_goes_away_under_load(pair: Lab) -> None:
    """Tasks of the host still reach each other, and `down` works."""
    a, same, b, _ = pair.containers
    host = a.host
    with (
        NumberedStream(a.ns, b.ns, b.address, rate=2000, port=7001) as out,
        NumberedStream(a.ns, same.ns, same.address, rate=500, port=7002) as inside,
    ):
        until(lambda: out.received > 200 and inside.received > 50, "traffic")
        host.ns.ip("link", "del", UPLINK)
        then = out.sent, inside.received
        until(
            lambda: out.sent > then[0] + 400 and inside.received > then[1] + 100,
            "traffic after the uplink was gone",
        )
    assert inside.report().lost == ()
    host.ilax("down")
    assert not host.ilax.pins.exists()
    assert host.ns.devices() == []


def test_a_full_table_of_endpoints(bare: Lab) -> None:
    a, b = bare.containers[:2]
    host, other = bare.hosts
    host.ilax(*operator.up_arguments(bare, host), "--max-endpoints", "1")
    other.ilax(*operator.up_arguments(bare, other))
    host.ilax(*operator.add_arguments(a))
    for task in other.containers:
        other.ilax(*operator.add_arguments(task))
    operator_view = bare.containers[2]
    host.ilax("mapping", "add", operator_view.address, "--locator", other.locator)
    other.ilax("mapping", "add", a.address, "--locator", host.locator)
    before = network_state(host.ns), network_state(b.ns)
    mappings = host.ilax("mapping", "export", "-", "--format", "csv")

    done = host.ilax.try_(*operator.add_arguments(b))

    assert done.returncode == FULL
    assert "max-endpoints" in done.stderr
    # Rolled back, and nothing of the first one is lost.
    assert (network_state(host.ns), network_state(b.ns)) == before
    assert host.ilax("mapping", "export", "-", "--format", "csv") == mappings
    assert [row["sir"] for row in host.ilax.json("endpoint", "list")] == [a.address]
    probes.must_ping(operator_view.ns, a.address)
    # There is room again as soon as one goes.
    host.ilax("endpoint", "del", a.address)
    host.ilax(*operator.add_arguments(b))


def test_a_full_table_of_mappings(bare: Lab) -> None:
    host, other = bare.hosts
    tiny = ("--max-mappings", "4")
    for one in bare.hosts:
        one.ilax(*operator.up_arguments(bare, one), *tiny)
        for task in one.containers:
            one.ilax(*operator.add_arguments(task))
    operator.publish(bare)
    a, b = bare.containers[0], bare.containers[2]
    rows = host.ilax("mapping", "export", "-", "--format", "csv")

    extra = str(bare.plan.sir(50))
    done = host.ilax.try_("mapping", "add", extra, "--locator", other.locator)
    assert done.returncode == FULL
    assert "max-mappings" in done.stderr
    many = "\n".join(
        ["sir,locator", *(f"{bare.plan.sir(60 + n)},{other.locator}" for n in range(20))]
    )
    done = host.ilax.try_("mapping", "import", "-", "--format", "csv", text_in=many)
    assert done.returncode == FULL
    assert "max-mappings" in done.stderr

    assert host.ilax("mapping", "export", "-", "--format", "csv") == rows
    probes.must_ping(a.ns, b.address)
    # A row that is there can still be changed, as a move needs no room.
    host.ilax("mapping", "add", b.address, "--locator", other.locator)
    probes.must_ping(a.ns, b.address)


def test_a_wire_address_cannot_be_used_to_enter_as_another_host(pair: Lab) -> None:
    """Packets from the underlay with any source are delivered by destination only."""
    task = pair.containers[2]
    host = task.host
    macs = (mac_of(pair.router, host.router_port), mac_of(host.ns, UPLINK))
    wire = IPv6Address(host.ilax.wire(task.address))
    other = wire + 1
    with Capture(task.ns, "eth0", lambda f: f.next_header == UDP) as arrived:
        for destination, text in ((other, b"wrong"), (wire, b"right")):
            frame = udp_frame(macs, (pair.plan.router, destination), text)
            send_frames(pair.router, host.router_port, frame)
        arrived.wait(lambda f: f.payload[8:] == b"right", "the right one")
    assert [f.payload[8:] for f in arrived.frames] == [b"right"]


def test_the_lab_itself_sees_what_is_wrong(bare: Lab) -> None:
    """Without ilax, nobody reaches a SIR address; so the other tests prove something."""
    from lab.topology import attach_plainly

    a, b = bare.containers[0], bare.containers[2]
    for task in (a, b):
        attach_plainly(task.host, task, task.sir)
    assert not probes.ping(a.ns, b.address, wait=0.2)
    assert scenarios.foreign_routes(bare) == []
