# SPDX-License-Identifier: Apache-2.0
"""Which destination comes when: drawn beforehand, so that a packet costs one read.

Drawn with a seed: the same traffic has the same sequence each time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ilax_perf.generate.traffic import Addresses, Traffic, Uniform, Zipf

# Draws after which a Zipf sequence begins again.
DRAWS = 1 << 20
_SEED = 1


def zipf_shares(count: int, exponent: float) -> NDArray[np.float64]:
    """Of all packets, what each destination gets; shape (count,), sum 1."""
    weights: NDArray[np.float64] = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def numbers(
    count: int, distribution: Uniform | Zipf, draws: int = DRAWS, seed: int = _SEED
) -> NDArray[np.intp]:
    """Numbers of destinations, from 0, in the order of packets.

    Uniform: a permutation, so each destination comes once in `count` packets. Zipf:
    independent draws by the inverse of the cumulative distribution, which is exact
    for any exponent and number of destinations.

    Args:
        count: how many destinations there are.
        distribution: of the packets.
        draws: length of a Zipf sequence.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    if isinstance(distribution, Uniform):
        return random.permutation(count)
    upto = np.cumsum(zipf_shares(count, distribution.exponent))
    drawn = np.searchsorted(upto, random.random(draws), side="right")
    # The sum of all shares may miss 1 by a rounding.
    return np.minimum(drawn, count - 1)


def addresses(traffic: Traffic) -> Addresses:
    """Destinations in the order of packets; begins again after the last one."""
    draws = min(DRAWS, traffic.total or DRAWS)
    order = numbers(len(traffic.destinations), traffic.distribution, draws)
    return traffic.destinations.table()[order]
