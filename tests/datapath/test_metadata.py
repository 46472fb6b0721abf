# SPDX-License-Identifier: Apache-2.0
"""XDP metadata: how much of other programs' stands before ours has no room."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datapath import packets as p
from datapath import plan
from datapath.plan import CBIT, PLAN
from datapath.world import Packet, World, verdict_code
from ilax.errors import SystemCallError
from model import Hook, process

HEADROOM = 256


@pytest.mark.parametrize("tags", [(), (0x81000005,)], ids=["untagged", "tagged"])
def test_without_room_the_packet_is_left_to_tc(world: World, tags: tuple[int, ...]) -> None:
    """The limit differs between kernels (32 bytes until 6.x, then the headroom)."""
    data = p.ether(p.tcp()(CBIT.here(plan.STACK_TASK), 64), tags=tags)
    seen = []
    for length in range(0, HEADROOM, 4):
        packet = Packet(data, metadata=b"m" * length)
        try:
            result = world.run(Hook.XDP, packet)
        except SystemCallError:
            break  # more than the kernel lets anybody have
        ((_, reason),) = result.counted
        seen.append(reason)
        room = 8 if reason == "SEND_META" else 0
        frame = replace(packet.frame(Hook.XDP), metadata_room=room)
        expected = process(Hook.XDP, PLAN, frame)
        assert reason == expected.reason
        assert result.code == verdict_code(Hook.XDP, reason)
        assert result.data == expected.data
        assert result.handover == expected.handover
        assert result.traffic == expected.traffic
    fit = seen.count("SEND_META")
    assert fit > 24 // 4
    assert seen[fit:], "the kernel's limit was not reached"
    assert set(seen[:fit]) == {"SEND_META"}
    assert set(seen[fit:]) == {"PASS_NO_METADATA"}
