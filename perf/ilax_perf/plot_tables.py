# SPDX-License-Identifier: Apache-2.0
"""docs/perf/tables: what a packet costs when it may go to any of so many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax_perf.plots import COLOURS, INK, Bench, page, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZES = {"1": 1, "1k": 1000, "64k": 1 << 16, "1m": 1 << 20}
_TICKS = {1: "1", 1000: "1000", 1 << 16: "65 536", 1 << 20: "1 048 576"}
# Name of the rows before the size, and what they are. That of the limit with one row
# is called hot.
_LINES = {
    "cost.tc_egress_": "sent to one of so many containers on other hosts",
    "cost.xdp_hit_": "received for one of so many containers of this host (XDP)",
    "cost.limit_": "what a limit adds, if each of so many containers has one",
}

# Of a figure, from its mark, in points: lines that meet keep theirs apart.
_PLACES = ((0, 11), (-20, 4), (0, -11))


def figure(bench: Bench) -> Figure | None:
    """A line for each program, from tables that fit a cache to those that do not."""
    lines = {name: _line(bench, name) for name in _LINES}
    lines = {name: line for name, line in lines.items() if len(line) > 1}
    if not lines:
        return None
    fig = page(9.5, 5.8)
    axes = fig.add_axes((0.085, 0.17, 0.87, 0.5))
    top = max(max(line.values()) for line in lines.values())
    for number, (name, line) in enumerate(lines.items()):
        axes.plot(
            list(line), list(line.values()), "os^"[number] + "-", color=COLOURS[number],
            linewidth=2, markersize=7, label=_LINES[name], markeredgecolor="white",
        )  # fmt: skip
        for size, cost in line.items():
            axes.annotate(
                f"{cost:.0f}", (size, cost), _PLACES[number],
                textcoords="offset points", ha="center", va="center", size=8.5,
                color=COLOURS[number],
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(list(_TICKS), list(_TICKS.values()))
    axes.minorticks_off()
    axes.set_xlim(0.4, 2.2e6)
    axes.set_ylim(-0.07 * top, top * 1.15)
    axes.grid(axis="y")
    axes.set_xlabel("rows of the table, each as likely as the others")
    axes.set_ylabel("ns over an empty program", color=INK)
    fig.legend(
        loc="upper left", bbox_to_anchor=(0.012, 0.825), ncols=1, frameon=False, fontsize=9,
        columnspacing=1.4,
    )  # fmt: skip
    words(
        fig,
        "What the size of a table costs",
        "Every packet goes to another address, drawn at random. What rises is not the program: "
        "rows of large tables are in\nno cache, and the core waits for memory. Traffic "
        "that prefers some addresses, as most does, costs less.",
        f"{bench.machine}. Test runs of the shipped programs on one core, medians. make bench",
    )
    return fig


def _line(bench: Bench, name: str) -> dict[int, float]:
    """ns by size."""
    found = {}
    for size, rows in _SIZES.items():
        hot = name == "cost.limit_" and size == "1"
        value = bench.values.get("cost.limit_hot" if hot else f"{name}{size}")
        if value is not None:
            found[rows] = value
    return found
