# SPDX-License-Identifier: Apache-2.0
"""conformance.*: what a limit lets pass, against what it should, with live traffic.

Frames come through the uplink at 0.5 to 10 times the limit, by the clock and
whatever becomes of them. What passes is counted by the limit itself and in the
container, over the time from one arrival there to the last one.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Self

from ilax.bpf import Map
from ilax.bpf.link import TCX_INGRESS, Link
from ilax.instances.instance import Instance
from ilax.limiting import limit_readings
from ilax.system.cgroups import Tree
from ilax_perf import objects
from ilax_perf.flood import Flood, Stream
from ilax_perf.neighbours import frame_to
from ilax_perf.programs import URGENT, Place
from ilax_perf.rows import PERCENT, Rows
from ilax_perf.sampling import Settings
from ilax_perf.sites import Site
from lab.cgroups import own_cgroups
from lab.operator import Options, add_arguments, up_arguments
from lab.topology import Container

_TAG = "ilxperfc"
LIMITS: Mapping[str, int] = {
    "1m": 1_000_000,
    "10m": 10_000_000,
    "100m": 100_000_000,
    "1g": 1_000_000_000,
}
# Bytes of frames, by the name of their size: 1500 are those of the packet.
SIZES: Mapping[str, int] = {"64": 64, "512": 512, "1500": 1514}
FACTORS = (0.5, 1.1, 2, 10)
_AROUND = 24
# These leave the core enough time to be measured all at once.
_TOGETHER = ("1m", "10m")

# What an idle limit has saved up passes first: a millisecond of the rate or two
# frames of the MTU, the drop threshold of a millisecond, and the frame that reaches it.
_SAVED, _SAVED_FRAMES = 0.002, 3 * 1538 * 8
_SETTLE = 0.1  # seconds, at least
_SHORTEST = 0.6  # seconds
# The last frame may be late by one, and so may the first.
_FRAMES = 500
# Of the time: more than that was not sent, and nothing can be said.
_BEHIND = 0.0005
_REACHED = 0.95
_TRIES = 4

_READING = struct.Struct("=8Q")


@dataclass(frozen=True, slots=True)
class Case:
    """A limit, with frames of one size."""

    limit: str
    size: str

    def packets(self, factor: float) -> float:
        """Frames of a second."""
        return factor * LIMITS[self.limit] / ((SIZES[self.size] + _AROUND) * 8)

    def settling(self, factor: float) -> float:
        """Seconds until what an idle limit has saved up is spent."""
        if factor <= 1:
            return 0.0
        saved = _SAVED + _SAVED_FRAMES / LIMITS[self.limit]
        return max(_SETTLE, 1.2 * saved / (factor - 1))

    def name(self, factor: float) -> str:
        """Of the row."""
        return f"conformance.{self.limit}.{self.size}.x{str(factor).replace('.', '_')}"


@dataclass(frozen=True, slots=True)
class _Reading:
    packets: int
    bytes: int
    begin: int
    start: int
    last: int
    settled_packets: int
    settled_bytes: int
    settle: int

    @property
    def charged(self) -> int:
        return self.bytes + _AROUND * self.packets

    @property
    def settled(self) -> int:
        return self.settled_bytes + _AROUND * self.settled_packets


class _Limited:
    """A container with a limit, and a meter in it."""

    def __init__(self, instance: Instance, slot: int, meter: Map, frame: bytes) -> None:
        self._instance, self._slot, self._meter = instance, slot, meter
        self.frame = frame

    @classmethod
    def make(cls, site: Site, container: Container, case: Case, stack: ExitStack) -> Self:
        folder = stack.enter_context(own_cgroups(f"{_TAG}-{case.limit}-{case.size}")).top
        host = site.host
        extra = ("--cgroup", str(folder))
        host.ilax(*add_arguments(container, Options(endpoint_extra=extra)))
        host.ilax("limit", "set", folder, "--rate", LIMITS[case.limit])
        loaded = stack.enter_context(objects.own("meter"))
        with container.ns.entered():
            index = container.ns.ifindex("eth0")
            stack.enter_context(Link.tcx(loaded.programs["perf_meter"], index, TCX_INGRESS))
        instance = stack.enter_context(Instance.open(host.ilax.instance))
        slot = limit_readings.read(instance, _number(folder)).slot
        wire = IPv6Address(host.ilax.wire(container.address))
        frame = frame_to(site.lab, host, wire, SIZES[case.size])
        return cls(instance, slot, loaded.maps["perf_reading"], frame)

    def reset(self, settling: float) -> limit_readings.Counted:
        """Begin anew; what the limit has counted until now."""
        self._meter.update(objects.ONLY, _READING.pack(*[0] * 7, int(settling * 1e9)))
        return self.counted()

    def counted(self) -> limit_readings.Counted:
        return limit_readings.counted(self._instance, self._slot)

    def reading(self) -> _Reading:
        return _Reading(*_READING.unpack(self._meter.lookup(objects.ONLY) or b""))


def _number(folder: Path) -> int:
    return Tree.read().find(str(folder)).id


def measure(rows: Rows, settings: Settings) -> None:
    """Measure all cells, if any is asked for."""
    cases = [Case(*each) for each in itertools.product(LIMITS, SIZES)]
    names = ["conformance.worst_error", *(c.name(f) for c in cases for f in FACTORS)]
    if not any(map(settings.wanted, names)):
        return
    settings.progress("conformance.*: a host is built")
    groups = [[case for case in cases if case.limit in _TOGETHER]]
    groups += [[case] for case in cases if case.limit not in _TOGETHER]
    errors: list[float] = []
    with _limited(cases) as (site, limited), Flood.make() as flood:
        place = Place(site.router, settings.cpu, nice=URGENT)
        settings.progress(f"conformance.*: {len(cases) * len(FACTORS)} cells")
        for group, factor in itertools.product(groups, FACTORS):
            found = _group(group, factor, limited, flood, site, place)
            for case in group:
                error = found.get(case)
                if error is None:
                    settings.progress(f"{case.name(factor)}: left out, not so many could be sent")
                    continue
                rows.add(case.name(factor), error, PERCENT)
                errors.append(abs(error))
    if errors:
        rows.add("conformance.worst_error", max(errors), PERCENT)


@contextmanager
def _limited(cases: Sequence[Case]) -> Iterator[tuple[Site, dict[Case, _Limited]]]:
    with Site.make(_TAG, containers=len(cases)) as site, ExitStack() as stack:
        site.host.ilax(*up_arguments(site.lab, site.host, Options(xdp="native")))
        pairs = zip(cases, site.lab.containers, strict=True)
        yield site, {c: _Limited.make(site, container, c, stack) for c, container in pairs}


def _group(
    group: Sequence[Case],
    factor: float,
    limited: Mapping[Case, _Limited],
    flood: Flood,
    site: Site,
    place: Place,
) -> dict[Case, float]:
    """Errors in percent; without those that could not be measured.

    What keeps the core from sending, such as a neighbour on the physical core, is
    seen, and the measurement is repeated.
    """
    errors: dict[Case, float] = {}
    seconds = _SHORTEST
    if factor > 1:
        seconds = max(_SHORTEST, *(_FRAMES / case.packets(factor) for case in group))
        seconds += max(case.settling(factor) for case in group)
    for _ in range(_TRIES):
        before = {case: limited[case].reset(case.settling(factor)) for case in group}
        streams = [Stream(limited[case].frame, case.packets(factor)) for case in group]
        with flood.sending(place, site.router_port, streams, seconds) as running:
            running.output(seconds + 30)
        time.sleep(0.02)
        for number, case in enumerate(group):
            if case in errors or (factor > 1 and flood.behind(number) > _BEHIND * seconds):
                continue
            sent, wanted = flood.sent(number), case.packets(factor) * seconds
            if factor < 1 or sent >= _REACHED * wanted:
                errors[case] = _error(limited[case], before[case], case, factor, sent)
        if len(errors) == len(group):
            break
    return errors


def _error(
    limited: _Limited, before: limit_readings.Counted, case: Case, factor: float, sent: int
) -> float:
    """Percent that passed too much (+) or too little (-)."""
    reading, after = limited.reading(), limited.counted()
    if factor < 1:
        return 100 * (reading.packets - sent) / sent
    window = (reading.last - reading.start) / 1e9
    limit = LIMITS[case.limit]
    in_container = reading.settled * 8 / window
    # The limit's own count, without what came before the window.
    passed = after.passed_bytes - before.passed_bytes - (reading.charged - reading.settled)
    by_limit = passed * 8 / window
    return max((100 * (rate / limit - 1) for rate in (in_container, by_limit)), key=abs)
