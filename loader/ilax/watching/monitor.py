# SPDX-License-Identifier: Apache-2.0
"""Live drops and marks: samples from the ring, decoded and filtered, and what they leave out.

The datapath writes one sample for each reason, hook, CPU and tick of the kernel's
clock, and none while the ring is full. So samples say what is dropped or marked, never how
much: `Watch.tally` has the numbers, from the counters.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ilax.address import Address
from ilax.errors import ConflictError
from ilax.frames import Link, Packet, Record, decode, guess_link
from ilax.hooks.places import CGROUP
from ilax.translation import domain
from ilax.watching import counters, events
from ilax.watching.events import Event

if TYPE_CHECKING:
    from ilax.frames import Translator
    from ilax.instances.instance import Instance

# Slots of endpoints are read anew: for an unknown one, and now and then, as a slot
# may have gone to another endpoint.
_REFRESH_NS, _REFRESH_ALL_NS = 1_000_000_000, 5_000_000_000
_NO_ETHERNET = bytes(12) + b"\x86\xdd"


@dataclass(frozen=True, slots=True)
class Net:
    """Addresses by their first `length` bits, 0..128, to filter by."""

    address: Address
    length: int = 128

    def __contains__(self, other: Address) -> bool:
        shift = 128 - self.length
        return _number(self.address) >> shift == _number(other) >> shift


def _number(address: Address) -> int:
    return address.prefix << 64 | address.identifier


@dataclass(frozen=True, slots=True)
class Filter:
    """Which samples are wanted; an empty field wants all.

    Attributes:
        reasons, hooks: names.
        endpoint: the one that the drop was charged to, or one end of the packet.
        src, dst: of the packet, as it was or as a SIR address.
        protocol: number of the upper protocol.
    """

    reasons: frozenset[str] = frozenset()
    hooks: frozenset[str] = frozenset()
    endpoint: Address | None = None
    src: Net | None = None
    dst: Net | None = None
    protocol: int | None = None

    def wants_counter(self, hook: str, reason: str) -> bool:
        """Whether packets of a counter can pass."""
        return (not self.reasons or reason in self.reasons) and (
            not self.hooks or hook in self.hooks
        )

    def wants(self, drop: Drop, translator: Translator) -> bool:
        """Whether a sample passes."""
        if not self.wants_counter(drop.event.hook, drop.event.reason):
            return False
        packet = drop.packet
        if self.protocol is not None and packet.protocol != self.protocol:
            return False
        src, dst = _forms(packet.src, translator), _forms(packet.dst, translator)
        if self.src is not None and not any(form in self.src for form in src):
            return False
        if self.dst is not None and not any(form in self.dst for form in dst):
            return False
        return self.endpoint is None or self.endpoint in (drop.endpoint, *src, *dst)


def _forms(address: Address | None, translator: Translator) -> tuple[Address, ...]:
    if address is None:
        return ()
    sir = translator.to_sir(address)
    return (address,) if sir is None else (address, sir)


@dataclass(frozen=True, slots=True)
class Drop:
    """A packet that was dropped or marked, explained.

    Attributes:
        time: ns since 1970.
        event: as it was in the ring.
        device: name of the interface; of the hook `cgroup` a number, which is
            of the task's own namespace.
        endpoint: SIR address of the endpoint it was charged to; None where the
            packet got none.
        link: what the sample begins with.
        packet: the sample, decoded.
    """

    time: int
    event: Event
    device: str
    endpoint: Address | None
    link: Link
    packet: Packet

    @property
    def record(self) -> Record:
        """For a capture of Ethernet frames; gets an empty header where it had none."""
        record = Record(self.time, self.event.length, self.event.data, Link.ETHERNET)
        if self.link is Link.ETHERNET:
            return record
        extra = len(_NO_ETHERNET)
        return replace(record, length=record.length + extra, data=_NO_ETHERNET + record.data)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was dropped at one hook for one reason while we watched.

    Attributes:
        packets: dropped.
        sampled: of them written to the ring.
        lost: of them that found the ring full. All others came within one tick
            of a sample.
    """

    hook: str
    reason: str
    packets: int
    sampled: int
    lost: int


