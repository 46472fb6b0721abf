# SPDX-License-Identifier: Apache-2.0
"""Live frames: the kernel runs an XDP program again and again, and sends what it makes.

Each packet is written anew by bpf/spray.bpf.c. All of it happens on the core of the
caller, as does the work of whoever receives from a veth.

A frame and what the kernel puts before and behind it share a page, so there is an
upper limit (`LARGEST`). Larger ones would need fragments, which the kernel refuses
for live frames, also in 6.18 (net/bpf/test_run.c: "disallow live data mode for jumbo
frames").
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
import threading
from collections.abc import Iterator
from typing import Self

import numpy as np

from ilax.bpf import Map, Program
from ilax.bpf.program import LIVE_FRAMES
from ilax.errors import SystemCallError
from ilax_perf import objects
from ilax_perf.generate import frames, sequence
from ilax_perf.generate.generator import GeneratorError, Sent
from ilax_perf.generate.links import Device
from ilax_perf.generate.traffic import FIRST_PORT, Traffic

# Bytes of a frame, with pages of 4 KiB: 3408 on Linux 6.18, less before.
LARGEST = 3328
_MOST_RUNS = 0x7FFFFFFF
# Intervals of the program have 1/64 ns.
_TICKS = 64_000_000_000
_SPRAY = struct.Struct("=64sQQQQIHHQQQII")
# Seconds that the kernel may take to begin, and that we look again after.
_MARGIN = 0.05
# Seconds from one signal to the next, should the first come before the run.
_AGAIN = 0.01


class Spray:
    """The program, with one traffic. Use `Spray.make()`."""

    def __init__(self, program: Program, plan: Map, destinations: int, traffic: Traffic) -> None:
        self._program, self._plan = program, plan
        self._destinations, self._traffic = destinations, traffic

    @classmethod
    @contextlib.contextmanager
    def make(cls, traffic: Traffic) -> Iterator[Self]:
        """Draw the destinations, and load the program for as long as the context lasts."""
        rows = sequence.addresses(traffic)
        with objects.own("spray", sizes={"perf_sequence": len(rows)}) as loaded:
            keys = np.arange(len(rows), dtype="<u4")[:, np.newaxis].view(np.uint8)
            loaded.maps["perf_sequence"].update_batch(keys, rows)
            yield cls(loaded.programs["perf_spray_next"], loaded.maps["perf_spray"],
                      len(rows), traffic)  # fmt: skip

    def burst(self, index: int, count: int) -> float:
        """Send as fast as possible, whatever the traffic's rate and end are.

        It begins with the first destination. The receiver's work is done in between,
        before this returns.

        Args:
            index: of a device in the network namespace of this thread.
            count: packets.

        Returns:
            Nanoseconds for each packet, by the kernel's clock; see
            `repeated.Repeater.burst`.
        """
        self._plan.update(objects.ONLY, self._row(0, 0, 0))
        return run(self._program, self._traffic.size, index, count)

    def run(self, index: int) -> Sent:
        """Send the traffic; only the main thread may."""
        traffic = self._traffic
        time = round((traffic.seconds or 0) * 1e9)
        interval = round(_TICKS / traffic.rate) if traffic.rate else 0
        self._plan.update(objects.ONLY, self._row(traffic.total or 0, time, interval))
        if traffic.rate is None and traffic.count is not None:
            for at in range(0, traffic.count, _MOST_RUNS):
                run(self._program, traffic.size, index, min(_MOST_RUNS, traffic.count - at))
            return self.sent()
        wait = _MARGIN + (traffic.expected_seconds or 0)
        while not self._is_over():
            with _interrupted_after(wait), _interruption():
                run(self._program, traffic.size, index, _MOST_RUNS)
            wait = _MARGIN
        return self.sent()

    def sent(self) -> Sent:
        """What has been sent since the last beginning."""
        packets, start, last = self._read()[8:11]
        return Sent(packets, (last - start) / 1e9)

    def _is_over(self) -> bool:
        row = self._read()
        return 0 < row[1] <= row[8]

    def _read(self) -> tuple[int, ...]:
        return _SPRAY.unpack(self._plan.lookup(objects.ONLY) or bytes(_SPRAY.size))

    def _row(self, count: int, time: int, interval: int) -> bytes:
        """struct spray of bpf/spray.bpf.c, before the first packet."""
        traffic = self._traffic
        total = frames.constant_sum(traffic)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        # The program adds words as they lie in memory.
        native = int.from_bytes(total.to_bytes(2, "big"), "little")
        return _SPRAY.pack(
            *(frames.template(traffic), count, time, interval, native),
            *(self._destinations, FIRST_PORT, traffic.flows, 0, 0, 0, 0, 0),
        )


class LiveFrames:
    """The generator; see the module."""

    name = "live-frames"

    def why_not(self, device: str, traffic: Traffic) -> str | None:
        """Why it cannot send this, or None."""
        if traffic.size > LARGEST:
            return (
                f"frames of {traffic.size} bytes: live frames have {LARGEST} at most, "
                "as the kernel makes none of several fragments"
            )
        if not objects.path("spray").exists():
            return "its program is not compiled: `make perf-objects`"
        if os.geteuid():
            return "it loads a BPF program: that needs root"
        if threading.current_thread() is not threading.main_thread():
            return "it is ended by signals, which only the main thread gets"
        return Device.find(device).why_not(traffic.packet_size)

    def run(self, device: str, traffic: Traffic) -> Sent:
        """Send, on the core where this thread is."""
        found = Device.find(device)
        before = found.sent()
        with Spray.make(traffic) as spray:
            sent = spray.run(found.index)
        if found.kind == "veth" and sent.packets and found.sent() == before:
            raise GeneratorError(
                f"{device} took none of {sent.packets} live frames",
                hint="the other end of a veth takes them only while it is up and has GRO or an "
                "XDP program: `ethtool -K PEER gro off`, then `gro on`; or use --by packet-socket",
            )
        return sent


def run(program: Program, size: int, index: int, count: int) -> float:
    """Run a program that sends live frames of one size.

    Args:
        program: it returns XDP_TX.
        size: of a frame, in bytes.
        index: of the device, in the network namespace of this thread.
        count: runs.

    Returns:
        Nanoseconds for each run.
    """
    # struct xdp_md: the packet's length and the device it seems to come from
    context = struct.pack("=6I", 0, size, 0, index, 0, 0)
    done = program.test_run(bytes(size), ctx=context, repeat=count, flags=LIVE_FRAMES)
    # The kernel cuts off the fraction.
    return done.duration_ns + 0.5


@contextlib.contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """A signal interrupts system calls after some time, again and again."""
    old = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-4), _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def _interruption() -> Iterator[None]:
    """An interrupted run is one that is over."""
    try:
        yield
    except SystemCallError as error:
        if error.errno != errno.EINTR:
            raise
