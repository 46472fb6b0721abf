# SPDX-License-Identifier: Apache-2.0
"""What else passes the links: other protocols, tags, jumbo frames, super-packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv6Address

import pytest

from lab import operator, probes, scenarios, tcp, udp
from lab.capture import Capture, mac_of, send_frames
from lab.cleanup import PREFIX
from lab.operator import Options
from lab.packets import TCP, UDP, Frame, udp_frame
from lab.scenarios import gateway_mac
from lab.topology import UPLINK, Container, Lab, Plan

# From the largest packet that ordinary IPv6 can name upwards.
BIG_TCP_BYTES = 180_000


def host_device(task: Container) -> str:
    """Name of the host's side of a task's link."""
    index = next(row["link_index"] for row in task.ns.ip_json("link") if row["ifname"] == "eth0")
    return next(
        str(row["ifname"]) for row in task.host.ns.ip_json("link") if row["ifindex"] == index
    )


def test_multicast_and_neighbour_discovery_stay_on_the_link(fabric: Lab) -> None:
    task = fabric.containers[0]
    before = Counter(task.host.ilax.counters())
    probes.must_ping(task.ns, "ff02::1%eth0")
    probes.must_ping(task.ns, "fe80::1%eth0")
    # Ask for the neighbour anew, instead of using the permanent entry.
    task.ns.ip("neigh", "flush", "dev", "eth0", "nud", "permanent")
    mac = mac_of(task.host.ns, host_device(task))
    try:
        probes.must_ping(task.ns, "fe80::1%eth0")
        probes.must_ping(task.ns, fabric.containers[2].address)
        assert gateway_mac(task) == mac
    finally:
        task.ns.ip("neigh", "replace", "fe80::1", "lladdr", mac, "dev", "eth0", "nud", "permanent")
    counted = Counter(task.host.ilax.counters()) - before
    assert counted["container", "pass_link_scope"] >= 3
    assert not [reason for _, reason in counted if reason.startswith("drop_")]


def test_ipv4_is_left_alone(fabric: Lab) -> None:
    """Between a task and its host, and between two hosts."""
    task, host, router = fabric.containers[0], fabric.hosts[0], fabric.router
    ends = [
        (task.ns, "eth0", "192.0.2.1/30"),
        (host.ns, host_device(task), "192.0.2.2/30"),
        (host.ns, UPLINK, "198.51.100.1/30"),
        (router, host.router_port, "198.51.100.2/30"),
    ]
    for ns, device, address in ends:
        ns.ip("address", "add", address, "dev", device)
    try:
        for ns, target in ((task.ns, "192.0.2.2"), (host.ns, "198.51.100.2")):
            ns.run("ping", "-n", "-c", "2", "-i", "0.01", "-W", "5", target)
    finally:
        for ns, device, address in ends:
            ns.ip("address", "del", address, "dev", device)


@pytest.mark.parametrize(
    "tags",
    [((0x8100, 5),), ((0x88A8, 7), (0x8100, 5)), ((0x8100, 7), (0x8100, 5))],
    ids=["one", "two", "two-old"],
)
def test_tagged_frames_of_the_underlay_arrive_untagged(
    fabric: Lab, tags: tuple[tuple[int, int], ...]
) -> None:
    sender, task = fabric.containers[0], fabric.containers[2]
    host = task.host
    text = b"tagged"
    macs = (mac_of(fabric.router, host.router_port), mac_of(host.ns, UPLINK))
    wire = IPv6Address(host.ilax.wire(task.address))
    frame = udp_frame(macs, (sender.sir, wire), text, tags=tags)

    def ours(seen: Frame) -> bool:
        return seen.next_header == UDP and seen.payload[8:] == text

    with Capture(task.ns, "eth0", ours) as arrived:
        send_frames(fabric.router, host.router_port, frame)
        seen = arrived.wait(lambda _: True, "the frame in the container")
    assert seen.tags == ()
    assert seen.destination == task.sir
    assert seen.hop_limit == 63
    assert seen.checksum_valid


def test_extension_headers_do_not_matter(fabric: Lab) -> None:
    """Hop-by-hop and destination options, and a fragment header."""
    sender, task = fabric.containers[0], fabric.containers[2]
    pad, fragment = bytes([0, 1, 4, 0, 0, 0, 0]), bytes([UDP, 0, 0, 0, 0, 0, 0, 9])
    chains = {
        "hop-by-hop": (0, bytes([UDP]) + pad),
        "destination": (60, bytes([UDP]) + pad),
        "atomic fragment": (44, fragment),
        "three": (0, bytes([60]) + pad + bytes([44]) + pad + fragment),
    }
    macs = (mac_of(sender.ns, "eth0"), gateway_mac(sender))
    for name, (kind, extensions) in chains.items():
        text = f"behind {name}".encode()
        frame = udp_frame(
            macs, (sender.sir, task.sir), text, extensions=extensions, extension_type=kind
        )
        with Capture(task.ns, "eth0") as arrived:
            send_frames(sender.ns, "eth0", frame)
            seen = arrived.wait(partial(_carries, text), f"the packet with {name}")
        assert seen.destination == task.sir
        assert seen.payload == extensions + frame[14 + 40 + len(extensions) :]


def _carries(text: bytes, frame: Frame) -> bool:
    return frame.payload.endswith(text)


def test_super_packets_reach_the_task(fabric: Lab) -> None:
    """GSO and GRO: the datapath neither splits them nor holds them to the MTU."""
    a, b = fabric.containers[0], fabric.containers[2]
    with Capture(b.ns, "eth0", lambda f: f.next_header == TCP) as arrived:
        report = tcp.transfer(a.ns, b.ns, b.address, 8 << 20)
    assert report.same_content
    assert max(len(f.packet) for f in arrived.frames) > 2 * fabric.plan.mtu


@pytest.mark.parametrize("target", [1, 2], ids=["same-host", "different-hosts"])
def test_big_tcp(bare: Lab, target: int) -> None:
    """Super-packets above 64 KiB, whose header cannot say how long they are."""
    operator.bring_up(bare, Options(xdp="off"))
    a, b = bare.containers[0], bare.containers[target]
    size = str(BIG_TCP_BYTES)
    for task in (a, b):
        for ns, device in ((task.ns, "eth0"), (task.host.ns, host_device(task))):
            ns.ip("link", "set", device, "gso_max_size", size, "gro_max_size", size)
        # The uplink cuts them up for the wire, and the other one merges them again.
        task.host.ns.ip("link", "set", UPLINK, "gro_max_size", size)

    def big(frame: Frame) -> bool:
        return len(frame.raw) > 1 << 16

    with Capture(a.ns, "eth0", big) as sent, Capture(b.ns, "eth0", big) as arrived:
        report = tcp.transfer(a.ns, b.ns, b.address, 128 << 20, congestion="cubic")
    assert report.same_content
    assert sent.frames, "the sender made no packet above 64 KiB"
    if a.host is b.host:
        assert arrived.frames, "no packet above 64 KiB arrived"
    counted = Counter(b.host.ilax.counters()) + Counter(a.host.ilax.counters())
    wrong = [reason for _, reason in counted if reason.startswith("drop_")]
    assert [*wrong, *(r for _, r in counted if r == "pass_too_big")] == []


@pytest.fixture(scope="module", params=["stack", "xdp"])
def jumbo(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts on an underlay with an MTU of 9000 bytes and native XDP."""
    with Lab.make(f"{PREFIX}jumbo{request.param}", Plan(hosts=2, mtu=9000)) as lab:
        operator.bring_up(lab, Options(xdp="native", delivery=request.param))
        yield lab


def test_jumbo_frames(jumbo: Lab) -> None:
    a, same, b = jumbo.containers[:3]
    for target in (same, b):
        for size in (8952, 8000, 4000, 3000, 100):
            probes.must_ping(a.ns, target.address, size=size, options=("-M", "do"))
        report = udp.exchange(a.ns, target.ns, target.address, 300, size=8952)
        assert (report.lost, report.corrupt) == ((), 0)
        transfer = tcp.transfer(a.ns, target.ns, target.address, 24 << 20)
        assert transfer.same_content
        assert transfer.pmtu == 9000


def test_a_jumbo_path_with_a_narrow_link(jumbo: Lab) -> None:
    found = scenarios.narrow_link(jumbo, jumbo.containers[0], jumbo.containers[2], 1500)
    assert found.learned == 1500
    assert found.fits
    assert found.report.same_content
    assert found.report.pmtu == 1500
