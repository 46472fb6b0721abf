# SPDX-License-Identifier: Apache-2.0
"""Packets for limited tasks, and what their limits have counted."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ilax import schema
from ilax.bpf import Map, possible_cpus
from ilax.instance import Instance
from ilax.limit_book import slots_by_cgroup
from ilax.limit_readings import Counted, counted
from ilax.tables import index_key
from lab.cgroups import Cgroups
from lab.netns import Namespace
from lab.topology import Host
from lab.wait import until

# Packets on the way at once: no queue in between loses any of so few.
BLOCK = 40


class Meter:
    """Counters of limits, straight from the maps."""

    def __init__(self, host: Host, own: Cgroups) -> None:
        self.host, self.own = host, own

    def __call__(self, path: str) -> Counted:
        with Instance.open(self.host.ilax.instance) as instance:
            return counted(instance, slots_by_cgroup(instance)[self.own.id(path)])

    def judged(self, path: str) -> int:
        found = self(path)
        return found.passed_packets + found.dropped_packets

    def until_(self, path: str) -> int:
        """End of the virtual queue, 1/64 ns."""
        with Instance.open(self.host.ilax.instance) as instance:
            slot = slots_by_cgroup(instance)[self.own.id(path)]
            row: Any = instance.backlogs.get(index_key(slot))
        return int(row["until"])


def policed(maps: dict[str, Map], slot: int) -> dict[str, int]:
    """Counters of a slot in maps of one's own, as the contract says that they are read."""
    kind = schema.dtype("ilax_backlog")
    backlog = np.frombuffer(maps["ilax_backlogs"].lookup(index_key(slot)) or b"", kind)[0]
    chunk = maps["ilax_chunks"].lookup(index_key(slot % maps["ilax_chunks"].max_entries))
    rows = np.frombuffer(chunk or b"", schema.dtype("ilax_chunk"), possible_cpus())
    mine = rows[rows["slot"] == slot]
    names = schema.dtype("ilax_policed").names or ()
    return {n: int(backlog["total"][n]) + int(mine["policed"][n].sum()) for n in names}


def send(
    source: Namespace,
    target: tuple[object, int],
    count: int,
    seen: Callable[[], int],
    size: int = 200,
) -> int:
    """Send packets; each block waits until `seen` has risen by the one before.

    Returns:
        Nanoseconds from before the first packet to after the last was seen.
    """
    address, port = target
    first = seen()
    start = time.monotonic_ns()
    with source.entered():
        family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with sender:
        sent = 0
        while sent < count:
            block = min(BLOCK, count - sent)
            for _ in range(block):
                sender.sendto(bytes(size), (str(address), port))
            sent += block
            until(lambda: seen() >= first + sent, f"{sent} packets at the limit")  # noqa: B023
    return time.monotonic_ns() - start


def received(bound: socket.socket, count: int) -> int:
    """Take `count` packets out of a socket, and see that there are no more."""
    for _ in range(count):
        bound.recv(65536, socket.MSG_DONTWAIT)
    try:
        bound.recv(65536, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return count
    raise AssertionError(f"more than {count} packets arrived")
