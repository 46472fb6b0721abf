# SPDX-License-Identifier: Apache-2.0
"""Experiments that the demo shows and the tests assert: they measure, and judge nothing."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from lab.capture import Capture, mac_of, send_frames
from lab.netns import Namespace
from lab.operator import Options, rehome
from lab.packets import UDP, Frame, ethernet, icmp, udp_frame
from lab.probes import ping
from lab.tcp import Transfer, TransferReport, transfer
from lab.topology import Container, Host, Lab
from lab.udp import NumberedStream, StreamReport
from lab.wait import until

_PORT = 4242
FALSE_ROUTER = IPv6Address("fe80::bad")


def advertise_router(task: Container) -> None:
    """Let a task tell its host that a router is there: a default route by FALSE_ROUTER."""
    task.ns.ip("address", "replace", f"{FALSE_ROUTER}/64", "dev", "eth0", "nodad")
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0x08, 1800, 0, 0)
    packet = icmp(FALSE_ROUTER, IPv6Address("ff02::1"), body, hop_limit=255)
    macs = (mac_of(task.ns, "eth0"), "33:33:00:00:00:01")
    send_frames(task.ns, "eth0", ethernet(macs, packet))


def foreign_routes(lab: Lab) -> list[str]:
    """Destinations in the router's table that are neither locators nor its own."""
    locators = {str(host.locator) for host in lab.hosts}
    own = {"default", str(lab.plan.router)}
    found = {
        row["dst"]
        for row in lab.router.ip_json("-6", "route")
        if not row["dst"].startswith(("fe80:", "ff00:", "multicast"))
    }
    return sorted(found - locators - own)


@dataclass(frozen=True)
class WireProof:
    """One packet, seen as it left the task, on the underlay, and as it arrived."""

    sent: Frame
    wire: Frame
    received: Frame


def follow_one_packet(lab: Lab, source: Container, target: Container) -> WireProof:
    """Send one UDP packet and catch it at three places."""
    text = b"one packet, no header added"

    def ours(frame: Frame) -> bool:
        return frame.next_header == UDP and frame.payload[8:] == text

    # The task's kernel computes the checksum itself, as there is no card that
    # would do it on the way.
    source.ns.run("ethtool", "-K", "eth0", "tx", "off")
    try:
        with (
            Capture(source.ns, "eth0", ours) as inside,
            Capture(lab.router, target.host.router_port, ours) as underlay,
            Capture(target.ns, "eth0", ours) as arrived,
        ):
            with source.ns.entered():
                sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            with sender:
                sender.sendto(text, (target.address, _PORT))
            return WireProof(
                inside.wait(lambda _: True, "packet at the sender"),
                underlay.wait(lambda _: True, "packet on the underlay"),
                arrived.wait(lambda _: True, "packet at the receiver"),
            )
    finally:
        source.ns.run("ethtool", "-K", "eth0", "tx", "on")


def spoof(lab: Lab, cheat: Container, claimed: Container, target: Container) -> bool:
    """Send a packet from one container with the source address of another.

    Returns:
        Whether it arrived. A lawful packet behind it does, so this is no guess.
    """
    texts = (b"not me", b"but me")
    gateway = gateway_mac(cheat)
    own = mac_of(cheat.ns, "eth0")
    frames = [
        udp_frame((own, gateway), (source.sir, target.sir), text)
        for source, text in zip((claimed, cheat), texts, strict=True)
    ]

    def ours(frame: Frame) -> bool:
        return frame.next_header == UDP and frame.payload[8:] in texts

    with Capture(target.ns, "eth0", ours) as arrived:
        send_frames(cheat.ns, "eth0", *frames)
        arrived.wait(lambda frame: frame.payload[8:] == texts[1], "the lawful packet")
    return any(frame.payload[8:] == texts[0] for frame in arrived.frames)


def gateway_mac(container: Container) -> str:
    """Hardware address of a container's next hop."""
    (row,) = container.ns.ip_json("-6", "neigh", "show", "fe80::1", "dev", "eth0")
    return str(row["lladdr"])


