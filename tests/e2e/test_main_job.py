# SPDX-License-Identifier: Apache-2.0
"""Tasks reach each other by SIR address, in every mode of the datapath."""

from __future__ import annotations

import socket
from collections import Counter
from ipaddress import IPv6Address

import pytest

from lab import operator, probes, scenarios, tcp, udp
from lab.capture import Capture, mac_of, send_frames
from lab.operator import Options
from lab.packets import UDP, udp_frame
from lab.topology import Lab

# Where a packet for a task is counted last, by mode.
DELIVERED = {
    "native-stack": ("uplink_ingress", "send_handover"),
    "native-xdp": ("xdp_ingress", "send_xdp"),
    "tc-only": ("uplink_ingress", "send_peer"),
    "clsact": ("uplink_ingress", "send_peer"),
}


def test_the_underlay_knows_locators_only(fabric: Lab) -> None:
    assert scenarios.foreign_routes(fabric) == []


def test_everybody_pings_everybody(fabric: Lab) -> None:
    tasks = fabric.containers
    pairs = [(a, b) for a in tasks for b in tasks if a is not b]
    answered = probes.ping_pairs([(a.ns, b.address) for a, b in pairs])
    silent = [(a.name, b.name) for (a, b), ok in zip(pairs, answered, strict=True) if not ok]
    assert silent == []


def test_packets_take_the_way_of_the_mode(fabric: Lab, mode: str) -> None:
    source, target = fabric.containers[0], fabric.containers[2]
    ilax = target.host.ilax
    before = Counter(ilax.counters())
    probes.must_ping(source.ns, target.address, count=5)
    counted = Counter(ilax.counters()) - before
    assert counted[DELIVERED[mode]] == 5
    hooks = {hook for hook, _ in counted}
    assert ("xdp_ingress" in hooks) is mode.startswith("native")


def test_the_hooks_are_those_of_the_mode(fabric: Lab, mode: str) -> None:
    (host, *_) = fabric.hosts
    links = {path.name for path in (host.ilax.pins / "v1" / "links").iterdir()}
    assert ("xdp_ingress" in links) is mode.startswith("native")
    tcx = {name for name in links if name != "xdp_ingress"}
    if mode == "clsact":
        assert tcx == set()
    else:
        assert {"uplink_ingress", "uplink_egress"} < tcx
        assert len([name for name in tcx if name.startswith("port_")]) == len(host.containers)


@pytest.mark.parametrize("method", ["udp", "icmp", "tcp"])
def test_traceroute_shows_every_hop(fabric: Lab, method: str) -> None:
    a, same, b = fabric.containers[0], fabric.containers[1], fabric.containers[2]
    remote = probes.traceroute(a.ns, b.address, method=method)
    assert remote == [
        str(a.host.address), str(fabric.plan.router), str(b.host.address), b.address
    ]  # fmt: skip
    assert probes.traceroute(a.ns, same.address, method=method) == [
        str(a.host.address), same.address
    ]  # fmt: skip


def test_traceroute_through_the_border(fabric: Lab) -> None:
    """The host that errors of routers come home through is the sender's own."""
    a, b = fabric.hosts[-1].containers[0], fabric.containers[0]
    assert probes.traceroute(a.ns, b.address) == [
        str(a.host.address), str(fabric.plan.router), str(b.host.address), b.address
    ]  # fmt: skip


@pytest.mark.parametrize("target", [1, 2], ids=["same-host", "different-hosts"])
def test_tcp_carries_the_right_bytes(fabric: Lab, target: int) -> None:
    a, b = fabric.containers[0], fabric.containers[target]
    for source, sink in ((a, b), (b, a)):
        report = tcp.transfer(source.ns, sink.ns, sink.address, 24 << 20)
        assert report.error is None
        assert report.same_content
        assert report.received == report.sent >= 24 << 20


@pytest.mark.parametrize("size", [16, 1400, 4000], ids=["small", "full", "fragmented"])
@pytest.mark.parametrize("target", [1, 2], ids=["same-host", "different-hosts"])
def test_every_udp_packet_arrives(fabric: Lab, target: int, size: int) -> None:
    a, b = fabric.containers[0], fabric.containers[target]
    report = udp.exchange(a.ns, b.ns, b.address, 500, size=size)
    assert (report.lost, report.duplicates, report.corrupt) == ((), 0, 0)


