# SPDX-License-Identifier: Apache-2.0
"""A history as a line of text."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*#%@"


def sparkline(values: Sequence[float], width: int, levels: str = BLOCKS) -> str:
    """The last `width` values, the newest at the right end; the largest is full.

    Args:
        values: none below 0. Zero is blank, and whatever is above it is seen.
        width: characters of the result.
        levels: one character for each height, the lowest for zero.
    """
    shown = values[-width:]
    top = max(shown, default=0) or 1
    highest = len(levels) - 1
    line = "".join(levels[-int(-value * highest // top)] for value in shown)
    return line.rjust(width)
