# SPDX-License-Identifier: Apache-2.0
"""`ilax top`: the command, and its plain output. The live screen is in `top_screen`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import click

from ilax import units
from ilax.cli.context import (
    Context,
    ReadingCommand,
    SecondsType,
    counted,
    pass_context,
    plain,
    table,
    taken_down,
)

if TYPE_CHECKING:
    from ilax.instances.instance import Instance
    from ilax.watching.rate_rows import Order, View

_SPARK = 16


@click.command(cls=ReadingCommand)
@click.option(
    "--interval", type=SecondsType("100ms"), default="1s", show_default=True, metavar="TIME",
    help="Time between two looks.",
)  # fmt: skip
@click.option(
    "--sort",
    "order",
    type=click.Choice(["rate", "packets", "drops"]),
    default="rate",
    show_default=True,
    help="Most of these first.",
)
@click.option("--rows", type=click.IntRange(0), help="Of each table; 0 = all. Default: 20.")
@click.option("--once", is_flag=True, help="Print one interval, and end.")
@click.option("--count", type=click.IntRange(1), help="Print so many intervals, and end.")
@pass_context
def top(
    context: Context, interval: float, order: str, rows: int | None, once: bool, count: int | None
) -> None:
    """Show rates of endpoints, limits and reasons, live.

    Keys: q ends it, r p d order by rate, packets or drops, the space bar halts the
    picture. Where the output is no terminal, and with --once or --count, tables
    are printed one below the other; with --json one object each interval.

    Rates are per second; bits are those of frames, of limits those that are
    charged. The curves show the last intervals, each one up to its own maximum.

    \b
    Example:
      ilax top --sort drops
      ilax top --once --rows 0 --json
    """
    from ilax.instances.instance import Instance

    chosen = cast("Order", order)
    with Instance.open(context.instance) as instance, contextlib.suppress(KeyboardInterrupt):
        many = 1 if once else count
        if many is None and not context.as_json and _is_screen():
            from ilax.cli import top_screen

            top_screen.run(instance, interval, chosen, rows)
        else:
            _print(context, instance, interval, chosen, rows, many)


def _is_screen() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _print(
    context: Context,
    instance: Instance,
    interval: float,
    order: Order,
    rows: int | None,
    count: int | None,
) -> None:
    from ilax.watching.rates import Rates

    rates = Rates(instance, _SPARK)
    limit = 20 if rows is None else rows or None
    printed = 0
    due = time.monotonic()
    while count is None or printed < count:
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))
        if not instance.is_pinned():
            raise taken_down(instance)
        rates.look()
        view = rates.view(order, limit)
        if context.as_json:
            click.echo(json.dumps(plain(view)))
        else:
            click.echo(("\n" if printed else "") + as_text(view))
        printed += 1


def as_text(view: View) -> str:
    """All tables of a view as plain text."""
    verb = "s" if view.endpoint_count == 1 else ""
    parts = [
        f"{view.instance}: {counted(view.endpoint_count, 'endpoint')} "
        f"receive{verb} {units.about(view.rx_bps)}bit/s "
        f"({units.about(view.rx_pps)} packets/s), "
        f"send{verb} {units.about(view.tx_bps)}bit/s "
        f"({units.about(view.tx_pps)} packets/s), {units.about(view.drops_pps)} drops/s"
    ]
    if view.endpoints:
        numbers = ("rx bit/s", "rx/s", "tx bit/s", "tx/s", "drops/s")
        parts.append(
            _table(
                ("endpoint", "device", "limit"),
                numbers,
                [
                    (
                        (e.sir, e.device, e.limit or "-"),
                        (e.rx_bps, e.rx_pps, e.tx_bps, e.tx_pps, e.drops_pps),
                    )
                    for e in view.endpoints
                ],
            )
        )
    if view.limits:
        numbers = ("passed bit/s", "passed/s", "marked/s", "dropped/s", "backlog us")
        parts.append(
            _table(
                ("limit", "allows", "used"),
                numbers,
                [
                    (
                        (one.cgroup, allows(one.rate, one.packets), f"{one.use:4.0%}"),
                        (
                            *(one.passed_bps, one.passed_pps, one.marked_pps, one.dropped_pps),
                            one.backlog_ns / 1000,
                        ),
                    )
                    for one in view.limits
                ],
            )
        )
    if view.reasons:
        parts.append(
            _table(
                ("hook", "reason"),
                ("packets/s", "bit/s", "packets"),
                [((r.hook, r.reason), (r.pps, r.bps, r.packets)) for r in view.reasons],
            )
        )
    return "\n\n".join(parts)


def _table(
    texts: Sequence[str],
    numbers: Sequence[str],
    rows: Sequence[tuple[Sequence[object], Sequence[float]]],
) -> str:
    """Columns of text, and columns of numbers to the right of them."""
    widths = [max(7, len(name)) for name in numbers]

    def flush(cells: Iterable[str]) -> Iterator[str]:
        return (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))

    lines = [(*left, *flush(map(units.about, right))) for left, right in rows]
    return table((*texts, *flush(numbers)), lines)


def allows(rate: int | None, packets: float | None) -> str:
    """What a limit allows, in short."""
    found = [] if rate is None else [units.format_rate(rate)]
    if packets is not None:
        found.append(f"{units.about(packets)} packets")
    return " ".join(found) or "-"
