# SPDX-License-Identifier: Apache-2.0
"""Watching an instance while new programs are at work; see `guards` for what is judged.

Counters, interfaces and programs are read, and nothing is written.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ilax.bpf import Map, Program
from ilax.bpf.handle import Closing
from ilax.contract import layout_check, schema
from ilax.contract.tables import Table, index_key
from ilax.upgrades.guards import Limits, Reading, Trip, Window, judge

if TYPE_CHECKING:
    from ilax.instances.pins import PinFolder

INTERVAL = 0.5  # seconds between two looks
_RECENT = 5.0  # seconds: what a guard looks at beside the whole soak


class Meter(Closing):
    """Reads an instance whose minor may be older than ours.

    Raises:
        NotFoundError: a map is missing.
        LayoutError: they are of another contract.
    """

    def __init__(self, pins: PinFolder) -> None:
        with ExitStack() as stack:
            abi, *tables = (
                stack.enter_context(Map.open_pinned(pins.maps / name))
                for name in ("ilax_abi", "ilax_counters", "ilax_config", "ilax_ports")
            )
            minor = layout_check.check_abi_row(abi, pins.instance, older=True)
            newer = minor > schema.enum("ilax_version")["ILAX_ABI_MINOR"]
            layout_check.check_maps({m.name: m for m in tables}, pins.instance, newer=newer)
            self._counters, self._config, self._ports = map(Table, tables)
            self._stack = stack.pop_all()

    def read(self, programs: Mapping[str, Program] | None = None) -> Reading:
        """Where everything stands now.

        Args:
            programs: whose misses are of interest.
        """
        packets = self._counters.per_cpu()["packets"].sum(axis=1)
        row = self._config.get(index_key(0))
        uplink = {int(row["uplink_ifindex"])} if row is not None else set()
        received = _received()
        return Reading(
            time.monotonic(),
            packets.reshape(
                schema.enum("ilax_hook")["ILAX_HOOK_COUNT"],
                schema.enum("ilax_reason")["ILAX_REASON_COUNT"],
            ),
            {
                "in": _sum(received, uplink),
                "out": _sum(received, set(self._ports.rows()[0].tolist())),
            },
            {name: program.recursion_misses() for name, program in (programs or {}).items()},
        )

    def close(self) -> None:
        """Close the maps."""
        self._stack.close()


def _sum(received: Mapping[str, int], indexes: set[int]) -> int:
    total = 0
    for index in indexes:
        with contextlib.suppress(OSError):
            total += received.get(socket.if_indextoname(index), 0)
    return total


def _received() -> dict[str, int]:
    """Packets that each interface of this network namespace has received."""
    found = {}
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        found[name.strip()] = int(numbers.split()[1])
    return found


def watch(
    meter: Meter,
    programs: Mapping[str, Program],
    before: Window,
    seconds: float,
    limits: Limits,
    tell: Callable[[float, Window], None],
) -> tuple[Window, Trip | None]:
    """Look at an instance for a while, or until a guard trips.

    Args:
        tell: is given the seconds that have passed and what happened in them.

    Returns:
        The whole time, or the part of it that the guard tripped at.
    """
    start = meter.read(programs)
    recent = deque([start])
    while True:
        left = start.time + seconds - time.monotonic()
        time.sleep(max(0.0, min(INTERVAL, left)))
        now = meter.read(programs)
        recent.append(now)
        while len(recent) > 2 and now.time - recent[1].time > _RECENT:
            recent.popleft()
        whole = Window.between(start, now)
        tell(whole.seconds, whole)
        for window in (whole, Window.between(recent[0], now)):
            trip = judge(before, window, limits)
            if trip is not None:
                return window, trip
        if whole.seconds >= seconds:
            return whole, None
