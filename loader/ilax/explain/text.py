# SPDX-License-Identifier: Apache-2.0
"""A journey as text of 80 columns, one block for each step, and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

from ilax import frames, units
from ilax.contract import reasons
from ilax.explain.rows import Missing
from ilax.explain.steps import Outcome
from ilax.frames import Translator
from ilax.translation import fabric

if TYPE_CHECKING:
    from ilax.endpoint.endpoints import Endpoint
    from ilax.explain.changes import Change
    from ilax.explain.limits import LimitUse
    from ilax.explain.rows import PrefixUse, Rows
    from ilax.explain.steps import Journey, Step
    from ilax.instances.instance import Instance

OUTCOMES: tuple[str, ...] = get_args(Outcome)

_WIDTH = 80
_INDENT = 11


def translator(instance: Instance) -> Translator:
    """What addresses mean to an instance."""
    return Translator.of(fabric.read(instance))


def lines(journey: Journey, known: Translator) -> list[str]:
    """The journey, to be read."""
    found = [f"packet {journey.arrives}, {journey.packet.length} bytes"]
    found += _indented(frames.lines(journey.packet, known))
    for number, step in enumerate(journey.steps, 1):
        found += ["", *_step(number, step, known)]
    found += ["", *_wrapped(f"{journey.outcome.upper()}: {journey.summary}", "")]
    return found


def _step(number: int, step: Step, known: Translator) -> list[str]:
    title = f"{number} {step.where}"
    if step.reason is not None:
        title = (
            f"{title}  {'-' * max(2, _WIDTH - len(title) - len(step.reason) - 4)}  {step.reason}"
        )
    found = [title]
    if step.loaded is not None:
        one = step.loaded
        facts = f"number {one.number}, tag {one.tag}, {one.attached}"
        found += _field("program", f"{one.name} ({facts})")
    found += _rows(step.rows)
    for limit in step.limits:
        found += _limit(limit)
    for change in step.changes:
        found += _field("rewrite", *_change(change))
    if step.mark or step.priority:
        found += _field("tag", f"mark {step.mark:#x}, priority {step.priority:#x}")
    if step.route is not None:
        found += _field("kernel", f"routes it {step.route}")
    for note in step.notes:
        found += _field("note", note)
    if step.reason is not None:
        time = f", {step.ns} ns (median of {step.runs} runs)" if step.ns else ""
        found += _field("verdict", f"{step.verdict}{time}", *reasons.meaning(step.reason).sentences)
    if step.after is not None and step.changes:
        found += _field("output", *frames.lines(step.after, known))
    return found


def _change(change: Change) -> list[str]:
    one = f"{change.what} {change.before} -> {change.after}"
    if len(one) <= _WIDTH - _INDENT:
        return [one]
    arrow = "-> ".rjust(len(change.what) + 1)
    return [f"{change.what} {change.before}", f"{arrow}{change.after}"]


# --- rows ---------------------------------------------------------------------


def _rows(rows: Rows) -> list[str]:
    found: list[str] = []
    if rows.port is not None:
        found += _field("port", *_port(rows.port))
    for prefix in rows.prefixes:
        found += _field("prefix", *_prefix(prefix))
    if isinstance(rows.mapping, Missing):
        found += _field("mapping", f"none for {rows.mapping.key}")
    elif rows.mapping is not None:
        one = rows.mapping
        found += _field(
            "mapping",
            f"{one.sir}",
            f"-> {one.wire} ({one.action}, generation {one.generation})",
        )
    if isinstance(rows.endpoint, Missing):
        found += _field("endpoint", f"none for {rows.endpoint.key}")
    elif rows.endpoint is not None:
        found += _field("endpoint", *_endpoint(rows.endpoint))
    return found


def _port(port: Any) -> list[str]:
    if isinstance(port, Missing):
        return [f"none for {port.key}"]
    allowed = "any source" if port.any_source else f"may send as {port.sir}"
    return [f"interface {port.ifindex}: {allowed}"]


def _prefix(use: PrefixUse) -> list[str]:
    if use.prefix is None:
        return [f"{use.of} {use.address} is in none of ours"]
    names = {
        "sir": "SIR prefix",
        "locator": "this host's locator",
        "block": "locators of the fabric",
    }
    kind = names.get(use.kind, use.kind)
    return [f"{use.of} is in {use.prefix}: {kind} (row {use.row})"]


def _endpoint(endpoint: Endpoint) -> list[str]:
    place = f"interface {endpoint.ifindex}" if endpoint.ifindex else "the host's own processes"
    mtu = f"MTU {endpoint.mtu}" if endpoint.mtu else "MTU not checked"
    limit = f"limit in slot {endpoint.limit}" if endpoint.limit else "no limit"
    return [
        f"{endpoint.wire}",
        f"-> {endpoint.sir}",
        f"delivery {endpoint.delivery}, {place}, {mtu}, {limit}",
    ]


def _limit(limit: LimitUse) -> list[str]:
    rates = []
    if limit.rate:
        rates.append(f"{units.format_rate(limit.rate)}/s")
    if limit.packets:
        rates.append(f"{units.about(float(limit.packets))} packets/s")
    rule = " and ".join(rates) or "no limit of its own"
    thresholds = f"drop at {units.format_time(limit.drop_ns)}"
    if limit.small_ns:
        thresholds += f" (small frames +{units.format_time(limit.small_ns)})"
    if limit.action != "drop":
        thresholds += f", mark at {units.format_time(limit.mark_ns)}"
    charged = f", costs {limit.bytes_charged} bytes of it" if limit.bytes_charged else ""
    return _field(
        "limit",
        f"{limit.cgroup}: {rule}, action {limit.action}",
        f"backlog now {units.about(limit.backlog_ns / 1e6)} ms, {thresholds}",
        f"{limit.outcome}{charged}",
    )


# --- lines --------------------------------------------------------------------


def _field(name: str, *texts: str) -> list[str]:
    found: list[str] = []
    for text in texts:
        head = f"  {name}" if not found else ""
        found += _wrapped(text, head.ljust(_INDENT))
    return found


def _wrapped(text: str, head: str) -> list[str]:
    """Wrap at spaces, and keep spaces in front: they align."""
    inner = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text.strip(),
        _WIDTH,
        initial_indent=head + inner,
        subsequent_indent=" " * (len(head) + len(inner)),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _indented(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in _wrapped(text, "  ")]


# --- JSON ---------------------------------------------------------------------


def as_json(journey: Journey, known: Translator) -> dict[str, Any]:
    """All of a journey, of types that `cli.context.plain` makes JSON of."""
    return {
        "outcome": journey.outcome,
        "summary": journey.summary,
        "arrives": journey.arrives,
        "cpu": journey.cpu,
        "packet": frames.as_dict(journey.packet, known),
        "steps": [_step_as_json(step, known) for step in journey.steps],
    }


def _step_as_json(step: Step, known: Translator) -> dict[str, Any]:
    facts: dict[str, Any] = {
        field.name: getattr(step, field.name)
        for field in dataclasses.fields(step)
        if field.name not in ("before", "after", "frame", "loaded")
    }
    facts["verdict"] = step.verdict
    if step.loaded is not None:
        facts["program"] = dataclasses.asdict(step.loaded)
        del facts["program"]["maps"]
    facts["route"] = step.route
    if step.reason is not None:
        meaning = reasons.meaning(step.reason)
        facts |= {"cause": meaning.cause, "remedy": meaning.remedy}
    facts["before"] = None if step.before is None else frames.as_dict(step.before, known)
    facts["after"] = None if step.after is None else frames.as_dict(step.after, known)
    facts["frame"] = step.frame.hex()
    return facts
