# SPDX-License-Identifier: Apache-2.0
"""A report, to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ilax.trace.histogram import Histogram
from ilax.trace.probes import Part
from ilax.units import about

if TYPE_CHECKING:
    from ilax.trace.needs import Need
    from ilax.trace.report import Report, Way

Table = Callable[[Sequence[str], Sequence[Sequence[object]]], str]

_BY = {"stack": "delivered by tc, from the driver", "xdp": "delivered by XDP, from its verdict"}


def report(found: Report, table: Table, *, each: bool, rows: int) -> str:
    """All of a report.

    Args:
        table: makes columns of text.
        each: a histogram for each endpoint, and not only for all of them.
        rows: endpoints in the table; 0: all.
    """
    ways = sorted(found.ways, key=lambda way: (-way.latency.packets, way.endpoint))
    shown = ways[: rows or None]
    blocks = [
        *_latency(found, ways, shown, table, each),
        _block(
            "XDP exceptions",
            table,
            ("device", "action", "program", "id", "packets"),
            [(e.device, e.action, e.program, e.program_id, e.packets) for e in found.exceptions],
        ),
        _block(
            "XDP redirect errors",
            table,
            ("from", "to", "step", "error", "packets"),
            [(e.source, e.target, e.step, e.error, e.packets) for e in found.redirects],
        ),
        _block(
            "drops of the kernel (* a verdict of tc: see ilax counters)",
            table,
            ("for endpoint", "at", "reason", "in", "packets"),
            [
                (
                    d.endpoint or "-",
                    d.device or "other namespace",
                    d.reason + "*" * d.by_tc,
                    d.function,
                    d.packets,
                )
                for d in found.drops
            ],
        ),
        _ending(found),
    ]
    return "\n\n".join(block for block in blocks if block)


def _latency(
    found: Report, ways: Sequence[Way], shown: Sequence[Way], table: Table, each: bool
) -> list[str]:
    blocks = []
    for path, by in _BY.items():
        mine = [way for way in ways if way.path == path]
        if mine:
            title = f"{', '.join(found.uplinks)} -> containers' stacks ({by})"
            blocks.append(_histogram(title, Histogram.sum(way.latency for way in mine)))
    if each:
        blocks += [
            _histogram(f"-> {way.endpoint} ({way.device}, by {way.path})", way.latency)
            for way in shown
        ]
    lines = [(w.endpoint, w.device, w.path, w.latency.packets, *_times(w.latency)) for w in shown]
    header = ("endpoint", "device", "by", "packets", "mean", "half below", "99% below")
    if lines:
        blocks.append(table(header, lines))
    if len(shown) < len(ways):
        blocks.append(f"{len(ways) - len(shown)} more, with fewer packets (--rows 0 shows all)")
    return blocks


def _times(latency: Histogram) -> tuple[str, str, str]:
    return _time(latency.mean), _time(latency.below(0.5)), _time(latency.below(0.99))


def _time(ns: int) -> str:
    return about(ns / 1e6, "ms") if ns >= 1e6 else about(ns / 1e3, "us")


def _histogram(title: str, latency: Histogram) -> str:
    mean, half, most = _times(latency)
    head = f"{title}: {latency.packets} packets, mean {mean}, half below {half}, 99% below {most}"
    return "\n".join([head, *latency.lines()])


def _block(
    title: str, table: Table, header: Sequence[str], rows: Sequence[Sequence[object]]
) -> str:
    return f"{title}\n{table(header, rows)}" if rows else ""


def _ending(found: Report) -> str:
    told = {
        Part.STACK: [way for way in found.ways if way.path == "stack"],
        Part.XDP: [way for way in found.ways if way.path == "xdp"],
        Part.EXCEPTIONS: found.exceptions,
        Part.REDIRECTS: [one for one in found.redirects if one.step == "redirect"],
        Part.TRANSMITS: [one for one in found.redirects if one.step == "transmit"],
        Part.DROPS: found.drops,
    }
    lines = [f"none seen: {part.value}" for part in found.watched if not told[part]]
    for gap in found.gaps:
        lines.append(f"not measured: {gap.part.value}")
        lines += [f"    {why}" for why in gap.because]
    if found.untold:
        lines.append(f"{found.untold} events were not counted: the tables are full")
    lines.append(
        f"{found.seconds:.1f} s, instance {found.instance}, {found.endpoints} endpoints, "
        f"uplink {', '.join(found.uplinks)}"
    )
    return "\n".join(lines)


def needs(all_needs: Sequence[Need]) -> str:
    """What tracing takes: a line each, with what to do about what is missing."""
    lines = []
    for need in all_needs:
        lines.append(f"{'ok' if need.found else 'missing':8} {need.name}: {need.found or need.why}")
        if need.remedy:
            lines.append(f"{'':8} {need.remedy}")
    return "\n".join(lines)
