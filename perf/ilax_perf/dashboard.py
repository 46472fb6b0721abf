# SPDX-License-Identifier: Apache-2.0
"""What the dashboard's queries draw: a lab with traffic, a limit, a real Prometheus.

    PYTHONPATH=perf:tests .venv/bin/python -m ilax_perf.dashboard docs/monitoring.svg

takes a minute as root, and draws the picture anew.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilax_perf.plots import COLOURS, FAINT, page, set_style, words
from lab import operator
from lab.cgroups import own_cgroups
from lab.cleanup import PREFIX, unwinding_signals
from lab.ilax import environment
from lab.prometheus import Prometheus, Query, dashboard, exporting
from lab.topology import Lab, Plan
from lab.wait import until

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (
    "Received: the ten busiest",
    "Passed, and what may pass",
    "Over the limit",
    "Dropped",
    "Backlog",
    "Time of one run",
)
_FIRST, _SECONDS, _WINDOW = 8, 60, "4s"
_SIZE, _PORT = 1000, 4711
_TICK = 0.001
# Factor and unit of an axis, by the unit of the panel.
_AXES = {"bps": (1e-6, "Mbit/s"), "pps": (1, "packets/s"), "s": (1e3, "ms")}

Lines = list[Any]


@dataclass(frozen=True)
class Flow:
    """UDP from one container to an address.

    Attributes:
        rates: (second at which it begins, Mbit/s) in order.
    """

    source: int
    target: str
    rates: tuple[tuple[float, float], ...]

    def rate(self, second: float) -> float:
        """Mbit/s at a moment."""
        return next((rate for since, rate in reversed(self.rates) if second >= since), 0.0)


@contextlib.contextmanager
def _sending(lab: Lab, flows: list[Flow]) -> Iterator[None]:
    """All flows at once, from one thread, until the context ends."""
    stop = threading.Event()
    sockets = []
    for flow in flows:
        with lab.containers[flow.source].ns.entered():
            sockets.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))

    def send() -> None:
        start, owed, before = time.monotonic(), [0.0] * len(flows), 0.0
        while not stop.wait(_TICK):
            now = time.monotonic() - start
            for number, (flow, made) in enumerate(zip(flows, sockets, strict=True)):
                owed[number] += flow.rate(now) * (now - before) * 1e6 / 8 / _SIZE
                while owed[number] >= 1:
                    owed[number] -= 1
                    with contextlib.suppress(OSError):  # errors of earlier packets
                        made.sendto(bytes(_SIZE), (flow.target, _PORT))
            before = now

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for made in sockets:
            made.close()


def record() -> tuple[dict[Query, Lines], float]:
    """Lines of the chosen panels, and when they begin."""
    queries = [query for query in dashboard() if query.panel in _PANELS]
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab.make(f"{PREFIX}draw", Plan(hosts=2, containers=2)) as lab,
        own_cgroups("shop") as own,
    ):
        operator.bring_up(lab)
        host = lab.hosts[0]
        first, second = host.containers
        for task, name, rate in ((first, "api", "50mbit"), (second, "batch", "10mbit")):
            host.ilax("endpoint", "set", task.address, "--cgroup", own.make(name))
            # A sender in Python is no even one.
            host.ilax(
                *("limit", "set", own.make(name), "--rate", rate),
                *("--burst", "20ms", "--drop-at", "10ms"),
            )
        flows = [
            Flow(2, first.address, ((0, 20),)),
            Flow(3, second.address, ((0, 4), (20, 40), (40, 4))),
            # A task that nobody knows: a mapping is missing.
            Flow(0, str(lab.plan.sir(99)), ((0, 1), (44, 3), (52, 1))),
        ]
        ilax = (sys.executable, "-m", "ilax", "--instance", host.ilax.instance)
        switch.write_text("1\n")
        try:
            with (
                exporting(host.ns, *ilax, environment=environment()),
                Prometheus.running(host.ns, Path(folder), "500ms") as prometheus,
                _sending(lab, flows),
            ):
                start = time.time()
                until(lambda: time.time() > start + _SECONDS, "the end", timeout=_SECONDS + 30)
                return {
                    query: prometheus.query_range(
                        query.over(_WINDOW), start + _FIRST, start + _SECONDS, 0.5
                    )
                    for query in queries
                }, start
        finally:
            switch.write_text(before)


def _name(legend: str, labels: Mapping[str, str]) -> str:
    """A legend as Grafana makes it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)


def draw(recorded: Mapping[Query, Lines], start: float) -> Figure:
    """Six panels of the dashboard, two in a column."""
    figure = page(13, 8.2)
    for number, title in enumerate(_PANELS):
        axes = figure.add_axes(
            (0.05 + 0.325 * (number % 3), 0.545 - 0.41 * (number // 3), 0.275, 0.265)
        )
        _panel(axes, title, {q: lines for q, lines in recorded.items() if q.panel == title}, start)
    words(
        figure,
        "What the dashboard shows when one container is flooded",
        "shop/batch may receive 10 Mbit/s and is sent 40 from second 20 to 40; its neighbour "
        "shop/api goes on with its 20.\nFrom second 44 to 52 a task sends more to an address that "
        "has no mapping.",
        "Six panels of packaging/grafana/ilax.json, drawn from what a real Prometheus answered. "
        "veth devices. python -m ilax_perf.dashboard",
    )
    return figure


def _panel(axes: Axes, title: str, queries: Mapping[Query, Lines], start: float) -> None:
    factor, unit = 1.0, ""
    colours: dict[str, str] = {}
    for query, lines in queries.items():
        factor, unit = _AXES[query.unit]
        if title == "Time of one run":
            factor, unit = 1e9, "ns"
        for line in sorted(lines, key=lambda line: sorted(line["metric"].items())):
            name = _name(query.legend, line["metric"])
            thing = name.rpartition(" ")[2]
            reference = name.startswith(("rate of", "threshold of"))
            colour = colours.setdefault(thing, COLOURS[len(colours) % len(COLOURS)])
            times = [float(at) - start for at, _ in line["values"]]
            values = [float(value) * factor for _, value in line["values"]]
            axes.plot(
                times, values, color=colour, label=name,
                linewidth=1.0 if reference else 1.8, linestyle="--" if reference else "-",
            )  # fmt: skip
    axes.set_title(f"{title}, {unit}", loc="left", size=10, weight="bold")
    axes.set_xlim(_FIRST, _SECONDS)
    axes.set_xticks(range(10, _SECONDS + 1, 10), [f"{at} s" for at in range(10, _SECONDS + 1, 10)])
    axes.set_ylim(bottom=0)
    axes.margins(y=0.1)
    axes.grid(axis="y")
    axes.tick_params(labelsize=8)
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.09), ncols=2, frameon=False, fontsize=7.5,
        handlelength=1.6, columnspacing=1.2, labelspacing=0.3, labelcolor=FAINT,
    )  # fmt: skip


def main() -> None:
    """Run as a program."""
    (target,) = sys.argv[1:]
    set_style()
    with unwinding_signals():
        figure = draw(*record())
    if target.endswith(".svg"):
        figure.savefig(target, metadata={"Date": None, "Creator": None})
    else:
        figure.savefig(target, metadata={"Software": None}, dpi=110)


if __name__ == "__main__":
    main()
