# SPDX-License-Identifier: Apache-2.0
"""What the live screen of `ilax top` looks like."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ilax import units
from ilax.cli.top import allows
from ilax.watching.sparkline import ASCII, BLOCKS, sparkline

if TYPE_CHECKING:
    from ilax.watching.rate_rows import EndpointRates, LimitRates, Order, ReasonRates, View

_QUIET, _LOUD = "bright_black", "bold red"
_VERDICTS = {"pass": "yellow", "send": "green", "drop": "red"}
# Lines that are no rows: two at the top, a blank one and a header for each of
# three tables, a blank one and the keys at the bottom.
_LINES_AROUND = 2 + 3 * 2 + 2
_BAR = 10
# Columns: between two cells, of a number, and at least of a name, of a name where words
# have gone already, and of a curve.
_GAP, _NUMBER_MIN, _NAME_MIN, _NAME_LEAST, _CURVE_MIN = 1, 7, 16, 9, 6


def screen(view: View, console: Console, *, halted: bool = False) -> RenderableType:
    """All of the screen, as high as the terminal.

    Reasons and limits get a third of the rows each at most, endpoints the rest.
    """
    levels = BLOCKS if console.encoding.lower().startswith("utf") else ASCII
    space = _Space(console.width, levels)
    room = max(3, console.height - _LINES_AROUND)
    reasons = view.reasons[: max(1, room // 3)]
    limits = view.limits[: max(1, room // 3)]
    endpoints = view.endpoints[: max(1, room - len(reasons) - len(limits))]
    parts: list[RenderableType] = [
        _title(view, console.width, halted=halted),
        _totals(view, levels),
        Text(),
        _endpoints(view, endpoints, space),
    ]
    lines = 4 + len(endpoints)
    if limits:
        parts += [Text(), _limits(view, limits, space)]
        lines += 2 + len(limits)
    if reasons:
        parts += [Text(), _reasons(reasons, space)]
        lines += 2 + len(reasons)
    parts += [Text() for _ in range(console.height - lines - 1)]
    return Group(*parts, _keys(view.order))


@dataclass(frozen=True, slots=True)
class _Space:
    """Where the tables go: columns of the terminal, and characters of the curves."""

    width: int
    levels: str

    @property
    def curve(self) -> int:
        """The widest that a curve is."""
        return max(_CURVE_MIN, min(30, self.width // 6))


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a table: a name, words, numbers, and the history for the curve."""

    name: Text
    words: Sequence[Text]
    numbers: Sequence[Text]
    history: Sequence[float]
    style: str


def _title(view: View, width: int, *, halted: bool) -> Text:
    left = Text(no_wrap=True, overflow="ellipsis")
    left.append(" ilax top ", "bold reverse").append(" ").append(view.instance, "bold")
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
    name: str,
    words: Sequence[str],
    numbers: Sequence[str],
    by: Sequence[str],
    rows: Sequence[_Row],
    space: _Space,
) -> Table:
    """A table as wide as the terminal. Where that is narrow, the curve goes first.

    Then names lose their beginning, as their ends differ, and then words go, the last
    ones first. Numbers are never cut; on a very narrow one columns of them go as well,
    the last ones first, but one of those that the rows are in order of stays.
    """
    names = _widest(len(name), (row.name for row in rows))
    widths = [_widest(len(word), (row.words[i] for row in rows)) for i, word in enumerate(words)]
    kept = {
        i: _widest(max(_NUMBER_MIN, len(number)), (row.numbers[i] for row in rows)) + _GAP
        for i, number in enumerate(numbers)
    }
    least = min(names, _NAME_LEAST)
    # The last of what goes first, and one of the order never.
    for i in sorted(kept, key=lambda i: (numbers[i] in by, -i))[:-1]:
        if space.width - _GAP - sum(kept.values()) < least:
            del kept[i]
    room = space.width - _GAP - sum(kept.values())
    while widths and room - sum(widths) - _GAP * len(widths) < min(names, _NAME_MIN):
        widths.pop()
    room -= sum(widths) + _GAP * len(widths)
    curve = min(space.curve, room - names - _GAP)
    if curve < _CURVE_MIN:
        curve = 0

    made = Table(box=None, expand=True, padding=(0, 0, 0, _GAP), header_style="bold")
    made.add_column(name, no_wrap=True, ratio=1)
    for word in words[: len(widths)]:
        made.add_column(word, no_wrap=True, header_style=f"bold {_QUIET}")
    for number in (numbers[i] for i in kept):
        style = "bold cyan" if number in by else f"bold {_QUIET}"
        made.add_column(
            number, no_wrap=True, justify="right", header_style=style, min_width=_NUMBER_MIN
        )
    if curve:
        made.add_column("", no_wrap=True, width=curve)
    for row in rows:
        line = [_ending(row.name, room), *row.words[: len(widths)], *(row.numbers[i] for i in kept)]
        if curve:
            line.append(Text(sparkline(row.history, curve, space.levels), row.style))
        made.add_row(*line)
    return made


