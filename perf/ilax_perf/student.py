# SPDX-License-Identifier: Apache-2.0
"""Student's t distribution, as far as a comparison needs it."""

from __future__ import annotations

import math

import numpy as np

# Points of the integration; the integrand is smooth, and half of them would do.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)


def two_sided(t: float, freedom: float) -> float:
    """Probability of a value at least as far from zero as `t`.

    With u = atan(x / sqrt(freedom)) the density becomes a power of a cosine on a
    finite interval, so its tail is integrated as such and is exact also where it is
    tiny.

    Args:
        t: any finite value.
        freedom: degrees of freedom, 1 or more; need not be a whole number.
    """
    start = math.atan(abs(t) / math.sqrt(freedom))
    half = (math.pi / 2 - start) / 2
    # cos(pi/2 - v) = sin(v): no cancellation near the end.
    tail = half * float(np.dot(_WEIGHTS, np.sin(half * (_NODES + 1)) ** (freedom - 1)))
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    return min(1.0, 2 * tail * scale / math.sqrt(math.pi))
