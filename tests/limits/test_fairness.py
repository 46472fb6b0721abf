# SPDX-License-Identifier: Apache-2.0
"""What a flood leaves to a flow of long frames: its share, whatever the lengths are.

Arrivals are at random (Poisson), so each packet finds a limit as it is on average, and
all of them are let in with the same probability: what the rate is of all that arrives.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from limits.test_conformance import CHUNK, MBIT, at_random, byte_cost
from limits.timed import Timed
from model.limit import FRAME_OVERHEAD, Fate, Rules

RATE = 100 * MBIT
VICTIM, VICTIM_RATE = 1500, 20 * MBIT
MS = 1_000_000
MOST = 200_000  # packets of a flood
LONGEST = 2.0  # seconds

FLOODS = {
    f"{frame}x{float(factor):g}": (frame, factor)
    for frame in (64, 1200)
    for factor in (Fraction(6, 5), Fraction(5))
}
each_flood = pytest.mark.parametrize(("frame", "factor"), FLOODS.values(), ids=FLOODS)
each_chunk = pytest.mark.parametrize("chunk", [0, CHUNK], ids=["no_chunk", "chunk"])


def rules(*parents: int, small: int = 0, nested: bool = False) -> Rules:
    return Rules(byte_cost(RATE), burst=MS, drop=MS, small=small, parents=parents, nested=nested)


def passed(
    timed: Timed, frame: int, factor: Fraction, victim: int, flood: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Fates of both flows, which are charged to two slots or one.

    Returns:
        Which frames of the victim passed, and which of the flood.
    """
    rate = RATE * factor
    each = float((frame + FRAME_OVERHEAD) * 8 / rate)
    count = min(MOST, int(LONGEST / each))
    victims = int(count * each * VICTIM_RATE / ((VICTIM + FRAME_OVERHEAD) * 8))
    times = np.concatenate(
        [
            at_random(Fraction(VICTIM_RATE), VICTIM, victims, seed=1),
            at_random(rate, frame, count, seed=2),
        ]
    )
    mine = np.arange(len(times)) < victims
    order = np.argsort(times, kind="stable")
    times, mine = times[order], mine[order]
    fates = timed.run(
        times,
        np.where(mine, VICTIM, frame).astype(np.uint32),
        target=np.where(mine, victim, flood).astype(np.uint32),
    )
    passes = fates != Fate.DROPPED
    return passes[mine], passes[~mine]


def least(count: int, factor: Fraction) -> float:
    """Frames that pass of `count`: their share, but for four standard deviations."""
    share = float(Fraction(RATE) / (RATE * factor + VICTIM_RATE))
    return count * share - 4 * float(np.sqrt(count * share * (1 - share)))


@each_chunk
@each_flood
def test_long_frames_within_one_limit(
    timed: Timed, frame: int, factor: Fraction, chunk: int
) -> None:
    timed.use({1: rules()}, chunk=chunk)
    victim, _ = passed(timed, frame, factor, 1, 1)
    assert int(victim.sum()) >= least(len(victim), factor)


@each_chunk
@each_flood
def test_long_frames_beside_a_flooded_sibling(
    timed: Timed, frame: int, factor: Fraction, chunk: int
) -> None:
    """What small frames have to spare counts at their own limit only."""
    timed.use({1: rules(3), 2: rules(3, small=MS // 2), 3: rules(small=MS // 2)}, chunk=chunk)
    victim, _ = passed(timed, frame, factor, 1, 2)
    assert int(victim.sum()) >= least(len(victim), factor)


@each_chunk
@each_flood
def test_long_frames_below_a_flooded_cgroup(
    timed: Timed, frame: int, factor: Fraction, chunk: int
) -> None:
    """Nor does it count at a limit that others are below."""
    timed.use({1: rules(3), 3: rules(small=MS // 2, nested=True)}, chunk=chunk)
    victim, _ = passed(timed, frame, factor, 1, 3)
    assert int(victim.sum()) >= least(len(victim), factor)
