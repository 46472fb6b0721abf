# SPDX-License-Identifier: Apache-2.0
"""Rates and bursts, counted: which packets of an open-loop sender pass, and when."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from ilax import schema
from ilax.tables import index_key
from limits.timed import START, Timed
from model.limit import FRAME_OVERHEAD, NS, Action, Fate, Limits, Queue, Rules

MBIT = 1_000_000
LIMITS = (1 * MBIT, 10 * MBIT, 100 * MBIT, 1000 * MBIT)
FACTORS = (Fraction(1, 2), Fraction(11, 10), Fraction(2), Fraction(10))
FRAMES = (64, 512, 1500)
CHUNK = 14  # 16 us, what the loader chooses for a burst of 1 ms
PASSING = 4000  # packets that a cell lets through, at least
WINDOWS_MS = (1, 10, 100, 1000)

Times = NDArray[np.uint64]


def byte_cost(rate: int) -> int:
    """For a rate in bits/s."""
    return round(Fraction(64 * 1024 * 8 * 10**9, rate))


def rules_for(rate: int, frame: int, action: Action = Action.DROP) -> Rules:
    """As the loader's defaults: 1 ms, or two frames where that is longer."""
    burst = max(1_000_000, 2 * (frame + FRAME_OVERHEAD) * 8 * 10**9 // rate)
    return Rules(byte_cost(rate), burst=burst, drop=1_000_000, mark=500_000, action=action)


def evenly(rate: Fraction, frame: int, count: int) -> Times:
    """Arrival times, ns, of frames that together have a wire rate in bits/s."""
    gap = Fraction((frame + FRAME_OVERHEAD) * 8 * 10**9) / rate
    return np.array([int(gap * n) for n in range(count)], np.uint64)


def at_random(rate: Fraction, frame: int, count: int, seed: int) -> Times:
    """The same rate with exponential gaps."""
    gap = float(Fraction((frame + FRAME_OVERHEAD) * 8 * 10**9) / rate)
    random = np.random.default_rng(seed)
    return np.cumsum(random.exponential(gap, count)).astype(np.uint64)


def error_of(times: Times, passes: NDArray[np.bool_], frame: int, rate: Fraction) -> float:
    """Relative error of the passed rate over the second half, where bursts are over."""
    begin, end = times[len(times) // 2], times[-1]
    within = passes & (times > begin)
    bits = int(within.sum()) * (frame + FRAME_OVERHEAD) * 8
    return float(bits / (rate * int(end - begin) / 10**9) - 1)


def enough(limit: int, factor: Fraction, frame: int) -> int:
    """Packets in whose second half burst and backlog are used up."""
    fills = (2 * 1_000_000 + 16 * 1024) / float(factor - 1) if factor > 1 else 0
    time = float(Fraction((frame + FRAME_OVERHEAD) * 8 * 10**9) / (limit * factor))
    return max(int(2 * PASSING * max(float(factor), 1.0)), int(3 * fills / time))


each_frame = pytest.mark.parametrize("frame", FRAMES)
each_factor = pytest.mark.parametrize("factor", FACTORS, ids=lambda f: f"x{float(f):g}")
each_limit = pytest.mark.parametrize("limit", LIMITS, ids=lambda rate: f"{rate // MBIT}mbit")


@each_frame
@each_factor
@each_limit
def test_passed_rate(timed: Timed, limit: int, factor: Fraction, frame: int) -> None:
    timed.use({1: rules_for(limit, frame)}, chunk=CHUNK)
    times = evenly(limit * factor, frame, enough(limit, factor, frame))
    passes = timed.run(times, frame) != Fate.DROPPED
    if factor < 1:
        assert passes.all()
    else:
        assert abs(error_of(times, passes, frame, Fraction(limit))) <= 0.005
    counted = timed.policed(1)
    assert counted["passed_packets"] == passes.sum()
    assert counted["dropped_packets"] == len(passes) - passes.sum()
    assert counted["passed_bytes"] == passes.sum() * (frame + FRAME_OVERHEAD)


@each_frame
@each_factor
@each_limit
def test_passed_rate_of_random_arrivals(
    timed: Timed, limit: int, factor: Fraction, frame: int
) -> None:
    """Where a small burst runs empty now and then, the model says what is due."""
    rules = rules_for(limit, frame)
    chunk = CHUNK if factor >= 10 else 0
    timed.use({1: rules}, chunk=chunk)
    count = enough(limit, factor, frame) if chunk else PASSING
    times = at_random(limit * factor, frame, count, seed=limit + frame)
    fates = timed.run(times, frame)
    if chunk:
        passes = fates != Fate.DROPPED
        assert abs(error_of(times, passes, frame, Fraction(limit))) <= 0.005
        return
    model = Limits({1: Queue(rules)})
    assert fates.tolist() == [model.police(1, START + int(at), frame) for at in times]


def test_packets_a_second(timed: Timed) -> None:
    """64-byte frames at ten times 50 000 packets/s, with bits to spare."""
    rules = Rules(byte_cost(1000 * MBIT), packet_cost=64 * 20_000, burst=1_000_000, drop=0)
    timed.use({1: rules}, chunk=CHUNK)
    times = np.arange(80_000, dtype=np.uint64) * np.uint64(2_000)
    passes = timed.run(times, 64) != Fate.DROPPED
    later = passes[40_000:].sum()
    assert abs(later / 4_000 - 1) <= 0.005


def test_no_rounding_at_40_gbit(timed: Timed) -> None:
    """A 64-byte frame takes 17.6 ns there; whole nanoseconds would be 3 % off."""
    rate = 40_000 * MBIT
    timed.use({1: Rules(byte_cost(rate), burst=100_000)}, chunk=CHUNK)
    times = evenly(Fraction(2 * rate), 64, 200_000)
    passes = timed.run(times, 64) != Fate.DROPPED
    assert abs(error_of(times, passes, 64, Fraction(rate))) <= 0.005


@pytest.mark.parametrize("window_ms", WINDOWS_MS)
@each_frame
@each_limit
def test_no_window_holds_more(timed: Timed, limit: int, frame: int, window_ms: int) -> None:
    """On and off for 1 to 500 ms at a time; every window that begins with a packet."""
    rules = rules_for(limit, frame)
    timed.use({1: rules}, chunk=CHUNK)
    times = _on_and_off(limit * 8, frame, seed=window_ms)
    passes = timed.run(times, frame) != Fate.DROPPED
    when = times[passes].astype(np.int64)
    wire = frame + FRAME_OVERHEAD
    window = window_ms * 1_000_000
    held = np.searchsorted(when, when + window) - np.arange(len(when))
    allowance = window + rules.burst + rules.drop + 2 * (1 << CHUNK)
    assert held.max() * wire * 8 <= limit * allowance / 1e9 + wire * 8


def _on_and_off(rate: int, frame: int, seed: int) -> Times:
    random = np.random.default_rng(seed)
    gap = (frame + FRAME_OVERHEAD) * 8e9 / rate
    begin, parts, total = 0.0, [], 0
    while total < 100_000:
        on, off = random.uniform(1e6, 500e6, 2)
        count = min(int(on / gap) + 1, 100_000 - total)
        parts.append(begin + np.arange(count) * gap)
        total += count
        begin += on + off
    return np.concatenate(parts).astype(np.uint64)


def test_marks_come_in_runs(timed: Timed) -> None:
    """Twice the rate of ECN-capable packets: few changes between marked and not."""
    limit, frame = 100 * MBIT, 1500
    timed.use({1: rules_for(limit, frame, Action.MARK)}, chunk=CHUNK)
    # A sender that heeds marks: over the limit until marked, below it until not.
    now, times, fates = 0, [], []
    gap = (frame + FRAME_OVERHEAD) * 8 * 10**9 // limit
    for _ in range(2_000):
        times.append(now)
        (fate,) = timed.run(np.array([now], np.uint64), frame)
        fates.append(int(fate))
        now += gap * 2 if fate == Fate.MARKED else gap // 2
    marked = np.array(fates) == Fate.MARKED
    assert 0.2 < marked.mean() < 0.8
    changes = int(np.abs(np.diff(marked.astype(int))).sum())
    assert len(marked) / max(changes, 1) >= 4


def test_a_pause_ends_the_marks(timed: Timed) -> None:
    """Neither a mark of before it nor time that was borrowed then outlasts the backlog."""
    rules = Rules(
        byte_cost(10_000 * MBIT), burst=100_000, drop=1_000_000, mark=100_000, action=Action.MARK
    )
    timed.use({1: rules}, chunk=14)
    # 312 us of packets at once; then half of the rate, down to between half the threshold
    # and the threshold, where marks go on; an hour of nothing.
    flood, drain = [0] * 260, [2400 * (n + 1) for n in range(125)]
    after = [drain[-1] + 3_600 * 10**9 + 20_000 * n for n in range(20)]
    fates = timed.run(np.array(flood + drain + after, np.uint64), 1476)
    assert set(fates[len(flood) : -len(after)]) == {Fate.MARKED}
    assert set(fates[-len(after) :]) == {Fate.PASSED}


def test_what_a_parent_refuses_is_not_hoarded(timed: Timed) -> None:
    """A CPU holds one chunk at most of a limit whose parent lets nothing pass."""
    cost, chunk = byte_cost(10_000 * MBIT), 14
    nothing = Rules(1000 * cost)
    timed.use(
        {1: Rules(cost, burst=100_000, drop=1_000_000, parents=(2,)), 2: nothing}, chunk=chunk
    )
    for frames in (1, 3, 13, 40, 200):
        timed.run(np.arange(frames, dtype=np.uint64) * np.uint64(1000), 9000)
        held = timed.maps["ilax_chunks"].lookup(index_key(1)) or b""
        left = np.frombuffer(held, schema.dtype("ilax_chunk"))["left"]
        assert left.max() <= (1 << chunk) * NS


def test_a_changed_limit_keeps_its_backlog(timed: Timed) -> None:
    """Raising and lowering a rate under load lets no burst through."""
    frame, slow, fast = 512, 10 * MBIT, 20 * MBIT
    timed.use({1: rules_for(slow, frame)}, chunk=CHUNK)
    gap = (frame + FRAME_OVERHEAD) * 8 * 10**9 // (100 * MBIT)
    passed, allowed = 0, 0.0
    for turn in range(200):
        rate = fast if turn % 2 else slow
        timed.write(1, rules_for(rate, frame), chunk=CHUNK, generation=turn + 1)
        first = turn * 100
        times = np.arange(first, first + 100, dtype=np.uint64) * np.uint64(gap)
        passed += int((timed.run(times, frame) != Fate.DROPPED).sum())
        allowed += rate * 100 * gap / 1e9
    bits = passed * (frame + FRAME_OVERHEAD) * 8
    once = fast * (2_000_000 + 2 * (1 << CHUNK)) / 1e9 + 2 * (frame + FRAME_OVERHEAD) * 8
    assert 0.98 * allowed <= bits <= allowed + once