@dataclass(frozen=True)
class PathMtu:
    """What a sender learned about a narrow link.

    Attributes:
        learned: path MTU in its route, bytes.
        report: of a TCP transfer over the narrow link.
        too_long: whether a packet above the MTU, not to be fragmented, was answered.
        fits: whether one of exactly the MTU was.
    """

    learned: int
    report: TransferReport
    too_long: bool
    fits: bool


def narrow_link(lab: Lab, source: Container, target: Container, mtu: int) -> PathMtu:
    """Make the router's link to the target's host narrow, and see what happens."""
    port = target.host.router_port
    source.ns.ip("-6", "route", "flush", "cache")
    lab.router.ip("link", "set", port, "mtu", str(mtu))
    try:
        dont_fragment = ("-M", "do")
        full = lab.plan.mtu - 48
        too_long = ping(source.ns, target.address, size=full, wait=1, options=dont_fragment)
        learned = until(lambda: path_mtu(source.ns, target.address), "path MTU in the route")
        fits = ping(source.ns, target.address, size=mtu - 48, options=dont_fragment)
        source.ns.ip("-6", "route", "flush", "cache")
        # TCP has to find out by itself, in the middle of super-packets.
        report = transfer(source.ns, target.ns, target.address, 4 << 20)
    finally:
        lab.router.ip("link", "set", port, "mtu", str(lab.plan.mtu))
        source.ns.ip("-6", "route", "flush", "cache")
    return PathMtu(learned, report, too_long, fits)


def path_mtu(ns: Namespace, destination: str) -> int:
    """Path MTU that a namespace has learned for a destination; 0 = none."""
    (row,) = ns.ip_json("-6", "route", "get", destination)
    metrics = row.get("metrics", [{}])[0]
    return int(metrics.get("mtu", 0))


@dataclass(frozen=True)
class MoveReport:
    """What a move cost those who talked to the task meanwhile.

    Attributes:
        tcp: the transfer that ran through it.
        udp: the numbered stream that ran through it.
        drops: packets that ilax dropped on all hosts meanwhile, by reason.
        bytes_after: bytes that arrived over the old connection after the move.
    """

    tcp: TransferReport
    udp: StreamReport
    drops: Counter[str]
    bytes_after: int

    @property
    def lost_unseen(self) -> int:
        """UDP packets that ilax did not drop and the sender's kernel did not refuse.

        They had been delivered, and died with the device's queue.
        """
        seen = self.drops.total() + self.udp.refused
        return max(0, len(self.udp.lost) - seen)


def move_under_load(
    lab: Lab,
    task: Container,
    target: Host,
    tcp_peer: Container,
    udp_peer: Container,
    options: Options | None = None,
) -> MoveReport:
    """Move a task while a TCP transfer and a UDP stream run to it."""
    before = drops(lab)
    with (
        Transfer(tcp_peer.ns, task.ns, task.address, rate=25_000_000) as tcp,
        NumberedStream(udp_peer.ns, task.ns, task.address, rate=1000) as udp,
    ):
        until(lambda: tcp.received > 4 << 20 and udp.received > 200, "traffic before the move")
        rehome(lab, task, target, options)
        tcp_then, udp_then = tcp.received, udp.received
        until(
            lambda: tcp.received > tcp_then + (8 << 20) and udp.received > udp_then + 300,
            "traffic after the move",
        )
    return MoveReport(
        tcp.report(), udp.report(), drops(lab) - before, tcp.report().received - tcp_then
    )


def drops(lab: Lab) -> Counter[str]:
    """Packets dropped by ilax on all hosts so far, by reason."""
    total: Counter[str] = Counter()
    for host in lab.hosts:
        for (_, reason), packets in host.ilax.counters().items():
            if reason.startswith("drop_"):
                total[reason] += packets
    return total


def is_wire_address_of(frame: Frame, container: Container, block: IPv6Network) -> bool:
    """Whether a frame goes to a container's host, under a neutral identifier."""
    locator = container.host.locator
    same_sum = _words(frame.destination.packed) == _words(container.sir.packed)
    return frame.destination in locator and locator.subnet_of(block) and same_sum


def _words(address: bytes) -> int:
    """One's-complement sum of the words of an address: what checksums see."""
    total = sum(int.from_bytes(address[i : i + 2], "big") for i in range(0, 16, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
