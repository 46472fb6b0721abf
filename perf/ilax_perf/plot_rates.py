# SPDX-License-Identifier: Apache-2.0
"""docs/perf/rates: what a packet costs a core, beside peers and the least that is possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax_perf.plots import INK, OPEN, OURS, PEERS, Bench, page, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _HEAD = 0.27, 0.62  # inches of a bar, and of what stands around a group


@dataclass(frozen=True)
class _Group:
    """Ways to do the same.

    Attributes:
        title: what is done with a packet.
        limit: the row of the bare program, and what that is; None where there is none.
        names: rows, and their names for people; "rate.NAME" is ours if it is in `_OURS`.
    """

    title: str
    limit: tuple[str, str] | None
    names: dict[str, str]


_GROUPS = (
    _Group(
        "into a container's network stack",
        ("bare_redirect_peer", "a tc program that only hands over"),
        {
            "stack_delivery": "ilax, by default",
            "stack_delivery_xdp": "ilax with native XDP",
            "xdp_delivery_to_stack": "ilax with native XDP, delivery=xdp",
            "kernel_route": "plain IPv6 route",
            "bridge": "bridge",
            "macvlan": "macvlan",
            "nptv6": "NPTv6 (ip6tables)",
            "srv6": "SRv6 decapsulation",
            "vxlan": "VXLAN",
            "vxlan_bridge": "VXLAN and a bridge",
        },
    ),
    _Group(
        "into an XDP program in a container",
        ("bare_redirect", "an XDP program that only redirects"),
        {"xdp_delivery": "ilax, delivery=xdp", "bare_lookup_redirect": "one lookup and a redirect"},
    ),
    _Group(
        "dropped",
        ("bare_drop", "an XDP program that only counts and drops"),
        {
            "drop_unknown": "ilax: no such container",
            "drop_limit": "ilax: over the container's limit",
            "bare_lookup_drop": "one lookup and a drop",
        },
    ),
    _Group(
        "from a container to another host",
        None,
        {
            "forward_gateway": "ilax, next hop given (up --gateway)",
            "forward": "ilax, next hop by the kernel's routes",
            "router": "ilax as a router",
            "local": "ilax, between containers of one host",
            "kernel_route_out": "plain IPv6 route",
            "egress_nptv6": "NPTv6 (ip6tables)",
            "egress_srv6": "SRv6 encapsulation",
            "egress_vxlan": "VXLAN",
        },
    ),
)
_OURS = {
    *("stack_delivery", "stack_delivery_xdp", "xdp_delivery_to_stack", "xdp_delivery"),
    *("drop_unknown", "drop_limit", "forward", "forward_gateway", "router", "local"),
}


def figure(bench: Bench) -> Figure | None:
    """A panel for each group: bars, and a line where the bare program is."""
    groups = [(group, seen) for group in _GROUPS if (seen := _costs(bench, group))]
    if not groups:
        return None
    inches = [_HEAD + _ROW * len(seen) for _, seen in groups]
    height = 1.15 + sum(inches) + 0.75
    fig = page(9.5, height)
    widest = max(max(seen.values()) for _, seen in groups)
    top = height - 1.15
    for (group, seen), tall in zip(groups, inches, strict=True):
        top -= tall
        axes = fig.add_axes((0.33, top / height, 0.62, _ROW * len(seen) / height))
        _panel(axes, group, seen, bench, widest * 1.16)
    axes.tick_params(labelbottom=True)
    axes.set_xlabel("nanoseconds of one core for each packet   (left is good)")
    words(
        fig,
        "What a small packet costs",
        "64-byte frames; making the frame and its way through a veth pair, some 100 ns, is part of "
        "every bar.\nThe red line is the least that is possible there: a program that does "
        "nothing else.",
        f"{bench.machine}. One core, one flow, medians; only bars of one picture can be compared. "
        "make bench",
    )
    return fig


def _costs(bench: Bench, group: _Group) -> dict[str, float]:
    """Nanoseconds by row, the fastest last, which is drawn on top."""
    found = {
        name: 1000 / value
        for name in group.names
        if (value := bench.values.get(f"rate.{name}")) is not None
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _panel(axes: Axes, group: _Group, seen: dict[str, float], bench: Bench, edge: float) -> None:
    for y, (name, cost) in enumerate(seen.items()):
        colour = OURS if name in _OURS else PEERS
        axes.barh(y, cost, 0.68, color=colour, zorder=2)
        axes.text(cost + edge * 0.008, y, f"{cost:.0f}", va="center", size=9, color=INK)
    axes.set_yticks(range(len(seen)), [group.names[name] for name in seen])
    axes.set_ylim(-0.5, len(seen) - 0.5)
    axes.set_xlim(0, edge)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.spines["bottom"].set_visible(False)
    axes.grid(axis="x")
    axes.set_title(group.title, loc="left", size=10.5, weight="bold", pad=4)
    limit = bench.values.get(f"rate.{group.limit[0]}") if group.limit else None
    if group.limit and limit:
        cost = 1000 / limit
        axes.axvline(cost, color=OPEN, linewidth=1.8, zorder=3)
        axes.text(
            edge, len(seen) - 0.42, f"{group.limit[1]}: {cost:.0f}", color=OPEN, size=8.5,
            ha="right", va="bottom",
        )  # fmt: skip
