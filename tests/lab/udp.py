# SPDX-License-Identifier: Apache-2.0
"""A stream of numbered UDP packets, and what became of each of them."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from lab.netns import Namespace
from lab.wait import until

_HEADER = struct.Struct("!QQ")
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 8 << 20


@dataclass(frozen=True)
class StreamReport:
    """What a stream saw.

    Attributes:
        sent: packets that were numbered.
        refused: of these, the kernel took none because it had no route.
        received: different numbers that arrived.
        duplicates: numbers that arrived again.
        corrupt: packets with a content that was not sent.
        longest_gap: seconds between two arrivals, at most.
        lost: the numbers that never arrived.
    """

    sent: int
    refused: int
    received: int
    duplicates: int
    corrupt: int
    longest_gap: float
    lost: tuple[int, ...] = field(repr=False)


class NumberedStream:
    """Sends numbered packets from one namespace to another while the context lasts.

    Args:
        sender: namespace that sends.
        receiver: namespace that receives.
        destination: address of the receiver.
        rate: packets in a second.
        size: bytes of UDP payload, 16 at least.
        port: of the receiver.
    """

    def __init__(
        self,
        sender: Namespace,
        receiver: Namespace,
        destination: str,
        *,
        rate: int = 1000,
        size: int = 256,
        port: int = 7007,
    ) -> None:
        self._interval = 1 / rate
        self._filler = bytes(range(256)) * (size // 256 + 1)
        self._filler = self._filler[: size - _HEADER.size]
        self._target = (destination, port)
        self._receiver_ns, self._sender_ns = receiver, sender
        self._stop = threading.Event()
        self._sent = self._refused = self._duplicates = self._corrupt = 0
        self._arrivals: dict[int, float] = {}
        self._report: StreamReport | None = None

    @property
    def received(self) -> int:
        """Packets that have arrived so far."""
        return len(self._arrivals)

    @property
    def sent(self) -> int:
        """Packets that have been numbered so far."""
        return self._sent

    def report(self) -> StreamReport:
        """The result; only after the context has ended."""
        assert self._report is not None
        return self._report

    def __enter__(self) -> Self:
        with self._receiver_ns.entered():
            self._in = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        # Not bound to an address, which may leave and come back meanwhile.
        self._in.bind(("::", self._target[1]))
        self._in.settimeout(0.05)
        with self._sender_ns.entered():
            self._out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._threads = [
            threading.Thread(target=self._send, daemon=True),
            threading.Thread(target=self._receive, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._out.close()
        self._in.close()
        times = sorted(self._arrivals.values())
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        self._report = StreamReport(
            sent=self._sent,
            refused=self._refused,
            received=len(self._arrivals),
            duplicates=self._duplicates,
            corrupt=self._corrupt,
            longest_gap=max(gaps, default=0.0),
            lost=tuple(n for n in range(self._sent) if n not in self._arrivals),
        )

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            packet = _HEADER.pack(self._sent, time.monotonic_ns()) + self._filler
            try:
                self._out.sendto(packet, self._target)
            except OSError:
                self._refused += 1
            self._sent += 1
            # What a busy machine has delayed is not sent in a burst afterwards.
            due = max(due + self._interval, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        """Until all has arrived, or nothing does any more after the last was sent."""
        sending, quiet = self._threads[0], 0
        while quiet < 10:
            # Not as soon as it shall stop: one packet may still be on its way out.
            ended = not sending.is_alive()
            if ended and len(self._arrivals) == self._sent:
                return
            try:
                packet = self._in.recv(65536)
            except TimeoutError:
                quiet += ended
                continue
            quiet = 0
            number, _ = _HEADER.unpack_from(packet)
            if packet[_HEADER.size :] != self._filler:
                self._corrupt += 1
            elif number in self._arrivals:
                self._duplicates += 1
            else:
                self._arrivals[number] = time.monotonic()


def exchange(
    sender: Namespace, receiver: Namespace, destination: str, count: int, *, size: int = 256
) -> StreamReport:
    """Send `count` packets or a few more, of `size` bytes, and wait for them."""
    with NumberedStream(sender, receiver, destination, rate=4000, size=size) as stream:
        until(lambda: stream.sent >= count, f"{count} packets sent")
    return stream.report()


def still_flowing(*streams: NumberedStream) -> None:
    """Wait until each stream has received some more."""
    then = [stream.received for stream in streams]
    until(
        lambda: all(s.received > before + 50 for s, before in zip(streams, then, strict=True)),
        "traffic in the end",
    )


def assert_unharmed(*streams: NumberedStream) -> None:
    """Nothing of streams that have ended was lost, doubled or changed."""
    for stream in streams:
        report = stream.report()
        assert (report.lost, report.duplicates, report.corrupt) == ((), 0, 0)
