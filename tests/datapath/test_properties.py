# SPDX-License-Identifier: Apache-2.0
"""Random packets: the shipped programs do what the model does, to the byte.

ILAX_CASES says how many cases each property is tried with, all hooks together.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datapath import packets as p
from datapath import plan
from datapath import strategies as s
from datapath.plan import DOMAINS, PLAN, Domain
from datapath.test_table import ROWS
from datapath.world import Packet, World, verdict_code
from ilax.contract import schema
from model import Hook, Mapping, checksum, process

CASES = int(os.environ.get("ILAX_CASES", "1000")) // len(Hook)

# The world is the same for all cases on purpose: it keeps nothing of a packet
# but counters, and those are read before and after.
cases = settings(
    max_examples=max(CASES, 1),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
each_hook = pytest.mark.parametrize("hook", Hook, ids=lambda hook: hook.name.lower())

# Tables by which this host sends to itself over the underlay: what one hook
# rewrites, another can undo.
LOOP = replace(
    PLAN,
    mappings={
        domain.name(name): Mapping(domain.here(name))
        for domain in DOMAINS
        for name in (plan.STACK_TASK, plan.ANY_MTU_TASK)
    },
)
REASONS = {name.removeprefix("ILAX_") for name in schema.enum("ilax_reason")}


def check(world: World, hook: Hook, packet: Packet) -> None:
    outcome = process(hook, PLAN, packet.frame(hook))
    result = world.run(hook, packet)
    assert result.counted == {(hook, outcome.reason): (1, outcome.length)}
    assert outcome.reason in REASONS
    assert result.code == verdict_code(hook, outcome.reason)
    assert result.traffic == outcome.traffic
    if outcome.verdict != "drop":
        assert result.handover == outcome.handover
        assert result.tag == outcome.tag
        assert result.data.hex() == outcome.data.hex()


@each_hook
@cases
@given(data=st.data())
def test_plausible_packets(world: World, hook: Hook, data: st.DataObject) -> None:
    world.use(PLAN)
    check(world, hook, data.draw(s.plausible_frames(hook)))


@each_hook
@cases
@given(data=st.data())
def test_garbage(world: World, hook: Hook, data: st.DataObject) -> None:
    world.use(PLAN)
    seeds = [row.packet for row in ROWS if row.hook is hook and len(row.packet.data) <= 600]
    check(world, hook, data.draw(s.garbage_frames(hook, seeds)))


@each_hook
@cases
@given(data=st.data(), domain=st.sampled_from(DOMAINS), tags=st.lists(s.tags, max_size=2))
def test_a_checksum_outlives_the_way_there_and_back(
    world: World, hook: Hook, data: st.DataObject, domain: Domain, tags: list[int]
) -> None:
    """Out by one hook and in by the other that `hook` pairs with it."""
    world.use(LOOP)
    way_out, way_in = {
        Hook.XDP: (Hook.CONTAINER, Hook.XDP),
        Hook.UPLINK_IN: (Hook.CONTAINER, Hook.UPLINK_IN),
        Hook.UPLINK_OUT: (Hook.UPLINK_OUT, Hook.UPLINK_IN),
        Hook.CONTAINER: (Hook.UPLINK_OUT, Hook.XDP),
    }[hook]
    sir, wire = domain.name(plan.STACK_TASK), domain.here(plan.STACK_TASK)
    packet = data.draw(s.well_formed(st.just(p.TASK), sir))
    assert checksum.is_right(packet)

    port = plan.TASK1 if way_out is Hook.CONTAINER else plan.UPLINK
    out = world.run(way_out, Packet(p.ether(packet, port), ifindex=port))
    assert (way_out, "SEND_FORWARD") in out.counted
    on_the_wire = out.data[14:]
    assert on_the_wire[24:40] == wire
    assert checksum.is_right(on_the_wire)

    known = tuple(tag for tag in tags if tag >> 16 != p.OLD_QINQ)
    back = world.run(way_in, Packet(p.ether(on_the_wire, tags=known)))
    assert len(back.counted) == 1
    received = back.data[14:]
    assert checksum.is_right(received)
    hops = 1 + (way_out is Hook.CONTAINER)
    assert received == packet[:7] + bytes([packet[7] - hops]) + packet[8:]
