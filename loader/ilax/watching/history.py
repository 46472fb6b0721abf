# SPDX-License-Identifier: Apache-2.0
"""The last values of many series, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class History:
    """Keeps the last `length` values of `count` series, 4 bytes each."""

    def __init__(self, length: int, count: int) -> None:
        self._rows = np.zeros((length, count), np.float32)
        self._added = 0

    def add(self, values: NDArray[Any]) -> None:
        """One more value of each series, shape (count,)."""
        self._rows[self._added % len(self._rows)] = values
        self._added += 1

    def of(self, series: int) -> list[float]:
        """Values of one series, the newest last; fewer while it is young."""
        length = len(self._rows)
        kept = range(max(0, self._added - length), self._added)
        return [float(self._rows[at % length, series]) for at in kept]