class Watch:
    """Reads the ring of an instance. Use `watching()`.

    Attributes:
        instance, translator: what is watched, and its addresses.
        seen: samples since the start.
        older: samples that waited in the ring from before the start.
        unwanted: samples that the filter kept away.
    """

    def __init__(self, instance: Instance, wanted: Filter, *, older: bool = False) -> None:
        self.translator = domain.translator(instance)
        self.seen = self.older = self.unwanted = 0
        self.instance = instance
        self._filter = wanted
        self._show_older = older
        self._device = domain.Devices(instance).label
        self._endpoints: dict[int, Address] = {}
        self._refreshed = 0
        self._waiting: deque[Event] = deque()
        self._reader = events.reader(instance, self._waiting.append)
        self._before = _read(instance)
        self.started = time.monotonic_ns()

    def poll(self, timeout_ms: int) -> Iterator[Drop]:
        """Wanted samples that are there, waiting up to `timeout_ms` for the first."""
        self._reader.poll(timeout_ms)
        while self._waiting:
            event = self._waiting.popleft()
            if event.time < self.started:
                self.older += 1
                if not self._show_older:
                    continue
            else:
                self.seen += 1
            drop = self._explain(event)
            if self._filter.wants(drop, self.translator):
                yield drop
            else:
                self.unwanted += 1

    def tally(self) -> list[Dropped]:
        """What was dropped since the start, most packets first; the filter's hooks and reasons."""
        found = []
        for key, now in _read(self.instance).items():
            then = self._before.get(key, (0, 0, 0))
            packets, sampled, lost = (a - b for a, b in zip(now, then, strict=True))
            if packets and self._filter.wants_counter(*key):
                found.append(Dropped(*key, packets, sampled, lost))
        return sorted(found, key=lambda one: -one.packets)

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()

    def _explain(self, event: Event) -> Drop:
        at_cgroup = event.hook == CGROUP.name
        link = Link.RAW if at_cgroup else guess_link(event.data, event.length)
        return Drop(
            # By the clock as it is now: it may have been set since we began.
            time=event.time + time.time_ns() - time.monotonic_ns(),
            event=event,
            device=f"if{event.ifindex}" if at_cgroup else self._device(event.ifindex),
            endpoint=self._endpoint(event.slot),
            link=link,
            packet=decode(event.data, event.length, link),
        )

    def _endpoint(self, slot: int) -> Address | None:
        if not slot:
            return None
        now = time.monotonic_ns()
        patience = _REFRESH_ALL_NS if slot in self._endpoints else _REFRESH_NS
        if now - self._refreshed > patience:
            self._endpoints = _sir_by_slot(self.instance)
            self._refreshed = now
        return self._endpoints.get(slot)


@contextlib.contextmanager
def watching(instance: Instance, wanted: Filter, *, older: bool = False) -> Iterator[Watch]:
    """Watch the drops of an instance.

    Args:
        instance: open.
        wanted: which samples.
        older: also those that wait in the ring from before.

    Raises:
        ConflictError: another one watches. A ring has one reader: two would
            take the samples away from each other.
    """
    folder = os.open(instance.pins.maps, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"another `ilax monitor` reads the events of instance {instance.name}; "
                "nothing was read",
                hint="stop it first: one sample goes to one reader",
            ) from error
        watch = Watch(instance, wanted, older=older)
        try:
            yield watch
        finally:
            watch.close()
    finally:
        os.close(folder)


def _read(instance: Instance) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {
        (one.hook, one.reason): (one.packets, one.sampled, one.lost)
        for one in counters.read(instance)
        if one.verdict == "drop"
    }


def _sir_by_slot(instance: Instance) -> dict[int, Address]:
    _, rows = instance.endpoints.rows()
    rows = rows[rows["slot"] != 0]
    return {
        slot: Address(prefix, identifier)
        for slot, prefix, identifier in zip(
            rows["slot"].tolist(),
            rows["sir"]["prefix"].tolist(),
            rows["sir"]["identifier"].tolist(),
            strict=True,
        )
    }