def test_ping_of_many_sizes(fabric: Lab) -> None:
    """From the smallest packet to one in many fragments."""
    a, b = fabric.containers[0], fabric.containers[2]
    for size in (0, 1, 56, 1452, 1453, 5000, 60000):
        probes.must_ping(a.ns, b.address, size=size)


def test_one_packet_on_the_wire(fabric: Lab) -> None:
    a, b = fabric.containers[0], fabric.containers[2]
    proof = scenarios.follow_one_packet(fabric, a, b)
    sent, wire, received = proof.sent, proof.wire, proof.received
    assert wire.source == a.sir
    assert scenarios.is_wire_address_of(wire, b, fabric.plan.block)
    assert wire.next_header == UDP
    assert len(sent.raw) == len(wire.raw) == len(received.raw)
    assert sent.payload == wire.payload == received.payload
    assert sent.checksum_valid
    assert wire.checksum_valid
    assert received.destination == b.sir
    # The two hosts and the router are hops; all else of the header is untouched.
    assert (wire.hop_limit, received.hop_limit) == (sent.hop_limit - 2, sent.hop_limit - 3)
    assert sent.packet[:7] == wire.packet[:7] == received.packet[:7]


@pytest.mark.parametrize("target", [1, 2], ids=["same-host", "different-hosts"])
def test_a_closed_port_is_reported(fabric: Lab, target: int) -> None:
    """The error quotes the packet; the sender's kernel has to find its socket by that."""
    a, b = fabric.containers[0], fabric.containers[target]
    with a.ns.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sender:
        sender.settimeout(10)
        sender.connect((b.address, 9))
        sender.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)


def test_a_spoofed_source_is_refused(fabric: Lab) -> None:
    cheat, claimed, target = fabric.containers[:3]
    ilax = cheat.host.ilax
    before = Counter(ilax.counters())
    drops_before = ilax.traffic(cheat.address).tx_drops
    with ilax.events() as events:
        assert not scenarios.spoof(fabric, cheat, claimed, target)
    assert (Counter(ilax.counters()) - before)["container", "drop_spoofed_source"] == 1
    assert [(e.hook, e.reason) for e in events] == [("container", "drop_spoofed_source")]
    assert claimed.sir.packed in events[0].data
    assert events[0].length == 14 + 40 + 8 + len(b"not me")
    assert ilax.traffic(cheat.address).tx_drops == drops_before + 1


def test_sources_are_checked_as_the_endpoint_says(fabric: Lab) -> None:
    cheat, claimed, target = fabric.containers[:3]
    ilax = cheat.host.ilax
    for option, arrives in (("--any-source", True), ("--no-any-source", False)):
        ilax("endpoint", "set", cheat.address, option)
        assert scenarios.spoof(fabric, cheat, claimed, target) is arrives


@pytest.mark.parametrize("count", range(1, 8))
def test_tags_are_no_way_around_the_checks(fabric: Lab, count: int) -> None:
    """The stack peels any number of tags of VLAN 0 and routes what it finds."""
    cheat, target = fabric.containers[0], fabric.containers[2]
    macs = (mac_of(cheat.ns, "eth0"), scenarios.gateway_mac(cheat))
    stranger = IPv6Address("2001:db8:dead::1")
    locator = fabric.plan.locator(77).network_address + 1
    tags = ((0x8100, 0),) * count
    frames = [
        udp_frame(macs, (stranger, locator), b"forged", tags=tags),
        udp_frame(macs, (cheat.sir, locator), b"locator", tags=tags),
        udp_frame(macs, (cheat.sir, target.sir), b"lawful"),
    ]
    host = cheat.host
    before = Counter(host.ilax.counters())
    with Capture(fabric.router, host.router_port) as seen:
        send_frames(cheat.ns, "eth0", *frames)
        seen.wait(lambda frame: frame.payload[8:] == b"lawful", "the lawful packet")
    assert not [f for f in seen.frames if f.payload[8:] in (b"forged", b"locator")]
    dropped = {
        reason: packets
        for (_, reason), packets in (Counter(host.ilax.counters()) - before).items()
        if reason.startswith("drop_")
    }
    if count <= 3:  # one beside the frame and two inside are looked behind
        assert dropped == {"drop_spoofed_source": 1, "drop_locator_refused": 1}
    else:
        assert dropped == {"drop_malformed": 2}


