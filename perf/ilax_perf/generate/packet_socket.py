# SPDX-License-Identifier: Apache-2.0
"""A packet socket: what every device takes, at a few hundred thousand packets a second.

Frames are made by numpy, some hundred at a time, and sent one system call each.
"""

from __future__ import annotations

import errno
import os
import socket
import time

import numpy as np

from ilax_perf.generate import frames, sequence
from ilax_perf.generate.generator import GeneratorError, Sent
from ilax_perf.generate.links import Device
from ilax_perf.generate.traffic import Addresses, Traffic

_BATCH = 256
_BUFFER = 4 << 20  # bytes that may wait in the device's queue
_LONGEST_SLEEP = 0.01


class PacketSocket:
    """The generator; see the module."""

    name = "packet-socket"

    def why_not(self, device: str, traffic: Traffic) -> str | None:
        """Why it cannot send this, or None."""
        if os.geteuid():
            return "a packet socket needs root"
        return Device.find(device).why_not(traffic.packet_size)

    def run(self, device: str, traffic: Traffic) -> Sent:
        """Send."""
        to = sequence.addresses(traffic)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            out.bind((device, 0))
            return _send(out, traffic, to)


def _send(out: socket.socket, traffic: Traffic, to: Addresses) -> Sent:
    total = traffic.total or float("inf")
    done = 0
    last = start = time.monotonic()
    end = start + (traffic.seconds or float("inf"))
    over = False
    while done < total and not over:
        now = time.monotonic()
        # What was due while we slept is sent, unless there is no rate.
        over = now >= end
        if over and traffic.rate is None:
            break
        due = total if traffic.rate is None else min(total, 1 + int((now - start) * traffic.rate))
        if due <= done:
            assert traffic.rate is not None
            time.sleep(min(_LONGEST_SLEEP, max(0.0, start + done / traffic.rate - now)))
            continue
        number = np.arange(done, done + int(min(_BATCH, due - done)))
        rows = to.take(number, axis=0, mode="wrap")
        for frame in frames.build(traffic, rows, done):
            _send_one(out, frame.tobytes())
        done += len(rows)
        last = time.monotonic()
    return Sent(done, last - start)


def _send_one(out: socket.socket, frame: bytes) -> None:
    while True:
        try:
            out.send(frame)
        except OSError as error:
            # The device's queue is full; it empties by itself.
            if error.errno == errno.ENOBUFS:
                continue
            name = out.getsockname()[0]
            raise GeneratorError(
                f"{name} took no frame of {len(frame)} bytes: {error.strerror}"
            ) from error
        return
