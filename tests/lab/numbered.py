# SPDX-License-Identifier: Apache-2.0
"""Numbered packets by the million, checked in the kernel; see `numbered.bpf.c`."""

from __future__ import annotations

import errno
import json
import os
import re
import struct
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Self

import build_objects
from ilax.bpf import Link, Map, Object, Program
from ilax.bpf.link import TCX_INGRESS
from ilax.bpf.program import LIVE_FRAMES
from ilax.errors import SystemCallError
from lab.capture import mac_of
from lab.netns import Namespace
from lab.packets import udp_frame

PORT = 7100
_FRAME_BYTES, _HEADER_BYTES = 72, 64
_ONLY = bytes(4)
# Of `numbered_send`: some tens of milliseconds, so that the flows take turns.
_BURST = 16384


@dataclass(frozen=True)
class End:
    """A device in a namespace."""

    ns: Namespace
    device: str


@dataclass(frozen=True)
class FlowReport:
    """What became of a flow.

    Attributes:
        sent: numbers that were given out.
        refused: of these, what the first veth had no room for: none of ours has seen them.
        dropped: packets of this and of other flows that veths further on had no room for.
        received: packets that came out.
        missing: numbers that were passed over.
        late: packets behind one with a higher number, or with the same.
    """

    sent: int
    refused: int
    dropped: int
    received: int
    missing: int
    late: int


class NumberedFlow:
    """One flow. Use within a `Flood`.

    Args:
        source: where frames leave; the device at its other end receives them.
        target: where they have to come out.
        addresses: source and destination of the packets.
        veths: devices further on whose drops are counted.
    """

    def __init__(
        self,
        objects: Path,
        source: End,
        next_mac: str,
        target: End,
        addresses: tuple[IPv6Address, IPv6Address],
        veths: tuple[End, ...],
    ) -> None:
        self._objects, self._source, self._target = objects, source, target
        self._veths = veths
        frame = udp_frame(
            (mac_of(source.ns, source.device), next_mac), addresses, bytes(10), ports=(PORT, PORT)
        )
        self._frame = frame[:_HEADER_BYTES].ljust(_FRAME_BYTES, b"\0")

    def open(self, stack: ExitStack) -> None:
        """Load and attach it until the stack unwinds."""
        with Object.open(self._objects / "numbered.bpf.o") as loaded:
            loaded.load()
            self._flow: Map = stack.enter_context(loaded.maps["numbered_flow"].open())
            self._send: Program = stack.enter_context(loaded.programs["numbered_send"].open())
            with loaded.programs["numbered_check"].open() as check, self._target.ns.entered():
                index = self._target.ns.ifindex(self._target.device)
                stack.enter_context(Link.tcx(check, index, TCX_INGRESS))
        self._flow.update(_ONLY, self._frame[:_HEADER_BYTES] + bytes(5 * 8))
        self._before = self._refused(), self._dropped()

    def burst(self) -> None:
        """Send some, as fast as it goes."""
        index = self._source.ns.ifindex(self._source.device)
        with self._source.ns.entered():
            # struct xdp_md: the packet's length and the device it seems to come from
            context = struct.pack("=6I", 0, _FRAME_BYTES, 0, index, 0, 0)
            try:
                self._send.test_run(self._frame, ctx=context, repeat=_BURST, flags=LIVE_FRAMES)
            except SystemCallError as error:
                # A burst ends early where the kernel wants something else of the thread;
                # the program counts what it has sent.
                if error.errno != errno.EINTR:
                    raise

    def report(self) -> FlowReport:
        """What became of it so far."""
        sent, _, received, missing, late = self._numbers()
        refused, dropped = self._refused() - self._before[0], self._dropped() - self._before[1]
        return FlowReport(sent, refused, dropped, received, missing, late)

    def received(self) -> int:
        """Packets that came out so far; a look into the map, so it may be asked often."""
        return self._numbers()[2]

    def _numbers(self) -> tuple[int, int, int, int, int]:
        raw = self._flow.lookup(_ONLY)
        assert raw is not None
        sent, following, received, missing, late = struct.unpack_from("=5Q", raw, _HEADER_BYTES)
        return sent, following, received, missing, late

    def _refused(self) -> int:
        text = self._source.ns.run("ethtool", "-S", self._source.device).stdout
        return sum(map(int, re.findall(r"tx_queue_\d+_xdp_xmit_errors: (\d+)", text)))

    def _dropped(self) -> int:
        total = 0
        for end in self._veths:
            (row,) = json.loads(
                end.ns.run("ip", "-json", "-s", "link", "show", "dev", end.device).stdout
            )
            total += int(row["stats64"]["tx"]["dropped"])
        return total


class Flood:
    """Sends flows in turn while the context lasts, all on one core."""

    def __init__(self, *flows: NumberedFlow) -> None:
        self._flows = flows
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._stack = ExitStack()
        self.seconds = 0.0

    def __enter__(self) -> Self:
        for flow in self._flows:
            flow.open(self._stack)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    def stop(self) -> list[FlowReport]:
        """Send no more; what became of each flow."""
        self._stop.set()
        self._thread.join()
        return self.reports()

    def reports(self) -> list[FlowReport]:
        """What became of each flow so far."""
        if self._error is not None:
            raise self._error
        return [flow.report() for flow in self._flows]

    def received(self) -> list[int]:
        """Packets of each flow that came out so far."""
        if self._error is not None:
            raise self._error
        return [flow.received() for flow in self._flows]

    def _send(self) -> None:
        # The core that sends also receives, so that packets cannot overtake each other.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        begin = time.monotonic()
        try:
            while not self._stop.is_set():
                for flow in self._flows:
                    flow.burst()
        except BaseException as error:
            self._error = error
        self.seconds = time.monotonic() - begin


def build(folder: Path) -> Path:
    """Compile the programs; returns the folder."""
    build_objects.build([Path(__file__).parent / "numbered.bpf.c"], folder)
    return folder
