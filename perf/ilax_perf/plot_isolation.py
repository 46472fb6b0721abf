# SPDX-License-Identifier: Apache-2.0
"""docs/perf/isolation: the victim's response times, by protection and load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax_perf.plots import FAINT, OPEN, OURS, PEERS, Bench, page, plain_log, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IDLE = "isolation.udp.idle.p99"
# Microseconds after which the client counts a request as lost.
_GIVE_UP = 200_000
_LOADS = {
    "x1": ("o", "flooded at its limit"),
    "x10": ("s", "10 times"),
    "x100": ("D", "100 times"),
    "full": ("X", "all that is not lost"),
}
_NAMES = {
    "xdp": ("ilax: limit in XDP", OURS),
    "tc": ("ilax: limit in tc", OURS),
    "cgroup": ("ilax: limit at the cgroup only", OURS),
    "none": ("ilax: no limit", OPEN),
    "nft": ("nftables: limit at ingress", PEERS),
    "tbf": ("TBF on the container's veth", PEERS),
    "htb": ("HTB on the container's veth", PEERS),
    "ifb_htb": ("HTB on an ifb, all ingress through it", PEERS),
    "route": ("plain routes: no limit", OPEN),
}


def figure(bench: Bench) -> Figure | None:
    """One line for each way, best first; one mark for each load."""
    idle = bench.values.get(_IDLE)
    seen = {
        name: {
            load: bench.values[row]
            for load in _LOADS
            if (row := f"isolation.udp.{name}.{load}.p99") in bench.values
        }
        for name in _NAMES
    }
    seen = {name: loads for name, loads in seen.items() if len(loads) == len(_LOADS)}
    if idle is None or not seen:
        return None
    order = sorted(seen, key=lambda name: -max(seen[name].values()))
    fig = page(9.5, 2.75 + 0.42 * len(order))
    height = fig.get_figheight()
    axes = fig.add_axes((0.31, 0.95 / height, 0.64, 1 - 2.65 / height))
    for y, name in enumerate(order):
        colour = _NAMES[name][1]
        values = seen[name]
        low, high = min(values.values()), max(values.values())
        axes.plot([low, high], [y, y], color=colour, linewidth=2.2, alpha=0.35, zorder=2)
        for load, (marker, _) in _LOADS.items():
            axes.plot(
                values[load], y, marker, color=colour, markersize=8, markeredgecolor="white",
                markeredgewidth=0.8, zorder=3,
            )  # fmt: skip
        text = "no answer" if high >= _GIVE_UP else f"{high / idle:.1f} x idle"
        axes.annotate(
            text, (high, y), (8, 0), textcoords="offset points", va="center", size=9, color=colour
        )
    top = max(max(values.values()) for values in seen.values())
    axes.axvline(idle, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(idle, len(order) - 0.35, f"idle: {idle:.0f} µs", ha="center", size=9, color=FAINT)
    plain_log(axes, [t for t in (20, 50, 100, 200, 500, 1000, 10_000, 100_000)
                     if idle * 0.6 < t < top * 1.6])  # fmt: skip
    axes.set_xlim(idle * 0.8, top * 4)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_yticks(range(len(order)), [_NAMES[name][0] for name in order])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("response time of the victim that 99 of 100 requests keep, µs   (left is good)")
    for marker, text in _LOADS.values():
        axes.plot([], [], marker, color=FAINT, markersize=7, label=text, markeredgecolor="white")
    fig.legend(
        loc="upper left", bbox_to_anchor=(0.012, 1 - 1.12 / height), ncols=4, frameon=False,
        fontsize=9, handletextpad=0.2, columnspacing=1.4,
    )  # fmt: skip
    words(
        fig,
        "How much a container suffers when its neighbour is flooded",
        "Two containers share the core that receives. One answers small UDP requests; the other "
        "may receive 10 Mbit/s\nand is sent 64-byte packets at 1, 10 and 100 times that, and as "
        "many as can be sent without a loss.",
        f"{bench.machine}. veth devices; up to 100 times, the flood comes from another core. "
        "make bench",
    )
    return fig
