# SPDX-License-Identifier: Apache-2.0
"""Several CPUs on one limit, and several limits in one row of a CPU's cache."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import pytest

from ilax.contract import schema
from limits.test_conformance import CHUNK, MBIT, byte_cost, error_of, evenly
from limits.timed import Timed
from model.limit import FRAME_OVERHEAD, Fate, Rules

CPUS = sorted(os.sched_getaffinity(0))
TWO = CPUS[:2]
NEIGHBOUR = 1 + schema.enum("ilax_size")["ILAX_CHUNK_ROWS"]  # in the same row as slot 1
RULES = Rules(byte_cost(100 * MBIT), burst=1_000_000, drop=1_000_000)

needs_two = pytest.mark.skipif(len(CPUS) < 2, reason="this machine has one CPU")


@needs_two
@pytest.mark.parametrize("frame", [64, 512])
def test_two_cpus_in_turns(timed: Timed, frame: int) -> None:
    """Ten times the limit, one packet here, the next one there."""
    limit, count = 100 * MBIT, 12_000
    rules = Rules(byte_cost(limit), burst=200_000, drop=100_000)
    timed.use({1: rules}, chunk=CHUNK)
    times = evenly(Fraction(10 * limit), frame, count)
    cpus = np.array(TWO, np.uint32)[np.arange(count) % 2]
    passes = timed.run(times, frame, cpus=cpus) != Fate.DROPPED
    wire = frame + FRAME_OVERHEAD
    if frame > 64:  # 8.4 ms of small frames are too few for half a percent
        assert abs(error_of(times, passes, frame, Fraction(limit))) <= 0.005
    when = times[passes].astype(np.int64)
    for window in (100_000, 1_000_000, 10_000_000):
        held = np.searchsorted(when, when + window) - np.arange(len(when))
        allowance = window + rules.burst + rules.drop + len(TWO) * 2 * (1 << CHUNK)
        assert held.max() * wire * 8 <= limit * allowance / 1e9 + wire * 8


@needs_two
@pytest.mark.parametrize("rate", [10 * MBIT, 1000 * MBIT, 40_000 * MBIT])
def test_two_cpus_at_once(by_kernel: Timed, rate: int) -> None:
    """As fast as they can, by the kernel's clock: the bound holds, nothing is lost."""
    frame = 64
    rules = Rules(byte_cost(rate), burst=1_000_000, drop=500_000)
    by_kernel.use({1: rules}, chunk=CHUNK)
    packets, elapsed = by_kernel.flood(TWO, frame)
    counted = by_kernel.policed(1)
    assert counted["passed_packets"] + counted["dropped_packets"] == packets
    wire = frame + FRAME_OVERHEAD
    assert counted["passed_bytes"] == counted["passed_packets"] * wire
    allowance = elapsed + rules.burst + rules.drop + len(TWO) * 2 * (1 << CHUNK)
    assert counted["passed_bytes"] * 8 <= rate * allowance / 1e9 + wire * 8
    assert counted["passed_packets"] > 0


def test_two_limits_in_one_row(timed: Timed) -> None:
    """Both keep their rates, and neither loses a count, whoever owns the row."""
    frame, limit, count = 512, 100 * MBIT, 80_000
    timed.use({1: RULES, 2: RULES}, chunk=CHUNK)
    _move(timed, 2, NEIGHBOUR)
    times = evenly(Fraction(20 * limit), frame, count)
    target = np.array([1, 2], np.uint32)[np.arange(count) % 2]
    passes = timed.run(times, frame, target=target) != Fate.DROPPED
    for index, slot in ((1, 1), (2, NEIGHBOUR)):
        mine = target == index
        assert abs(error_of(times[mine], passes[mine], frame, Fraction(limit))) <= 0.005
        counted = timed.policed(slot)
        assert counted["passed_packets"] == passes[mine].sum()
        assert counted["dropped_packets"] == mine.sum() - passes[mine].sum()


def test_an_idle_owner_gives_its_row_away(timed: Timed) -> None:
    """With what it has borrowed and counted."""
    frame, limit = 512, 100 * MBIT
    timed.use({1: RULES, 2: RULES}, chunk=CHUNK)
    _move(timed, 2, NEIGHBOUR)
    first = evenly(Fraction(limit, 2), frame, 1_000)
    assert (timed.run(first, frame, target=1) != Fate.DROPPED).all()
    later = first + first[-1] + np.uint64(1_000_000_000)
    assert (timed.run(later, frame, target=2) != Fate.DROPPED).all()
    assert timed.policed(1)["passed_packets"] == 1_000
    assert timed.policed(NEIGHBOUR)["passed_packets"] == 1_000
    owners = np.frombuffer(
        timed.maps["ilax_chunks"].lookup((1).to_bytes(4, "little")) or b"", "<u4"
    )
    assert NEIGHBOUR in owners


def test_a_slot_that_changes_hands_takes_nothing_along(timed: Timed) -> None:
    timed.use({1: RULES}, chunk=CHUNK)
    times = evenly(Fraction(200 * MBIT), 512, 2_000)
    timed.run(times, 512)
    assert timed.policed(1)["dropped_packets"] > 0
    # As the contract says: rules without cost first, then an empty backlog.
    use = 1 << schema.enum("ilax_limit_unit")["ILAX_GENERATION_SHIFT"]
    timed.write(1, Rules(0), generation=use)
    backlogs = timed.maps["ilax_backlogs"]
    backlogs.update((1).to_bytes(4, "little"), bytes(backlogs.value_bytes))
    timed.write(1, RULES, chunk=CHUNK, generation=use + 1)
    passes = timed.run(times[:10] + times[-1], 512) != Fate.DROPPED
    assert passes.all()
    assert timed.policed(1)["passed_packets"] == 10
    assert timed.policed(1)["dropped_packets"] == 0


def _move(timed: Timed, slot: int, to: int) -> None:
    """Let the endpoint of one slot have another limit of the same rules."""
    timed.write(to, RULES, chunk=CHUNK)
    endpoints = timed.maps["ilax_endpoints"]
    key = timed.maps["timed_targets"].lookup(slot.to_bytes(4, "little")) or b""
    row = np.frombuffer(endpoints.lookup(key) or b"", schema.dtype("ilax_endpoint")).copy()
    row["limit"] = to
    endpoints.update(key, row.tobytes())
