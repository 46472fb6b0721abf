# SPDX-License-Identifier: Apache-2.0
"""The wall clock of an emulated machine, and of no other one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

# On the command line of every kernel that machine.py boots.
_EMULATED = "virtme_hostname="


def may_be_set() -> bool:
    """Whether this is a machine of our own."""
    return _EMULATED in Path("/proc/cmdline").read_text()


class WallClock:
    """Sets the clock, and knows what it would be if nobody had. Use `steppable()`."""

    def __init__(self) -> None:
        if not may_be_set():
            raise RuntimeError("this is no emulated machine; its clock is left alone")
        self._offset = time.time() - time.monotonic()

    def right(self) -> float:
        """What it should say."""
        return self._offset + time.monotonic()

    def set(self, seconds: float) -> float:
        """Set it, in seconds since 1970; returns by how much it has been moved."""
        before = time.time()
        time.clock_settime(time.CLOCK_REALTIME, seconds)
        return seconds - before


@contextlib.contextmanager
def steppable() -> Iterator[WallClock]:
    """The clock; it is right again afterwards."""
    clock = WallClock()
    try:
        yield clock
    finally:
        clock.set(clock.right())
