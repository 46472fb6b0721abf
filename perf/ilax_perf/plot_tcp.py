# SPDX-License-Identifier: Apache-2.0
"""docs/perf/tcp_under_limit: how much of a limit TCP can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax_perf.plots import COLOURS, FAINT, INK, Bench, page, words
from ilax_perf.tcp_under_limit import ACTIONS, CONTROLS, FLOWS, LIMITS, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Payload of a packet of the MTU, against its bytes on the wire. The peers do not count
# what a link adds to a frame, and let a little more pass.
_PERFECT = 100 * 1428 / 1538
# Bars that have room for text, in percent.
_READABLE = 45
_NAMES = {
    "drop": "ilax, drop",
    "mark": "ilax, mark (ECN)",
    "tbf": "TBF, a queue of 4 ms",
    "ifb_htb": "HTB on an ifb, a long queue",
}
_CONTROLS = {"cubic": "CUBIC", "cubic_ecn": "CUBIC with ECN", "bbr": "BBR"}
_LIMITS = {"100m": "100 Mbit/s", "500m": "500 Mbit/s", "3g": "3 Gbit/s"}


def figure(bench: Bench) -> Figure | None:
    """A row of panels for each limit, a panel for each congestion control."""
    limits = [limit for limit in LIMITS if _measured(bench, limit)]
    flows = [n for n in FLOWS if any(_value(bench, c, n, m) for c in CONTROLS for m in limits)]
    if not limits:
        return None
    height = 2.2 + 1.75 * len(limits)
    fig = page(9.5, height)
    for row, limit in enumerate(limits):
        for column, control in enumerate(CONTROLS):
            bottom = (0.85 + 1.75 * (len(limits) - 1 - row)) / height
            axes = fig.add_axes((0.1 + column * 0.3, bottom, 0.27, 1.25 / height))
            for number, action in enumerate(ACTIONS):
                for x, count in enumerate(flows):
                    value = bench.values.get(Cell(control, count, limit, action).name)
                    at = x + (number - 1.5) * 0.2
                    if value is None:
                        axes.text(at, 3, "-", ha="center", size=8, color=COLOURS[number])
                        continue
                    axes.bar(at, value, 0.18, color=COLOURS[number])
                    _round_trip(axes, bench, Cell(control, count, limit, action), at)
                    axes.text(at, value + 2, f"{value:.0f}", ha="center", size=7, color=INK)
            axes.axhline(_PERFECT, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            axes.set_ylim(0, 115)
            axes.set_yticks([0, 50, 100])
            axes.set_xlim(-0.5, len(flows) - 0.5)
            axes.tick_params(axis="x", length=0)
            axes.set_xticks(range(len(flows)), [f"{n} flow{'s' * (n > 1)}" for n in flows])
            if row == 0:
                axes.set_title(_CONTROLS[control], size=10, pad=8)
            if row != len(limits) - 1:
                axes.tick_params(labelbottom=False)
            if column == 0:
                axes.set_ylabel(f"{_LIMITS[limit]}\n% of it used", size=9)
            else:
                axes.tick_params(labelleft=False)
    for number, action in enumerate(ACTIONS):
        fig.axes[0].bar([0], [0], color=COLOURS[number], label=_NAMES[action])
    fig.legend(
        loc="upper left", bbox_to_anchor=(0.012, 1 - 1.12 / height), ncols=4, frameon=False,
        fontsize=9, columnspacing=1.4, handlelength=1,
    )  # fmt: skip
    words(
        fig,
        "How much of its limit a container's TCP can use",
        "Payload that arrived, in percent of the limit; the dashed line is all that is possible. "
        "Inside of bars: the round trip.\nIt is some 50 µs without load: a limiter without a "
        "queue starves few flows then; a queue feeds them, and delays all.",
        f"{bench.machine}. iperf3, packets of 1500 bytes. make bench ARGS=--full measures all",
    )
    return fig


def _round_trip(axes: Axes, bench: Bench, cell: Cell, at: float) -> None:
    rtt = bench.values.get(f"{cell.name}.rtt")
    if rtt is None or bench.values[cell.name] < _READABLE:
        return
    text = f"{rtt / 1000:.1f} ms" if rtt < 10_000 else f"{rtt / 1000:.0f} ms"
    axes.text(at, 5, text, rotation=90, ha="center", va="bottom", size=7.5, color="white")


def _value(bench: Bench, control: str, flows: int, limit: str) -> bool:
    return any(Cell(control, flows, limit, a).name in bench.values for a in ACTIONS)


def _measured(bench: Bench, limit: str) -> bool:
    return any(_value(bench, control, n, limit) for control in CONTROLS for n in FLOWS)
