# SPDX-License-Identifier: Apache-2.0
"""Histories, and the lines they are drawn as."""

from __future__ import annotations

import numpy as np
import pytest

from ilax.watching.history import History
from ilax.watching.sparkline import ASCII, BLOCKS, sparkline


def test_a_history_keeps_the_newest_values_of_each_series() -> None:
    history = History(3, 2)
    assert history.of(1) == []
    for value in range(5):
        history.add(np.array([value, 10 * value]))
    assert history.of(0) == [2, 3, 4]
    assert history.of(1) == [20, 30, 40]


@pytest.mark.parametrize("levels", [BLOCKS, ASCII])
def test_zero_is_blank_and_the_largest_is_full(levels: str) -> None:
    line = sparkline([0, 1e-9, 50, 100], 4, levels)
    assert line[0] == levels[0] == " "
    assert line[1] == levels[1]
    assert line[3] == levels[-1]
    assert levels.index(line[1]) < levels.index(line[2]) < levels.index(line[3])


def test_a_line_is_as_wide_as_asked_for() -> None:
    assert sparkline([], 4) == "    "
    assert sparkline([0, 0], 4) == "    "
    assert sparkline(list(range(100)), 4)[-1] == "█"
    assert len(sparkline([1, 2], 7)) == len(sparkline([1] * 9, 7)) == 7
