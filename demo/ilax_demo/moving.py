# SPDX-License-Identifier: Apache-2.0
"""The chapter in which a task moves to another host while others talk to it."""

from __future__ import annotations

from ilax_demo.report import Report
from lab import probes, scenarios
from lab.topology import Lab


def move(report: Report, lab: Lab) -> None:
    """Move a task, and say what it cost."""
    task, target = lab.containers[2], lab.hosts[2]
    origin, peer, other = task.host, lab.containers[0], lab.containers[1]
    report.say(
        f"{task.name} moves from {origin.name} to {target.name} with its namespace, while "
        f"{peer.name} sends it a file by TCP and {other.name} numbered UDP packets:"
    )
    with report.commands(lab):
        found = scenarios.move_under_load(lab, task, target, peer, other)

    tcp, udp = found.tcp, found.udp
    report.check(
        "move.tcp_finished",
        tcp.error is None and tcp.same_content and tcp.received == tcp.sent,
        tcp.received,
        f"the TCP connection survived: {tcp.received / 1e6:.1f} MB arrived, of which "
        f"{found.bytes_after / 1e6:.1f} MB after the move; content and SHA-256 are the same",
    )
    report.check(
        "move.udp_resumed",
        udp.received > 0 and udp.sent - 1 not in udp.lost and not udp.corrupt,
        udp.received,
        f"the UDP stream went on: {udp.received} of {udp.sent} packets arrived",
    )
    rows = [
        ("move.tcp_retransmits", tcp.retransmits, "TCP segments sent again"),
        ("move.tcp_gap_ms", round(tcp.longest_gap * 1000), "ms without a byte of TCP"),
        ("move.udp_gap_ms", round(udp.longest_gap * 1000), "ms without a packet of UDP"),
        ("move.udp_lost", len(udp.lost), "numbered UDP packets lost"),
    ]
    report.say("what was lost in the move:")
    for name, value, text in rows:
        report.check(name, True, value, f"{value:7} {text}")
    report.check(
        "move.drops_by_reason",
        # What was lost has been counted, unless it was on its last step already.
        found.lost_unseen <= 16,
        dict(found.drops),
        "dropped, by reason: "
        + (", ".join(f"{reason} {n}" for reason, n in found.drops.items()) or "nothing"),
    )
    hops = probes.traceroute(peer.ns, task.address)
    report.check(
        "move.new_path",
        len(hops) == 4 and hops[2] == str(target.address) and hops[3] == task.address,
        hops,
        f"traceroute from {peer.name} to {task.name} goes through {target.name} now",
    )
    back = probes.ping(task.ns, peer.address)
    report.check("move.both_ways", back, back, f"ping from {task.name} to {peer.name}")
