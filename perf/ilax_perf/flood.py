# SPDX-License-Identifier: Apache-2.0
"""The paced generator: streams of frames, each at its own rate, by bpf/flood.bpf.c."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from ilax.contract.tables import index_key
from ilax_perf import objects
from ilax_perf.programs import Place, Running, path
from lab.wait import until

_HEADER = 64
_MOST_STREAMS = 64
# Times of the program have 1/64 ns.
_TICKS = 64_000_000_000

_STREAM = struct.Struct(f"={_HEADER}sQQQ")
_PROGRESS = struct.Struct("=QQQ")
_TURN = struct.Struct("=II")


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of equal frames.

    Attributes:
        frame: all of it, with zeros after the first 64 bytes.
        rate: frames in a second, or None for as many as the core can send.
        latest: seconds. What the core is late with is made up for at once, as fast
            as it can, but for no more than this: a wire does not do that at all.
    """

    frame: bytes
    rate: float | None
    latest: float = 1e-3


class Flood:
    """A generator. Use `Flood.make()`."""

    def __init__(self, loaded: objects.Loaded) -> None:
        self._program = loaded.programs["perf_flood"]
        self._streams = loaded.maps["perf_streams"]
        self._progress = loaded.maps["perf_progress"]
        self._turn = loaded.maps["perf_turn"]

    @classmethod
    @contextlib.contextmanager
    def make(cls) -> Iterator[Self]:
        """Load it for as long as the context lasts."""
        with objects.own("flood") as loaded:
            yield cls(loaded)

    @contextlib.contextmanager
    def sending(
        self,
        place: Place,
        device: str,
        streams: Sequence[Stream],
        seconds: float,
        *,
        batch: int = 64,
    ) -> Iterator[Running]:
        """Send out of a device; the context begins when it has begun.

        It stops after `seconds`, or with the context. Without streams the core is
        as busy as with some, and nothing is sent.

        Args:
            place: where it runs; receiving is done on the same core.
            device: in the namespace of `place`, a veth.
            streams: what is sent.
            seconds: how long.
            batch: frames, due or not, between two looks at the other end.
        """
        assert len(streams) <= _MOST_STREAMS
        longest = max((len(stream.frame) for stream in streams), default=_HEADER)
        for number, stream in enumerate(streams):
            interval = round(_TICKS / stream.rate) if stream.rate else 0
            cut, latest = longest - len(stream.frame), round(_TICKS * stream.latest)
            row = _STREAM.pack(stream.frame[:_HEADER], interval, cut, latest)
            self._streams.update(index_key(number), row)
            self._progress.update(index_key(number), bytes(_PROGRESS.size))
        self._turn.update(objects.ONLY, _TURN.pack(0, len(streams)))
        words = [path("flood"), str(self._program.fd), device]
        words += [str(longest), str(batch), f"{seconds:g}"]
        with Running.start(place, words, keep=[self._program.fd]) as running:

            def begun() -> bool:
                running.still_runs()
                return not streams or self.sent(0) > 0

            until(begun, "first frame", interval=0.002)
            yield running

    def sent(self, stream: int) -> int:
        """Frames of a stream so far."""
        raw = self._progress.lookup(index_key(stream)) or bytes(_PROGRESS.size)
        sent: int = _PROGRESS.unpack(raw)[1]
        return sent

    def behind(self, stream: int) -> float:
        """Seconds of a stream that were left out because the core was too busy."""
        raw = self._progress.lookup(index_key(stream)) or bytes(_PROGRESS.size)
        missed: int = _PROGRESS.unpack(raw)[2]
        return missed / _TICKS
