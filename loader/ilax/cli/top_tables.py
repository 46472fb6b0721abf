# SPDX-License-Identifier: Apache-2.0
"""What the live screen of `ilax top` looks like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ilax import units
from ilax.cli.top import allows
from ilax.sparkline import ASCII, BLOCKS, sparkline

if TYPE_CHECKING:
    from ilax.rate_rows import EndpointRates, LimitRates, Order, ReasonRates, View

_QUIET, _LOUD = "bright_black", "bold red"
_VERDICTS = {"pass": "yellow", "send": "green", "drop": "red"}
# Lines that are no rows: two at the top, a blank one and a header for each of
# three tables, a blank one and the keys at the bottom.
_LINES_AROUND = 2 + 3 * 2 + 2
_BAR = 10


def screen(view: View, console: Console, *, halted: bool = False) -> RenderableType:
    """All of the screen, as high as the terminal.

    Reasons and limits get a third of the rows each at most, endpoints the rest.
    """
    levels = BLOCKS if console.encoding.lower().startswith("utf") else ASCII
    curves = _Curves(max(6, min(30, console.width // 6)), levels)
    room = max(3, console.height - _LINES_AROUND)
    reasons = view.reasons[: max(1, room // 3)]
    limits = view.limits[: max(1, room // 3)]
    endpoints = view.endpoints[: max(1, room - len(reasons) - len(limits))]
    parts: list[RenderableType] = [
        _title(view, console.width, halted=halted),
        _totals(view, levels),
        Text(),
        _endpoints(view, endpoints, curves),
    ]
    lines = 4 + len(endpoints)
    if limits:
        parts += [Text(), _limits(view, limits, curves)]
        lines += 2 + len(limits)
    if reasons:
        parts += [Text(), _reasons(reasons, curves)]
        lines += 2 + len(reasons)
    parts += [Text() for _ in range(console.height - lines - 1)]
    return Group(*parts, _keys(view.order))


@dataclass(frozen=True, slots=True)
class _Curves:
    """Sparklines of this screen: all as wide, so that they stand below each other."""

    width: int
    levels: str

    def __call__(self, values: Sequence[float], style: str) -> Text:
        return Text(sparkline(values, self.width, self.levels), style, no_wrap=True)


def _title(view: View, width: int, *, halted: bool) -> Text:
    left = Text.assemble((" ilax top ", "bold reverse"), " ", (view.instance, "bold"))
    if halted:
        left.append("   halted", "bold yellow")
    right = f"{time.strftime('%H:%M:%S', time.localtime(view.time))}  {view.seconds:.1f} s "
    left.append(right.rjust(max(1, width - left.cell_len)), _QUIET)
    return left


def _totals(view: View, levels: str) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" {view.endpoint_count}", "bold").append(" endpoints")
    for name, bps, pps in (("rx", view.rx_bps, view.rx_pps), ("tx", view.tx_bps, view.tx_pps)):
        text.append(f"   {name} ", _QUIET).append(f"{units.about(bps)}bit/s", "bold")
        text.append(f" {units.about(pps)}/s")
        if name == "rx":
            text.append(" ").append(sparkline(view.rx_history, 10, levels), "cyan")
    text.append("   drops ", _QUIET)
    text.append(f"{units.about(view.drops_pps)}/s", _LOUD if view.drops_pps else "bold")
    return text.append(" ").append(sparkline(view.drops_history, 10, levels), "red")


def _table(
    first: str, left: Sequence[str], right: Sequence[str], by: Sequence[str], curves: _Curves
) -> Table:
    """A table with a first column that gets what room there is, and a curve at the end."""
    made = Table(box=None, expand=True, padding=(0, 1), header_style="bold", pad_edge=True)
    made.add_column(first, no_wrap=True, overflow="ellipsis", ratio=1)
    for name in left:
        made.add_column(name, no_wrap=True, overflow="ellipsis", header_style=f"bold {_QUIET}")
    for name in right:
        style = "bold cyan" if name in by else f"bold {_QUIET}"
        made.add_column(name, no_wrap=True, justify="right", header_style=style, min_width=7)
    made.add_column("", no_wrap=True, width=curves.width)
    return made


def _endpoints(view: View, rows: Sequence[EndpointRates], curves: _Curves) -> Table:
    ordered = {"rate": ("rx bit/s", "tx bit/s"), "packets": ("rx/s", "tx/s"), "drops": ("drops/s",)}
    made = _table(
        "ENDPOINT",
        ("device",),
        ("rx bit/s", "rx/s", "tx bit/s", "tx/s", "drops/s"),
        ordered[view.order],
        curves,
    )
    for row in rows:
        idle = not (row.rx_pps or row.tx_pps or row.drops_pps)
        made.add_row(
            Text(str(row.sir), _QUIET if idle else ""),
            Text(row.device, _QUIET),
            *(_number(value) for value in (row.rx_bps, row.rx_pps, row.tx_bps, row.tx_pps)),
            _number(row.drops_pps, _LOUD),
            curves(row.history, "red" if view.order == "drops" else "cyan"),
        )
    return made


def _limits(view: View, rows: Sequence[LimitRates], curves: _Curves) -> Table:
    ordered = {"rate": ("passed bit/s",), "packets": ("passed/s",), "drops": ("dropped/s",)}
    made = _table(
        "LIMIT",
        ("allows", "used"),
        ("passed bit/s", "passed/s", "marked/s", "dropped/s", "backlog"),
        ordered[view.order],
        curves,
    )
    for row in rows:
        made.add_row(
            Text(row.cgroup, "" if row.passed_pps or row.dropped_pps else _QUIET),
            Text(allows(row.rate, row.packets), _QUIET),
            _bar(row, curves.levels),
            *(_number(value) for value in (row.passed_bps, row.passed_pps)),
            _number(row.marked_pps, "bold yellow"),
            _number(row.dropped_pps, _LOUD),
            _number(row.backlog_ns / 1e9, unit="s"),
            curves(row.history, "red" if view.order == "drops" else "cyan"),
        )
    return made


def _reasons(rows: Sequence[ReasonRates], curves: _Curves) -> Table:
    made = _table("REASON", ("hook",), ("packets/s", "bit/s", "packets"), ("packets/s",), curves)
    for row in rows:
        style = _VERDICTS[row.verdict] if row.pps else _QUIET
        made.add_row(
            Text(row.reason, style),
            Text(row.hook, _QUIET),
            *(_number(value) for value in (row.pps, row.bps, row.packets)),
            curves(row.history, _VERDICTS[row.verdict]),
        )
    return made


def _number(value: float, style: str = "", unit: str = "") -> Text:
    if not value:
        return Text("·", _QUIET)
    text = units.about(value, unit)
    if unit and value < 1:
        text = f"{value * 1e6:.3g} u{unit}" if value < 1e-3 else f"{value * 1e3:.3g} m{unit}"
    return Text(text, style)


def _bar(row: LimitRates, levels: str) -> Text:
    if row.rate is None and row.packets is None:
        return Text("-", _QUIET)
    full = min(_BAR, round(row.use * _BAR))
    style = "red" if row.dropped_pps else "yellow" if row.marked_pps or row.use > 0.9 else "green"
    on, off = ("━", "─") if levels == BLOCKS else ("#", ".")
    return Text.assemble((on * full, style), (off * (_BAR - full), _QUIET), f" {row.use:4.0%}")


def _keys(order: Order) -> Text:
    text = Text(" ", no_wrap=True, overflow="ellipsis")
    for key, what in (("r", "rate"), ("p", "packets"), ("d", "drops")):
        text.append(f" {key} ", "reverse" if what == order else "bold")
        text.append(f"{what}  ", "" if what == order else _QUIET)
    return (
        text.append("  space ", "bold")
        .append("halt  ", _QUIET)
        .append(" q ", "bold")
        .append("quit", _QUIET)
    )
