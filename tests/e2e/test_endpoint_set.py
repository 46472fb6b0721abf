# SPDX-License-Identifier: Apache-2.0
"""`endpoint set` under traffic."""

from __future__ import annotations

from lab import operator
from lab.operator import Options
from lab.topology import Lab
from lab.udp import NumberedStream, assert_unharmed, still_flowing

CHANGES = 10


def test_delivery_changes_while_packets_pass(bare: Lab) -> None:
    """Also those that have read the row of before."""
    operator.bring_up(bare, Options(delivery="xdp"))
    source, target = (host.containers[0] for host in bare.hosts)
    ilax = target.host.ilax
    before = ilax.counters()
    with NumberedStream(source.ns, target.ns, target.address) as stream:
        still_flowing(stream)
        for delivery in ("stack", "xdp") * CHANGES:
            ilax("endpoint", "set", target.address, "--delivery", delivery)
        still_flowing(stream)
    assert_unharmed(stream)
    after = ilax.counters()
    for way in (("xdp_ingress", "send_xdp"), ("uplink_ingress", "send_handover")):
        assert after.get(way, 0) > before.get(way, 0)
