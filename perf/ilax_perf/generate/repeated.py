# SPDX-License-Identifier: Apache-2.0
"""One ready-made frame again and again: the cheapest traffic there is.

Headers are written anew for every packet here, too: a copy of a length that the
compiler knows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Self

from ilax.bpf import Map, Program
from ilax_perf import objects
from ilax_perf.generate import live_frames


class Repeater:
    """Sends frames of some lengths. Use `Repeater.make()`."""

    def __init__(self, programs: Mapping[str, Program], frame: Map) -> None:
        self._programs = programs
        self._frame = frame

    @classmethod
    @contextlib.contextmanager
    def make(cls) -> Iterator[Self]:
        """Load it for as long as the context lasts."""
        with objects.own("generator") as loaded:
            yield cls(loaded.programs, loaded.maps["perf_frame"])

    def burst(self, index: int, frame: bytes, count: int) -> float:
        """Send `count` frames.

        The receiver's work is done in between, before this returns.

        Args:
            index: of a veth, in the network namespace of this thread.
            frame: of a length that bpf/generator.bpf.c has a program for.
            count: how many.

        Returns:
            Nanoseconds for each frame, by the kernel's clock. It stands while
            the kernel prepares the run (which waits for all CPUs, so our own
            clock would mostly see that) and while others have the core.
        """
        program = self._programs[f"perf_generate_{len(frame)}"]
        self._frame.update(objects.ONLY, frame.ljust(self._frame.value_size, b"\0"))
        return live_frames.run(program, len(frame), index, count)
