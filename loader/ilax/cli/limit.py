# SPDX-License-Identifier: Apache-2.0
"""`ilax limit`."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from ilax import units
from ilax.cli import offers
from ilax.cli.context import (
    Context,
    Parsed,
    ReadingCommand,
    SecondsType,
    counted,
    only_reading,
    pass_context,
    plain,
    table,
)
from ilax.errors import UsageError

if TYPE_CHECKING:
    from ilax.limiting.limit_readings import Limit, Rates
    from ilax.limiting.limits import Outcome


class _Value(Parsed[Any]):
    """A value with a unit; "none" too, if it can be taken back."""

    def __init__(self, name: str, parse: Callable[[str], Any], *, none: bool = False) -> None:
        self.name = name
        self._number = parse
        self._none = none

    def parse(self, text: str) -> Any:
        """Text to a number in the base unit."""
        return text if self._none and text == "none" else self._number(text)


def _tag(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{text!r} is no number; write it like 16 or 0x10") from None


RATE = _Value("rate", units.parse_rate, none=True)
PACKETS = _Value("packets", units.parse_packets, none=True)
TIME = _Value("time", units.parse_time)
TAG = _Value("number", _tag)


@click.group()
def limit() -> None:
    """What cgroups may receive: rates, packets/s, and what happens beyond.

    A CGROUP is the path of its folder, the path below the root of the cgroup v2
    hierarchy, or its number (inode of the folder).

    \b
    Example:
      ilax limit set system.slice/web1 --rate 200mbit --pps 50k
      ilax limit list
    """


@limit.command("set")
@click.argument("cgroup", shell_complete=offers.CGROUPS)
@click.option("--rate", type=RATE, help='Such as 200mbit, or 25mbps (bytes); "none".')
@click.option("--pps", type=PACKETS, help='Packets per second, such as 50k; "none".')
@click.option(
    "--burst", type=TIME,
    help="Time of the rate that is saved up when idle. Default: 1ms, and two frames at least.",
)  # fmt: skip
@click.option(
    "--mark-at", type=TIME,
    help="Backlog from which on packets are marked or tagged. Default: 0.5ms; 0 for tag.",
)  # fmt: skip
@click.option(
    "--drop-at", type=TIME,
    help="Backlog from which on packets are dropped: what is queued before a packet, whatever "
    "its length. Default: 1ms; 4ms for mark and tag.",
)  # fmt: skip
@click.option(
    "--small-extra", type=TIME,
    help="Added to --drop-at for frames up to 128 bytes, at their own limit only. A flood of "
    "such frames then leaves nothing to longer ones. Default: 0.",
)  # fmt: skip
@click.option(
    "--parent", shell_complete=offers.LIMITED,
    help='"auto" (nearest limited cgroup above), "none", or a cgroup.',
)  # fmt: skip
@click.option(
    "--action", help="drop (default), mark (ECN, then drop), tag (never drops), count (dry run)."
)
@click.option("--tag-mark", type=TAG, help="skb->mark of tagged packets.")
@click.option("--tag-priority", type=TAG, help="skb->priority of tagged packets.")
@pass_context
def set_(
    context: Context,
    cgroup: str,
    rate: int | Literal["none"] | None,
    pps: Any,
    burst: int | None,
    mark_at: int | None,
    drop_at: int | None,
    small_extra: int | None,
    parent: str | None,
    action: str | None,
    tag_mark: int | None,
    tag_priority: int | None,
) -> None:
    """Set the limit of a cgroup, or change the named options of it.

    Options that are not named stay as they are. Those that were never named stay
    at their default, which may follow: the burst from the rate, the thresholds
    from the action. Nothing is reset: the backlog of a limit in force goes on.

    Units are tc's: bit, kbit, mbit, gbit, tbit per second, kibit and so on for
    powers of 1024, bps, kbps ... for bytes; k, m, g for packets; ns, us, ms, s.

    \b
    Example:
      ilax limit set system.slice/web1 --rate 200mbit --pps 50k
      ilax limit set system.slice/web1 --rate 300mbit --action mark --drop-at 4ms
      ilax limit set batch.slice --rate 1gbit --action tag --tag-mark 0x10
    """
    from ilax.instances.instance import Instance
    from ilax.limiting import limit_readings, limits
    from ilax.limiting.limit_rules import Wish
    from ilax.system.cgroups import Tree

    with Instance.open(context.instance) as instance:
        tree = Tree.read()
        above: Any = parent
        if parent not in (None, "auto", "none"):
            above = tree.find(parent).id
        target = tree.find(cgroup)
        outcome = limits.put(
            instance,
            target,
            Wish(
                rate=rate,
                packets=pps,
                burst=burst,
                mark=mark_at,
                drop=drop_at,
                small=small_extra,
                action=action,
                tag_mark=tag_mark,
                tag_priority=tag_priority,
                parent=above,
            ),
        )
        now = limit_readings.read(instance, target.id)
    done = "set" if outcome.fresh else "changed"
    lines = [f"limit of {outcome.cgroup} {done}: {_rules(now)}", *_moved(outcome)]
    context.show({**plain(now), "moved": outcome.moved}, "\n".join(lines))


@limit.command("del")
@click.argument("cgroup", shell_complete=offers.LIMITED)
@pass_context
def delete(context: Context, cgroup: str) -> None:
    """Remove the limit of a cgroup; its children go to its own parent.

    A cgroup that is gone is named by its number; `gc` finds all of those.

    \b
    Example:
      ilax limit del system.slice/web1
    """
    from ilax.instances.instance import Instance
    from ilax.limiting import limits

    with Instance.open(context.instance) as instance:
        outcome = limits.delete(instance, limits.cgroup_of(instance, cgroup))
    context.show(outcome, "\n".join([f"limit of {outcome.cgroup} removed", *_moved(outcome)]))


def _moved(outcome: Outcome) -> list[str]:
    return [f"note: {name} has another parent now" for name in outcome.moved]


@limit.command("list", cls=ReadingCommand)
@pass_context
def list_all(context: Context) -> None:
    """List the limits, with what they passed and dropped.

    \b
    Example:
      ilax limit list
    """
    from ilax.instances.instance import Instance
    from ilax.limiting import limit_readings

    with Instance.open(context.instance) as instance:
        found = limit_readings.read_all(instance)
    rows = [
        (
            one.cgroup if one.alive else f"{one.cgroup} (gone)",
            units.format_rate(one.rate) if one.rate else "-",
            _packets(one),
            "-" if one.rate is None and one.packets is None else one.action,
            one.parents[0] if one.parents else "-",
            _charged_at(one),
            one.counted.passed_packets,
            one.counted.marked_packets + one.counted.tagged_packets,
            one.counted.dropped_packets,
        )
        for one in found
    ]
    header = (
        *("cgroup", "rate", "pps", "action", "parent", "charged at"),
        *("passed", "marked", "dropped"),
    )
    context.show(found, table(header, rows))


def _charged_at(one: Limit) -> str:
    at = ["cgroup"] if one.attached else []
    if one.endpoints:
        at.append(counted(len(one.endpoints), "endpoint"))
    return ", ".join(at) or "-"


@limit.command("show", cls=ReadingCommand)
@click.argument("cgroup", shell_complete=offers.LIMITED)
@pass_context
def show(context: Context, cgroup: str) -> None:
    """Show one limit: rules, parents, where it is charged, counters and backlog.

    \b
    Example:
      ilax limit show system.slice/web1
    """
    from ilax.instances.instance import Instance
    from ilax.limiting import limit_readings, limits

    with Instance.open(context.instance) as instance:
        found = limit_readings.read(instance, limits.cgroup_of(instance, cgroup))
    at = [str(sir) for sir in found.endpoints]
    if found.attached:
        at.append("the cgroup itself")
    counts = found.counted
    facts = [
        ("cgroup", found.cgroup if found.alive else f"{found.cgroup} (gone)"),
        ("number", found.id),
        ("rules", _rules(found)),
        ("parents", ", ".join(found.parents) or "none"),
        ("charged at", ", ".join(at) or "nowhere"),
        ("backlog", units.format_time(found.backlog_ns)),
        ("last charge", _ago(found.idle_ns)),
        ("passed", f"{counts.passed_packets} packets, {counts.passed_bytes} bytes"),
        ("marked", f"{counts.marked_packets} packets, {counts.marked_bytes} bytes"),
        ("tagged", f"{counts.tagged_packets} packets, {counts.tagged_bytes} bytes"),
        ("dropped", f"{counts.dropped_packets} packets, {counts.dropped_bytes} bytes"),
    ]
    context.show(found, "\n".join(f"{name:12} {value}" for name, value in facts))


def _packets(one: Limit) -> str:
    if one.packets is None:
        return "-"
    whole = isinstance(one.packets, int)
    return units.format_packets(one.packets) if whole else f"{one.packets:.3g}"  # type: ignore[arg-type]


def _ago(ns: int | None) -> str:
    return "never" if ns is None else f"{units.about(ns / 1e9)} s ago"


def _rules(one: Limit) -> str:
    """The rules as the options of `set` that make them."""
    if one.rate is None and one.packets is None:
        return "none: only its parents limit it"
    as_time = units.format_time
    words = [
        f"--rate {units.format_rate(one.rate)}" if one.rate else "",
        f"--pps {_packets(one)}" if one.packets else "",
        f"--burst {as_time(one.burst_ns)}",
        f"--mark-at {as_time(one.mark_ns)}" if one.action != "drop" else "",
        f"--drop-at {as_time(one.drop_ns)}",
        f"--small-extra {as_time(one.small_ns)}",
        f"--action {one.action}",
    ]
    if one.action == "tag":
        words += [f"--tag-mark {one.tag_mark:#x}", f"--tag-priority {one.tag_priority}"]
    return " ".join(filter(None, words))


@limit.command("watch", cls=ReadingCommand)
@click.argument("cgroups", nargs=-1, metavar="[CGROUP]...", shell_complete=offers.LIMITED)
@click.option(
    "--interval", type=SecondsType("10ms"), default="1s", show_default=True, metavar="TIME",
    help="Time between two readings.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), help="End after so many; default: go on.")
@pass_context
def watch(context: Context, cgroups: tuple[str, ...], interval: float, count: int | None) -> None:
    """Show what passes, is marked (or tagged) and dropped each second, live.

    On a terminal the table is drawn anew in place; elsewhere one table follows
    the other. With --json each reading is one line.

    \b
    Example:
      ilax limit watch
      ilax limit watch system.slice/web1 --interval 100ms --count 10 --json
    """
    from ilax.instances.instance import Instance
    from ilax.limiting import limit_readings, limits

    def read() -> limit_readings.Sample:
        # Opened each time, so that an instance that is taken down is seen to be.
        with Instance.open(context.instance) as instance:
            chosen = {limits.cgroup_of(instance, text) for text in cgroups}
            return limit_readings.sample(instance, chosen or None)

    before, shown = read(), 0
    in_place = sys.stdout.isatty() and not context.as_json
    with contextlib.suppress(KeyboardInterrupt):
        while count is None or shown < count:
            time.sleep(max(0.0, interval - (time.monotonic_ns() - before.at_ns) / 1e9))
            after = read()
            found = limit_readings.rates(before, after)
            if context.as_json:
                line = {"time_ns": after.at_ns, "limits": plain(found)}
                click.echo(json.dumps(line))
            else:
                width = shutil.get_terminal_size().columns if in_place else None
                click.echo(f"{_REDRAW if in_place else ''}{_rates_table(found, width)}")
                if not in_place:
                    click.echo()
            sys.stdout.flush()
            before, shown = after, shown + 1


# Cursor to the top left, and all below it erased.
_REDRAW = "\x1b[H\x1b[J"


def _rates_table(found: list[Rates], width: int | None) -> str:
    """Rates of each limit.

    Args:
        width: columns of the terminal; what is too much for it is cut off the
            beginnings of the names, as their ends differ. None: nothing is cut.
    """
    header = [
        f"{name:>{columns}}"
        for what in ("pass", "mark", "drop")
        for name, columns in ((f"{what} bit/s", _BITS), ("pps", _PPS))
    ]
    rows = []
    for one in found:
        pairs = (
            (one.passed_bps, one.passed_pps),
            (one.marked_bps, one.marked_pps),
            (one.dropped_bps, one.dropped_pps),
        )
        numbers = [
            text
            for bits, packets in pairs
            for text in (f"{units.about(bits):>{_BITS}}", f"{units.about(packets):>{_PPS}}")
        ]
        rows.append([one.cgroup, *numbers, f"{units.about(one.backlog_ns / 1000)} us"])
    text = table(("cgroup", *header, "backlog"), rows)
    over = 0 if width is None else max(map(len, text.splitlines())) - width
    if over <= 0:
        return text
    longest = max(8, max(len(row[0]) for row in rows) - over)
    for row in rows:
        if len(row[0]) > longest:
            row[0] = f"…{row[0][1 - longest :]}"
    return table(("cgroup", *header, "backlog"), rows)


# Columns of a rate in `watch`.
_BITS, _PPS = 10, 5


@limit.command("gc")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@pass_context
def gc(context: Context, dry_run: bool) -> None:
    """Remove what belongs to cgroups that are gone, and repair half-done work.

    Rows and links of removed cgroups go; endpoints that named one are not limited
    any more; limits below it go to its parent.

    \b
    Example:
      ilax limit gc --dry-run
    """
    from ilax.instances.instance import Instance
    from ilax.limiting import limits_gc

    quiet = only_reading() if dry_run else contextlib.nullcontext()
    with quiet, Instance.open(context.instance) as instance:
        found = limits_gc.collect(instance, dry_run=dry_run)
    lines = [
        f"cgroup {number}: its row named no slot of its own: removed" for number in found.strays
    ]
    for gone in found.removed:
        lines.append(f"cgroup {gone.cgroup} is gone: its limit (row {gone.slot}) is removed")
        lines += [f"  endpoint {sir} is not limited any more" for sir in gone.endpoints]
        lines += [f"  {child} has its parent now" for child in gone.children]
    lines += [f"{name}: no endpoint names it, its empty row is removed" for name in found.unused]
    lines += [f"endpoint {sir} named a row of nobody: not limited" for sir in found.endpoints]
    lines += [f"cgroup {number}: program taken off" for number in found.detached]
    lines += [f"{name}: program attached" for name in found.attached]
    lines += [f"{name}: parents and flags brought up to date" for name in found.rewritten]
    if lines and dry_run:
        lines.append("nothing was changed: dry run")
    context.show(found, "\n".join(lines) or "nothing to do")
