# SPDX-License-Identifier: Apache-2.0
"""Every length of a short packet, at every hook: where does which reason begin."""

from __future__ import annotations

import pytest

from datapath import packets as p
from datapath import plan
from datapath.plan import CBIT
from datapath.world import Packet, World, verdict_code
from model import Hook, process

SHORTEST, LONGEST = 14, 80
TAGS = ((), (0x81000005,), (0x88A80005, 0x81000006))
SENT = {
    Hook.XDP: "SEND_META",
    Hook.UPLINK_IN: "SEND_PEER",
    Hook.UPLINK_OUT: "SEND_FORWARD",
    Hook.CONTAINER: "SEND_FORWARD",
}
CUT_TAG = dict.fromkeys(Hook, "DROP_MALFORMED") | dict.fromkeys(
    (Hook.XDP, Hook.UPLINK_OUT), "PASS_MANY_TAGS"
)
BROKEN = dict.fromkeys(Hook, "PASS_MALFORMED") | {Hook.CONTAINER: "DROP_MALFORMED"}


@pytest.mark.parametrize("tags", TAGS, ids=lambda tags: f"{len(tags)}-tags")
@pytest.mark.parametrize("hook", Hook, ids=lambda hook: hook.name.lower())
def test_every_length(world: World, hook: Hook, tags: tuple[int, ...]) -> None:
    inbound = hook in (Hook.XDP, Hook.UPLINK_IN)
    ifindex = plan.TASK1 if hook is Hook.CONTAINER else plan.UPLINK
    dst = CBIT.here(plan.STACK_TASK) if inbound else CBIT.name(plan.FAR_TASK)
    whole = p.ether(p.tcp(src=p.TASK)(dst, 64), ifindex, tags)
    front = 14 + 4 * len(tags)
    for length in range(SHORTEST, LONGEST + 1):
        packet = Packet(whole[:length], ifindex=ifindex)
        reason = SENT[hook]
        if length < front:
            # All lengths have an Ethernet header, so it is a tag that was cut.
            reason = CUT_TAG[hook]
        elif length < front + 40:
            reason = BROKEN[hook]
        outcome = process(hook, plan.PLAN, packet.frame(hook))
        result = world.run(hook, packet)
        assert outcome.reason == reason, length
        assert result.counted == {(hook, reason): (1, outcome.length)}, length
        assert result.code == verdict_code(hook, reason), length
        assert result.data == outcome.data, length
