# SPDX-License-Identifier: Apache-2.0
"""isolation.*: how long a container's answers take while its neighbour is flooded.

The flooded container may receive 10 Mbit/s, which is 14 205 frames of 64 bytes a
second. It is sent once, ten and a hundred times that from another core, which does
not care what is lost; as much as can be sent without a loss; and many times more
than any program could take in. All variants take turns, load by load.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from ilax_perf import peers
from ilax_perf.flood import Flood, Stream
from ilax_perf.neighbours import Neighbours
from ilax_perf.programs import Answers
from ilax_perf.rows import FACTOR, MICROSECONDS, PERCENT, Rows
from ilax_perf.sampling import Median, Settings
from lab.topology import Container

_TAG = "ilxperfn"
LIMIT = 10_000_000
_FRAME = 64
# What a link spends around each frame, which limits of ilax count.
_AROUND = 24
PACKETS = LIMIT // ((_FRAME + _AROUND) * 8)
# Of the peers, which count frames only: as many of them.
_PEER_RATE = PACKETS * _FRAME * 8


@dataclass(frozen=True)
class Load:
    """A flood.

    Attributes:
        packets: frames in a second, or None for as many as possible.
        batch: that the generator sends at a time.
        waits: it runs on the receiving core and gets what time that has left, so
            nothing is lost; else on the other core, without regard.
    """

    packets: float | None
    batch: int
    waits: bool = False


LOADS: Mapping[str, Load] = {
    "x1": Load(PACKETS, 16),
    "x10": Load(10 * PACKETS, 16),
    "x100": Load(100 * PACKETS, 128),
    "full": Load(None, 128, waits=True),
    "over": Load(None, 128),
}
# Nothing helps there: a core that only drops loses, too.
_HOPELESS = "over"
# A line does not make up for what it did not send.
_LATEST = 20e-6
_OPEN_RATE = 5000
_IDLE = "idle"
# Of what is not hopeless, the load that loses most.
_WORST = "x100"

# By UDP one after the other, by TCP likewise, and by UDP at fixed times.
_KINDS: Mapping[str, tuple[str, int]] = {
    "udp": ("udp", 0),
    "tcp": ("tcp", 0),
    "open": ("udp", _OPEN_RATE),
}

_Context = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Variant:
    """One way to protect the victim, or not to.

    Attributes:
        name: in the names of rows.
        site: where.
        container: the flooded one.
        limiting: what is set up for a measurement.
    """

    name: str
    site: Neighbours
    container: Container
    limiting: _Context


@dataclass(frozen=True)
class _Cell:
    kind: str
    variant: str
    load: str


def measure(rows: Rows, settings: Settings) -> None:
    """Measure everything, if any of it is asked for."""
    cells = [cell for cell in _cells(settings) if _wanted(cell, settings)]
    if all(cell.variant == _IDLE for cell in cells):
        return
    settings.progress("isolation.*: hosts are built")
    with ExitStack() as stack:
        variants = {v.name: v for v in _variants(stack, settings)}
        cells = [cell for cell in cells if cell.variant in variants]
        flood = stack.enter_context(Flood.make())
        runs = settings.runs
        settings.progress(f"isolation.*: {len(cells)} cells take turns, {runs} times")
        seen: dict[_Cell, list[Answers]] = {cell: [] for cell in cells}
        for _ in range(runs):
            for cell in cells:
                answers = _measure(cell, variants[cell.variant], flood, settings)
                seen[cell].append(answers)
    _report(rows, seen)


def _wanted(cell: _Cell, settings: Settings) -> bool:
    name = f"isolation.{cell.kind}.{cell.variant}.{cell.load}."
    names = [name + what for what in ("p50", "p99", "p999")]
    names += [f"isolation.p99.{cell.variant}", f"isolation.goodput.{cell.variant}"]
    return cell.variant == _IDLE or any(map(settings.wanted, names))


_FLOODED = ("none", "xdp", "tc", "cgroup", "route", "tbf", "htb", "ifb_htb", "nft")


def _cells(settings: Settings) -> list[_Cell]:
    """In their order; without --full TCP and the open loop at the worst load only."""
    found = []
    for kind in _KINDS:
        found.append(_Cell(kind, _IDLE, _IDLE))
        everything = settings.full or (kind == "udp" and not settings.quick)
        for load in LOADS if everything else (_WORST,):
            found += [_Cell(kind, name, load) for name in _FLOODED]
    return found


def _variants(stack: ExitStack, settings: Settings) -> list[Variant]:
    found = [*_with_xdp(stack, settings), *_with_tc(stack, settings)]
    return found + _with_peers(stack, settings)


def _with_xdp(stack: ExitStack, settings: Settings) -> list[Variant]:
    """One instance; the flooded containers differ in whose limit counts for them."""
    site = stack.enter_context(Neighbours.make(f"{_TAG}x", settings.cpu, flooded=3))
    limited, by_cgroup, free = site.flooded
    endpoint, process = site.cgroup("endpoint"), site.cgroup("process")
    site.connect("native", [endpoint, None, None])
    for folder in (endpoint, process):
        site.host.ilax("limit", "set", folder, "--rate", LIMIT)
    site.serve()
    site.read(limited, endpoint)
    site.read(by_cgroup, process)
    site.read(free)
    return [
        Variant(_IDLE, site, free, _as_it_is),
        Variant("none", site, free, _as_it_is),
        Variant("xdp", site, limited, _as_it_is),
        Variant("cgroup", site, by_cgroup, _as_it_is),
    ]


def _with_tc(stack: ExitStack, settings: Settings) -> list[Variant]:
    site = stack.enter_context(Neighbours.make(f"{_TAG}t", settings.cpu))
    folder = site.cgroup("endpoint")
    site.connect("off", [folder])
    site.host.ilax("limit", "set", folder, "--rate", LIMIT)
    site.serve()
    site.read(site.flooded[0], folder)
    return [Variant("tc", site, site.flooded[0], _as_it_is)]


def _with_peers(stack: ExitStack, settings: Settings) -> list[Variant]:
    site = stack.enter_context(Neighbours.make(f"{_TAG}p", settings.cpu))
    site.connect_plainly()
    container = site.flooded[0]
    site.serve()
    site.read(container)
    limited = peers.Limited(site.host.ns, container.name, container.address, _PEER_RATE, PACKETS)
    known = {
        "route": peers.nothing,
        "tbf": peers.tbf,
        "htb": peers.htb,
        "ifb_htb": peers.ifb_htb,
        "nft": peers.nft,
    }
    if not peers.has_nft():
        settings.progress("isolation.*: no nft here (Debian: nftables); its rows are left out")
        del known["nft"]
    return [
        Variant(name, site, container, lambda peer=peer: peer(limited))  # type: ignore[misc]
        for name, peer in known.items()
    ]


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _measure(cell: _Cell, variant: Variant, flood: Flood, settings: Settings) -> Answers:
    kind, rate = _KINDS[cell.kind]
    seconds = 1.0 if settings.full else 0.1 if settings.quick else 0.2
    site = variant.site
    load, streams = LOADS["x1"], []
    if cell.load != _IDLE:
        load = LOADS[cell.load]
        streams = [Stream(site.frame_to(variant.container), load.packets, _LATEST)]
    place = site.generator(waits=load.waits)
    with (
        variant.limiting(),
        site.asking(kind, seconds, rate) as ask,
        flood.sending(place, site.device, streams, seconds + 5, batch=load.batch),
    ):
        # What an idle limit has saved up is spent.
        time.sleep(0.02)
        return ask()


def _report(rows: Rows, seen: Mapping[_Cell, list[Answers]]) -> None:
    for cell, answers in seen.items():
        idle = None if cell.load == _IDLE else f"isolation.{cell.kind}.{_IDLE}"
        name = f"isolation.{cell.kind}.{cell.variant}"
        name += "" if cell.load == _IDLE else f".{cell.load}"
        for what in ("p50", "p99", "p999"):
            value = Median(getattr(a, what) for a in answers)
            rows.add(f"{name}.{what}", value, MICROSECONDS, idle and f"{idle}.{what}")
    _report_worst(rows)
    _report_goodput(rows, seen)


def _report_worst(rows: Rows) -> None:
    """Of each variant the load at which it does worst, where there is hope."""
    worst: dict[str, Median] = {}
    loads = [load for load in LOADS if load != _HOPELESS]
    for name in (_IDLE, *_FLOODED):
        names = [f"isolation.udp.{name}.p99"] if name == _IDLE else [
            f"isolation.udp.{name}.{load}.p99" for load in loads
        ]  # fmt: skip
        values = [Median(row.samples) for row in map(rows.get, names) if row is not None]
        if values:
            worst[name] = max(values)
            of = None if name == _IDLE else "isolation.p99.idle"
            rows.add(f"isolation.p99.{name}", worst[name], MICROSECONDS, of)
    for name in _FLOODED:
        if name != "xdp" and worst.keys() >= {name, "xdp"}:
            rows.add(f"isolation.worse_than_xdp.{name}", worst[name] / worst["xdp"], FACTOR)


def _report_goodput(rows: Rows, seen: Mapping[_Cell, list[Answers]]) -> None:
    """Requests at fixed times that were answered in the end."""
    shares = {
        cell: Median(100 * a.answered / a.sent for a in answers)
        for cell, answers in seen.items()
        if cell.kind == "open" and cell.load in (_IDLE, _WORST)
    }
    idle = next((share for cell, share in shares.items() if cell.load == _IDLE), 0)
    for cell, share in shares.items():
        if cell.load != _IDLE and idle:
            rows.add(f"isolation.goodput.{cell.variant}", 100 * share / idle, PERCENT)
