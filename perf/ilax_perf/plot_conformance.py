# SPDX-License-Identifier: Apache-2.0
"""docs/perf/conformance: how exactly limits are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax_perf.conformance import FACTORS, LIMITS, SIZES, Case
from ilax_perf.plots import COLOURS, FAINT, GRID, Bench, page, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TARGET = 0.5
_NAMES = {"1m": "1 Mbit/s", "10m": "10 Mbit/s", "100m": "100 Mbit/s", "1g": "1 Gbit/s"}


def figure(bench: Bench) -> Figure | None:
    """A panel for each size of packets, a mark for each limit and load."""
    if "conformance.worst_error" not in bench.values:
        return None
    worst = bench.values["conformance.worst_error"]
    edge = max(_TARGET, worst) * 1.25
    fig = page(9.5, 4.9)
    missing = 0
    for column, size in enumerate(SIZES):
        axes = fig.add_axes((0.085 + column * 0.305, 0.19, 0.28, 0.47))
        axes.axhspan(-_TARGET, _TARGET, color=GRID, alpha=0.55, zorder=0)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        for number, limit in enumerate(LIMITS):
            for x, factor in enumerate(FACTORS):
                error = bench.values.get(Case(limit, size).name(factor))
                at = x + (number - 1.5) * 0.17
                if error is None:
                    missing += 1
                    axes.plot(at, 0, "x", color=COLOURS[number], markersize=6)
                    continue
                axes.vlines(at, 0, error, color=COLOURS[number], linewidth=1.6)
                axes.plot(at, error, "o", color=COLOURS[number], markersize=5.5)
        axes.set_title(f"packets of {size} bytes", size=10, pad=8)
        axes.set_xticks(range(len(FACTORS)), [f"{factor:g} x" for factor in FACTORS])
        axes.set_xlim(-0.55, len(FACTORS) - 0.45)
        axes.set_ylim(-edge, edge)
        axes.tick_params(axis="x", length=0)
        if column:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("passed, against what should, %")
        if column == 1:
            axes.set_xlabel("what was sent, times the limit")
    for number, limit in enumerate(LIMITS):
        fig.axes[0].plot([], [], "o", color=COLOURS[number], label=_NAMES[limit])
    fig.legend(
        loc="upper left", bbox_to_anchor=(0.012, 0.785), ncols=4, frameon=False, fontsize=9,
        handletextpad=0.1,
    )  # fmt: skip
    note = f" {missing} cells, marked x, are beyond this generator." if missing else ""
    words(
        fig,
        "How exactly a limit is kept",
        "Live UDP through the uplink into a limited container. 0 is exact; the grey band is the "
        f"target of ±{_TARGET} %; the worst\nof all is {worst:.2f} %.{note}",
        f"{bench.machine}. Bytes by the limit's own counters and in the container. make bench",
    )
    return fig
