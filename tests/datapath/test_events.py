# SPDX-License-Identifier: Apache-2.0
"""Sampling of drops: all are counted, few are told, none is held up."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from datapath import packets as p
from datapath import plan
from datapath.plan import CBIT
from datapath.world import XDP_ACTIONS, Packet, World
from ilax.contract import schema
from model import Hook

UNKNOWN = p.ether(p.tcp()(CBIT.here(plan.UNKNOWN), 64))
REASON = "DROP_UNKNOWN_IDENTIFIER"
FLOOD = 10_000


def _counter(world: World, hook: Hook) -> tuple[bytes, np.ndarray]:
    reasons = schema.enum("ilax_reason")
    index = int(hook) * reasons["ILAX_REASON_COUNT"] + reasons[f"ILAX_{REASON}"]
    key = struct.pack("<I", index)
    raw = world.maps["ilax_counters"].lookup(key) or b""
    return key, np.frombuffer(raw, schema.dtype("ilax_counter")).copy()


@pytest.mark.parametrize("hook", [Hook.XDP, Hook.UPLINK_IN], ids=lambda hook: hook.name.lower())
def test_a_flood_is_counted_and_hardly_sampled(world: World, hook: Hook) -> None:
    world.expect_event(hook, REASON)
    world.flood(hook, UNKNOWN, FLOOD)
    _, counter = _counter(world, hook)
    events = world.drain()
    assert counter["packets"].sum() == FLOOD
    assert counter["bytes"].sum() == FLOOD * len(UNKNOWN)
    # One in a tick of the kernel's clock: thousands of packets fall into each.
    assert 1 <= len(events) <= FLOOD // 20
    assert counter["sampled"].sum() == len(events)
    assert counter["lost"].sum() == 0


def test_a_full_ring_loses_events_but_no_verdicts(world: World) -> None:
    world.expect_event(Hook.XDP, REASON)
    counters = world.maps["ilax_counters"]
    ring = schema.enum("ilax_size")["ILAX_EVENTS_BYTES"]
    record = schema.dtype("ilax_event").itemsize + 8  # and the ring's own header
    room = ring // record
    for _ in range(room + 10):
        assert world.flood(Hook.XDP, UNKNOWN, 1) == XDP_ACTIONS["drop"]
        key, counter = _counter(world, Hook.XDP)
        counter["last_sample"] = 0  # pretend that the clock has ticked
        counters.update(key, counter.tobytes())
    _, counter = _counter(world, Hook.XDP)
    assert counter["packets"].sum() == room + 10
    assert 0 < counter["lost"].sum() <= 11
    assert counter["sampled"].sum() + counter["lost"].sum() == room + 10
    assert len(world.drain()) == counter["sampled"].sum()
    world.expect_event(Hook.XDP, REASON)
    world.run(Hook.XDP, Packet(UNKNOWN))
    assert len(world.drain()) == 1


def test_event_times_are_those_of_the_monotonic_clock(world: World) -> None:
    times = []
    for _ in range(3):
        world.expect_event(Hook.XDP, REASON)
        world.run(Hook.XDP, Packet(UNKNOWN))
        times += [int(event["time"]) for event in world.drain()]
    assert len(times) == 3
    assert times == sorted(times)
