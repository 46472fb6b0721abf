# SPDX-License-Identifier: Apache-2.0
"""Samples of drops and marks from the ring of events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.bpf import RingBuffer
from ilax.contract import schema
from ilax.watching.counters import hook_names, reason_name, verdict_of

if TYPE_CHECKING:
    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class Event:
    """One packet that was dropped, or that a limit marked or tagged.

    Attributes:
        time: CLOCK_MONOTONIC, ns.
        ifindex: device it arrived on or was to leave by.
        length: bytes of the frame.
        slot: of the endpoint, 0 = unknown.
        data: the first bytes of the frame, at most 128.
        dropped: False for one that was marked or tagged; then `reason` says where
            it went, and `data` is what goes on.
    """

    time: int
    hook: str
    reason: str
    ifindex: int
    length: int
    slot: int
    data: bytes
    dropped: bool = True


def decode(raw: bytes) -> Event:
    """An event from the bytes of `struct ilax_event`."""
    import numpy as np

    row = np.frombuffer(raw, schema.dtype("ilax_event"), 1)[0]
    return Event(
        time=int(row["time"]),
        hook=hook_names().get(int(row["hook"]), str(row["hook"])),
        reason=reason_name(int(row["reason"])),
        ifindex=int(row["ifindex"]),
        length=int(row["len"]),
        slot=int(row["slot"]),
        data=bytes(row["data"][: int(row["captured"])]),
        dropped=verdict_of(int(row["reason"])) == "drop",
    )


def reader(instance: Instance, callback: Callable[[Event], None]) -> RingBuffer:
    """A ring reader that hands decoded events to `callback`; call its `poll`."""
    return RingBuffer(instance.events, lambda raw: callback(decode(raw)))
