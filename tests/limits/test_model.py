# SPDX-License-Identifier: Apache-2.0
"""Random limits, levels and packets: each fate is the one that the model foretells."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from limits.timed import START, Timed
from model.limit import Action, Fate, Limits, Queue, Rules

CASES = int(os.environ.get("ILAX_CASES", "1000")) // 10

times_ns = st.sampled_from((0, 1, 999, 20_000, 500_000, 1_000_000, 4_000_000, 1_000_000_000))
rates = st.sampled_from((1, 5, 13, 64, 1000, 65_536, 524_288, 10**9)).map(lambda cost: cost << 10)


@st.composite
def rules(draw: st.DrawFn, parents: tuple[int, ...] = ()) -> Rules:
    return Rules(
        byte_cost=draw(st.one_of(st.just(0), rates)),
        packet_cost=draw(st.sampled_from((0, 0, 64, 1_280_000, 64_000_000))),
        burst=draw(times_ns),
        mark=draw(times_ns),
        drop=draw(times_ns),
        small=draw(times_ns),
        action=draw(st.sampled_from(Action)),
        parents=parents,
        nested=draw(st.booleans()),
    )


@st.composite
def trees(draw: st.DrawFn) -> dict[int, Rules]:
    """A chain of up to five levels, the leaf first, and a leaf beside it."""
    above = tuple(range(3, 3 + draw(st.integers(0, 4))))
    limits = {1: draw(rules(above)), 2: draw(rules(above[draw(st.integers(0, len(above))) :]))}
    for at, slot in enumerate(above):
        limits[slot] = draw(rules(above[at + 1 :]))
    return limits


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """(ns since the last one, leaf, bytes), of up to two lengths."""
    gaps = st.one_of(st.integers(0, 100_000), times_ns)
    frames = st.sampled_from(
        draw(st.lists(st.sampled_from((60, 64, 128, 129, 512, 1514)), min_size=1, max_size=2))
    )
    packets = st.tuples(gaps, st.sampled_from((1, 2)), frames)
    return draw(st.lists(packets, min_size=1, max_size=200))


@settings(
    max_examples=max(CASES, 1),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(  # a parent refuses what this CPU was not yet known to charge
    tree={
        1: Rules(0, 64, 0, 0, 0, 1, Action.MARK, (3,)),
        2: Rules(0, 0, 0, 0, 0, 0, Action.DROP, (3,)),
        3: Rules(0, 1_280_000, 0, 0, 0, 20_000, Action.DROP, ()),
    },
    packets=[(0, 2, 60), (0, 1, 60), (20_000, 1, 60)],
)
@given(tree=trees(), packets=arrivals())
def test_each_fate_is_the_models(
    timed: Timed, tree: dict[int, Rules], packets: list[tuple[int, int, int]]
) -> None:
    timed.use(tree)
    model = Limits({slot: Queue(row) for slot, row in tree.items()})
    gaps, leaves, frames = zip(*packets, strict=True)
    when = np.cumsum(gaps).astype(np.uint64)
    fates = timed.run(when, np.array(frames, np.uint32), target=np.array(leaves, np.uint32))
    expected = [
        model.police(leaf, START + int(at), frame)
        for at, leaf, frame in zip(when, leaves, frames, strict=True)
    ]
    assert [Fate(int(fate)) for fate in fates] == expected
    for slot, queue in model.queues.items():
        counted = timed.policed(slot)
        assert counted["passed_packets"] == queue.passed
        assert counted["dropped_packets"] == queue.dropped
        assert counted["marked_packets"] == queue.marked