@pytest.mark.parametrize("what", ["wire address", "host", "own host", "unassigned locator"])
def test_a_task_cannot_address_locators(fabric: Lab, what: str) -> None:
    task, other = fabric.containers[0], fabric.containers[2]
    target = {
        "wire address": other.host.ilax.wire(other.address),
        "host": str(other.host.address),
        "own host": str(task.host.address),
        "unassigned locator": str(fabric.plan.locator(77).network_address + 1),
    }[what]
    before = Counter(task.host.ilax.counters())
    assert not probes.ping(task.ns, target, wait=0.2)
    counted = Counter(task.host.ilax.counters()) - before
    assert counted["container", "drop_locator_refused"] == 1


def test_path_mtu_is_found(fabric: Lab) -> None:
    a, b = fabric.containers[0], fabric.containers[2]
    found = scenarios.narrow_link(fabric, a, b, 1400)
    assert found.learned == 1400
    assert found.fits
    assert not found.too_long
    assert found.report.same_content
    assert found.report.pmtu == 1400


def test_traffic_is_counted_for_each_endpoint(fabric: Lab) -> None:
    a, b = fabric.containers[0], fabric.containers[2]
    before = [c.host.ilax.traffic(c.address) for c in (a, b)]
    probes.must_ping(a.ns, b.address, count=3, size=100)
    after = [c.host.ilax.traffic(c.address) for c in (a, b)]
    for old, new in zip(before, after, strict=True):
        # Neighbour discovery of the link may add to what a task sends.
        assert new.tx_packets - old.tx_packets >= 3
        assert new.tx_bytes - old.tx_bytes >= 3 * (14 + 48 + 100)
        assert new.rx_packets - old.rx_packets == 3
        assert new.rx_bytes - old.rx_bytes == 3 * (14 + 48 + 100)
        assert (new.rx_drops, new.tx_drops) == (old.rx_drops, old.tx_drops)


def test_the_command_shows_what_was_counted(fabric: Lab) -> None:
    task = fabric.containers[0]
    ilax = task.host.ilax
    shown = {(row["hook"], row["reason"]): row["packets"] for row in ilax.json("counters")}
    counted = ilax.counters()
    assert shown.keys() <= counted.keys()
    assert shown["container", "send_forward"] > 0
    assert "send_forward" in ilax("counters")
    traffic = ilax.json("endpoint", "show", task.address)["traffic"]
    assert traffic["tx_packets"] > 0
    assert [row["sir"] for row in ilax.json("endpoint", "list")] == sorted(
        c.address for c in task.host.containers
    )


def test_a_task_moves_while_others_talk_to_it(fabric: Lab, options: Options) -> None:
    peer, other, task = fabric.containers[:3]
    origin, target = task.host, fabric.hosts[2]
    found = scenarios.move_under_load(fabric, task, target, peer, other, options)
    try:
        assert found.tcp.error is None
        assert found.tcp.same_content
        assert found.bytes_after > 0
        assert found.udp.received > 0
        assert (found.udp.duplicates, found.udp.corrupt) == (0, 0)
        # The stream breaks once and then goes on to its end.
        lost = found.udp.lost
        assert len(lost) == lost[-1] - lost[0] + 1
        assert lost[-1] < found.udp.sent - 1
        # What did not arrive was counted, with a reason, unless it was on its last step.
        assert found.lost_unseen <= 16
        assert set(found.drops) <= {"drop_unknown_identifier", "drop_no_mapping", "drop_no_device"}
        hops = probes.traceroute(peer.ns, task.address)
        assert hops[2:] == [str(target.address), task.address]
        # From the old host, too, which has become like any other.
        probes.must_ping(origin.containers[0].ns, task.address)
    finally:
        operator.rehome(fabric, task, origin, options)
    probes.must_ping(peer.ns, task.address)
