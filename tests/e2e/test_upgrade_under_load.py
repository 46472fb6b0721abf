# SPDX-License-Identifier: Apache-2.0
"""Twenty upgrades and rollbacks under all the load that the machine can make."""

from __future__ import annotations

import socket
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

from lab import numbered, operator
from lab.capture import mac_of
from lab.numbered import End, Flood, NumberedFlow
from lab.operator import Options
from lab.scenarios import gateway_mac
from lab.tcp import Transfer
from lab.topology import UPLINK, Lab
from lab.wait import until

CHANGES = 20
# Packets of each flow between two changes, at least: a switch takes microseconds, so
# with fewer of them it could lose packets unseen.
ENOUGH = 20_000


def test_no_packet_is_lost_or_overtaken(bare: Lab, tmp_path: Path) -> None:
    """Into a container by XDP and tc, out of one by tc; TCP through both; one host changes."""
    operator.bring_up(bare, Options(xdp="native"))
    host, far = bare.hosts
    task, peer = host.containers[0], far.containers[0]
    objects = numbered.build(tmp_path)
    port = next(e for e in host.ilax.json("endpoint", "list") if e["sir"] == task.address)
    with host.ns.entered():
        device = socket.if_indextoname(port["ifindex"])
    # A veth takes the generator's frames only while the other end has GRO or XDP.
    for state in ("off", "on"):
        host.ns.run("ethtool", "-K", device, "gro", state)
    into = NumberedFlow(
        objects,
        End(bare.router, host.router_port), mac_of(host.ns, UPLINK),
        End(task.ns, "eth0"),
        (peer.sir, IPv6Address(host.ilax.wire(task.address))),
        (),
    )  # fmt: skip
    out = NumberedFlow(
        objects,
        End(task.ns, "eth0"), gateway_mac(task),
        End(bare.router, host.router_port),
        (task.sir, peer.sir),
        (End(host.ns, UPLINK),),
    )  # fmt: skip
    with Transfer(peer.ns, task.ns, task.address, rate=4_000_000) as tcp, Flood(into, out) as flood:
        until(lambda: tcp.received > 0, "TCP")
        host.ilax("upgrade", "--soak", "0")
        received = flood.received()
        for number in range(CHANGES):
            host.ilax(*(("rollback",) if number % 2 else ("upgrade", "--soak", "0")))
            # Packets since the last change, on both sides of this one.
            until(partial(_enough, flood, received), "packets between two changes", timeout=60)
            received = flood.received()
        reports = flood.stop()
    rate = sum(report.received for report in reports) / flood.seconds / 1e3
    print(f"{CHANGES} changes in {flood.seconds:.1f} s, {rate:.0f} kpps: {reports}")
    for report in reports:
        assert report.late == 0
        # What a veth had no room for is not ours: exactly known of the first, and of the
        # second together with what TCP lost there.
        lost = report.sent - report.refused - report.received
        assert 0 <= lost <= report.dropped
        assert report.received > CHANGES * ENOUGH
    assert tcp.report().error is None
    assert tcp.report().same_content


def _enough(flood: Flood, then: list[int]) -> bool:
    return all(new - old > ENOUGH for new, old in zip(flood.received(), then, strict=True))