def _widest(least: int, cells: Iterable[Text]) -> int:
    return max([least, *(cell.cell_len for cell in cells)])


def _ending(text: Text, width: int) -> Text:
    """The text, or as much of its end as there is room for."""
    if text.cell_len <= width:
        return text
    return Text(f"…{text.plain[len(text) - max(1, width - 1) :]}", text.style)


def _endpoints(view: View, rows: Sequence[EndpointRates], space: _Space) -> Table:
    ordered = {"rate": ("rx bit/s", "tx bit/s"), "packets": ("rx/s", "tx/s"), "drops": ("drops/s",)}
    return _table(
        "ENDPOINT",
        ("device",),
        ("rx bit/s", "rx/s", "tx bit/s", "tx/s", "drops/s"),
        ordered[view.order],
        [
            _Row(
                Text(str(row.sir), "" if row.rx_pps or row.tx_pps or row.drops_pps else _QUIET),
                (Text(row.device, _QUIET),),
                (
                    *(_number(value) for value in (row.rx_bps, row.rx_pps, row.tx_bps, row.tx_pps)),
                    _number(row.drops_pps, _LOUD),
                ),
                row.history,
                _curve_style(view),
            )
            for row in rows
        ],
        space,
    )


def _limits(view: View, rows: Sequence[LimitRates], space: _Space) -> Table:
    ordered = {"rate": ("passed bit/s",), "packets": ("passed/s",), "drops": ("dropped/s",)}
    return _table(
        "LIMIT",
        ("allows", "used"),
        ("passed bit/s", "passed/s", "marked/s", "dropped/s", "backlog"),
        ordered[view.order],
        [
            _Row(
                Text(row.cgroup, "" if row.passed_pps or row.dropped_pps else _QUIET),
                (Text(allows(row.rate, row.packets), _QUIET), _bar(row, space.levels)),
                (
                    *(_number(value) for value in (row.passed_bps, row.passed_pps)),
                    _number(row.marked_pps, "bold yellow"),
                    _number(row.dropped_pps, _LOUD),
                    _number(row.backlog_ns / 1e9, unit="s"),
                ),
                row.history,
                _curve_style(view),
            )
            for row in rows
        ],
        space,
    )


def _curve_style(view: View) -> str:
    return "red" if view.order == "drops" else "cyan"


def _reasons(rows: Sequence[ReasonRates], space: _Space) -> Table:
    return _table(
        "REASON",
        ("hook",),
        ("packets/s", "bit/s", "packets"),
        ("packets/s",),
        [
            _Row(
                Text(row.reason, _VERDICTS[row.verdict] if row.pps else _QUIET),
                (Text(row.hook, _QUIET),),
                tuple(_number(value) for value in (row.pps, row.bps, row.packets)),
                row.history,
                _VERDICTS[row.verdict],
            )
            for row in rows
        ],
        space,
    )


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
