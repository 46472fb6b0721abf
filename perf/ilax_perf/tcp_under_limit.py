# SPDX-License-Identifier: Apache-2.0
"""tcp_under_limit.*: what TCP makes of a limit that drops, marks or queues.

A container on one host sends to a limited one on another, whose uplink has an XDP
program in any case: so the limit meets packets of the MTU, as from a wire.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ilax.bpf import Link
from ilax_perf import objects, peers
from ilax_perf.neighbours import Neighbours
from ilax_perf.programs import Place, Running
from ilax_perf.rows import MICROSECONDS, PERCENT, Rows
from ilax_perf.sampling import Settings
from lab.netns import CommandError
from lab.topology import UPLINK

_TAG = "ilxperfu"
_TOOL = "iperf3"
_PORT = 5201
_INTERVAL = 0.1
# Seconds at the start that do not count.
_SETTLING = 0.5
# Payload of a full segment, for the share that was sent again.
_SEGMENT = 1428

# Congestion control, and net.ipv4.tcp_ecn at both ends.
CONTROLS: Mapping[str, tuple[str, int]] = {
    "cubic": ("cubic", 2),
    "cubic_ecn": ("cubic", 1),
    "bbr": ("bbr", 2),
}
FLOWS = (1, 8, 64)
LIMITS: Mapping[str, int] = {"100m": 100_000_000, "500m": 500_000_000, "3g": 3_000_000_000}
ACTIONS = ("drop", "mark", "tbf", "ifb_htb")
# Without --full.
_SOME_FLOWS, _SOME_LIMITS = (1, 8), ("500m",)


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement."""

    control: str
    flows: int
    limit: str
    action: str

    @property
    def name(self) -> str:
        """Of its row."""
        return f"tcp_under_limit.{self.control}.{self.flows}.{self.limit}.{self.action}"


@dataclass(frozen=True, slots=True)
class Transfer:
    """How it went: bit/s that arrived, shares of 1, and microseconds."""

    goodput: float
    variation: float
    retransmitted: float
    rtt: float


def measure(rows: Rows, settings: Settings) -> None:
    """Measure the cells that are asked for."""
    cells = [cell for cell in _cells(settings) if settings.wanted(cell.name)]
    if not cells:
        return
    settings.progress("tcp_under_limit.*: hosts are built")
    with ExitStack() as stack:
        sites = _sites(stack, settings)
        settings.progress(f"tcp_under_limit.*: {len(cells)} cells, one after the other")
        for cell in cells:
            site, limiting = sites[cell.action]
            try:
                with limiting(LIMITS[cell.limit]):
                    done = _transfer(site, cell, settings)
            except (CommandError, subprocess.TimeoutExpired, ValueError) as error:
                settings.progress(f"{cell.name}: left out, the connection broke: {error}")
                continue
            rows.add(cell.name, 100 * done.goodput / LIMITS[cell.limit], PERCENT)
            rows.add(f"{cell.name}.retransmitted", 100 * done.retransmitted, PERCENT)
            rows.add(f"{cell.name}.rtt", done.rtt, MICROSECONDS)
            rows.add(f"{cell.name}.variation", 100 * done.variation, PERCENT)


def _cells(settings: Settings) -> list[Cell]:
    flows = FLOWS if settings.full else _SOME_FLOWS
    limits = tuple(LIMITS) if settings.full else _SOME_LIMITS
    return [Cell(*each) for each in itertools.product(CONTROLS, flows, limits, ACTIONS)]


_Limiting = Callable[[int], AbstractContextManager[None]]


def _sites(stack: ExitStack, settings: Settings) -> dict[str, tuple[Neighbours, _Limiting]]:
    """Where each action is measured, and how it is switched on."""
    ours = stack.enter_context(Neighbours.make(f"{_TAG}i", settings.cpu))
    folder = ours.cgroup("limited")
    ours.connect("native", [folder])
    ours.receive_by_interrupt()
    plain = stack.enter_context(Neighbours.make(f"{_TAG}p", settings.cpu))
    plain.connect_plainly()
    plain.receive_by_interrupt()
    program = stack.enter_context(objects.own("peers")).programs["perf_pass"]
    with plain.host.ns.entered():
        stack.enter_context(Link.xdp(program, plain.host.ns.ifindex(UPLINK)))
    return {
        "drop": (ours, partial(_ilax, ours, folder, "drop")),
        "mark": (ours, partial(_ilax, ours, folder, "mark")),
        "tbf": (plain, partial(_peer, plain, peers.tbf)),
        "ifb_htb": (plain, partial(_peer, plain, peers.ifb_htb)),
    }


@contextmanager
def _ilax(site: Neighbours, folder: Path, action: str, rate: int) -> Iterator[None]:
    site.host.ilax("limit", "set", folder, "--rate", rate, "--action", action)
    try:
        yield
    finally:
        site.host.ilax("limit", "del", folder)


@contextmanager
def _peer(
    site: Neighbours, peer: Callable[[peers.Limited], AbstractContextManager[None]], rate: int
) -> Iterator[None]:
    container = site.flooded[0]
    with peer(peers.Limited(site.host.ns, container.name, container.address, rate, 0)):
        yield


def _transfer(site: Neighbours, cell: Cell, settings: Settings) -> Transfer:
    """Let iperf3 send.

    Raises:
        CommandError: it failed.
        subprocess.TimeoutExpired: it did not end.
        ValueError: it had nothing to say.
    """
    sender, receiver = site.client, site.flooded[0]
    control, ecn = CONTROLS[cell.control]
    for container in (sender, receiver):
        container.ns.sysctl("net.ipv4.tcp_ecn", ecn)
    seconds = 3 if settings.full else 2
    place = Place(receiver.ns, settings.cpu)
    listen = (_TOOL, "--server", "--one-off", "--json", "--interval", f"{_INTERVAL}")
    send = (
        *(_TOOL, "--json", "--client", receiver.address, "--port", str(_PORT)),
        *("--time", str(seconds), "--parallel", str(cell.flows)),
        *("--congestion", control, "--connect-timeout", "3000"),
    )
    with Running.start(place, (*listen, "--port", str(_PORT))) as server:
        receiver.ns.wait_listening(_PORT)
        with Running.start(Place(sender.ns, site.other_cpu), send) as client:
            sent = json.loads(client.output(seconds + 15))
        received = json.loads(server.output(10))
    return _evaluate(sent["end"], received["intervals"], seconds)


def _evaluate(end: Mapping[str, Any], intervals: list[Any], seconds: float) -> Transfer:
    """The receiver's intervals, without the start and what comes after the end."""
    sums = [i["sum"] for i in intervals]
    sums = [s for s in sums if s["start"] >= _SETTLING and s["end"] <= seconds + _INTERVAL / 2]
    took = sum(s["seconds"] for s in sums)
    if not took:
        raise ValueError("no interval was reported")
    rates = [s["bits_per_second"] for s in sums]
    mean = statistics.fmean(rates)
    return Transfer(
        goodput=sum(s["bytes"] for s in sums) * 8 / took,
        variation=statistics.pstdev(rates) / mean if mean else 0.0,
        retransmitted=end["sum_sent"]["retransmits"] * _SEGMENT / max(1, end["sum_sent"]["bytes"]),
        rtt=statistics.fmean(s["sender"]["mean_rtt"] for s in end["streams"]),
    )
