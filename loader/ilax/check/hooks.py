# SPDX-License-Identifier: Apache-2.0
"""What hangs on the hooks of the uplink, in which order, and what of it is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING

from ilax.bpf.link import TCX_INGRESS, tcx_programs_on
from ilax.bpf.program import Identity, identify, in_words
from ilax.check import restore
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.view import View
from ilax.hooks import clsact, xdp_slot
from ilax.hooks.places import CONTAINER, XDP_INGRESS, Hook, is_beside, of_link, uplink_hooks

if TYPE_CHECKING:
    from ilax.bpf import LinkInfo

NOT_ATTACHED = kind(
    "hook.not-attached", Severity.ERROR, "a program of ours is not where it belongs", Remedy.UP
)
BESIDE = kind(
    "hook.beside", Severity.WARNING,
    "an `up` was killed on its way to another uplink; both links run", Remedy.UP,
)  # fmt: skip
TWICE = kind(
    "hook.twice", Severity.WARNING,
    "an `up` was killed between tcx and clsact: packets pass our program twice", Remedy.UP,
)  # fmt: skip
OTHER_PROGRAM = kind(
    "hook.other-program", Severity.ERROR,
    "our link or filter runs another program than the pinned one", Remedy.STEP,
)  # fmt: skip
BEFORE = kind(
    "hook.foreign-before", Severity.WARNING,
    "a foreign program decides about packets before ours; fine if it is meant to",
)  # fmt: skip
AFTER = kind("hook.foreign-after", Severity.INFO, "a foreign program sees what ours passes on")
XDP_FOREIGN = kind(
    "hook.xdp-foreign", Severity.INFO,
    "a foreign program holds the XDP hook; tc does the whole job behind it",
)  # fmt: skip
SLOT_EMPTY = kind(
    "hook.slot-empty", Severity.WARNING,
    "somebody has taken our XDP program out of its slot; tc does the whole job", Remedy.UP,
)  # fmt: skip
SLOT_FOREIGN = kind(
    "hook.slot-foreign", Severity.WARNING,
    "a foreign program is in the slot that was ours; tc does the whole job",
)  # fmt: skip
SLOT_NOT_CALLED = kind(
    "hook.slot-not-called", Severity.WARNING,
    "no program on the XDP hook uses the array that ours is in; tc does the whole job",
)  # fmt: skip
SLOT_BESIDE = kind(
    "hook.slot-beside", Severity.WARNING,
    "an `up` was killed on its way into a slot of a foreign array, or out of one", Remedy.UP,
)  # fmt: skip


def words(view: View, hook: Hook) -> str:
    """A hook in words, such as "eth0 ingress"."""
    way = "ingress" if hook.direction == TCX_INGRESS else "egress"
    return f"{view.here.name(hook.ifindex)} {way}"


def without(view: View, hook: Hook) -> str | None:
    """What is seen where our program is not on a hook; None if it is."""
    link = view.links.get(hook.link)
    if link is not None and link.ifindex == hook.ifindex:
        return None
    if any(item.ours for item in clsact.filters(view.network, hook)):
        return None
    return _lost(view, link)


def _lost(view: View, link: LinkInfo | None) -> str:
    if link is None:
        return "neither link nor filter of ours"
    if not link.ifindex:
        return "our link has lost its device, or was detached"
    return f"our link is on {view.here.name(link.ifindex)}"


@check(Needs.HOME)
def uplink(view: View) -> Iterator[Finding]:
    """Each program of the uplink is on its hook, once."""
    if view.uplink is None:
        return
    up = restore.command(view)
    for hook in uplink_hooks(view.uplink_index):
        seen = without(view, hook)
        where = words(view, hook)
        if seen is not None:
            yield NOT_ATTACHED.found(where, seen=seen, expected="our program", command=up)
        elif hook.link in view.links and any(
            item.ours for item in clsact.filters(view.network, hook)
        ):
            yield TWICE.found(where, seen="tcx link and clsact filter", expected="one", command=up)
    xdp = view.links.get(XDP_INGRESS.link)
    if xdp is not None and xdp.ifindex != view.uplink_index:
        yield NOT_ATTACHED.found(
            f"{view.uplink.name} XDP", seen=_lost(view, xdp), expected="our program", command=up
        )
    for name, link in view.links.items():
        if is_beside(name):
            yield BESIDE.found(
                view.pins.links / name,
                seen=f"a link on {view.here.name(link.ifindex)}",
                expected="one link for each hook",
                command=up,
            )


@check(Needs.HOME)
def in_links(view: View) -> Iterator[Finding]:
    """Each link runs the program that is pinned."""
    for name, link in view.links.items():
        belongs = of_link(name)
        if belongs is not None and (link.ifindex or link.cgroup):
            pin = view.pins.links / name
            yield from _other(view, str(pin), belongs.program, link.program_id)


@check(Needs.HOME)
def in_slots(view: View) -> Iterator[Finding]:
    """Our XDP program is in its slot, and the program on the hook can call it."""
    places = [str(slot) for slot in view.slots]
    links = [view.here.name(view.links[n].ifindex) for n in (XDP_INGRESS.link,) if n in view.links]
    if places and len(places + links) > 1:
        yield SLOT_BESIDE.found(
            places[0],
            seen=", ".join([*places[1:], *(f"the XDP hook of {name}" for name in links)]),
            expected="one place for our XDP program",
            command=restore.command(view),
        )
        return
    for slot in view.slots:
        number = slot.program()
        if not number:
            yield SLOT_EMPTY.found(
                slot, seen="no program", expected="our program", command=restore.command(view)
            )
        elif not xdp_slot.holds_ours(view.pins, slot):
            yield SLOT_FOREIGN.found(
                slot,
                seen=in_words(number),
                expected="our program",
                command=f"{restore.command(view)} --xdp-chain PIN:INDEX",
            )
        else:
            yield from _other(view, str(slot), XDP_INGRESS.program, number)
            if view.uplink is not None and slot.is_called_at(view.uplink_index) is False:
                on_hook = view.uplink.xdp_program
                yield SLOT_NOT_CALLED.found(
                    slot,
                    seen=in_words(on_hook) if on_hook else "no program on the hook",
                    expected=f"a program that uses array {slot.array.name}",
                    command=f"bpftool net show dev {quote(view.uplink.name)}",
                )


@check(Needs.HOME)
def in_filters(view: View) -> Iterator[Finding]:
    """Each filter of ours runs the program that is pinned."""
    ports = {endpoint.ifindex for endpoint in view.endpoints}
    for hook in (*uplink_hooks(view.uplink_index), *map(CONTAINER.at, sorted(ports))):
        number = clsact.filter_program(view.network, hook) if hook.ifindex else None
        if number:
            yield from _other(view, f"filter of {words(view, hook)}", hook.program, number)


def _other(view: View, where: str, program: str, runs: int) -> Iterator[Finding]:
    """A finding, if a hook runs another program than the pinned one of a name."""
    pinned = view.programs.get(program)
    if pinned is None or runs == pinned.id:
        return
    whole = restore.pinned_fit(view)
    found = identify(runs)
    if found.tag in (pinned.tag, ""):
        return  # the same code, loaded twice; or it may not be looked at
    yield OTHER_PROGRAM.found(
        where,
        seen=f"{found} with tag {found.tag}",
        expected=f"{Identity(pinned.id, program)} with tag {pinned.tag}",
        command=view.command("check --fix") if whole else restore.command(view),
        step=partial(restore.pinned_programs, view) if whole else None,
    )


@check(Needs.HOME)
def foreign(view: View) -> Iterator[Finding]:
    """Programs of others on our hooks, before and after ours."""
    if view.uplink is None:
        return
    for hook in uplink_hooks(view.uplink_index):
        yield from _foreign_on(view, hook, f"{restore.command(view)} --tc-order first")
    for endpoint in view.endpoints:
        if endpoint.ifindex in view.here.links:
            hook = CONTAINER.at(endpoint.ifindex)
            look = f"bpftool net show dev {quote(view.here.name(endpoint.ifindex))}"
            yield from _foreign_on(view, hook, look)
    number = view.uplink.xdp_program
    # A program that calls ours is meant to be there.
    chained = any(xdp_slot.holds_ours(view.pins, slot) for slot in view.slots)
    if number and not chained and number not in view.programs_of_instances:
        yield XDP_FOREIGN.found(
            f"{view.uplink.name} XDP",
            seen=in_words(number),
            expected="ours, by `up --xdp native` once its owner has taken it off; or ours behind "
            "it, by `up --xdp-chain`; or --ignore hook.xdp-foreign",
            command=f"bpftool net show dev {quote(view.uplink.name)}",
        )


def _foreign_on(view: View, hook: Hook, in_front: str) -> Iterator[Finding]:
    """Foreign programs around ours.

    Args:
        in_front: command that gets ours in front of tcx programs, or shows them.
    """
    where = words(view, hook)
    link = view.links.get(hook.link)
    order = tcx_programs_on(hook.ifindex, hook.direction)
    own = order.index(link.program_id) if link and link.program_id in order else len(order)
    before = [n for n in order[:own] if n not in view.programs_of_instances]
    after = [n for n in order[own + 1 :] if n not in view.programs_of_instances]
    found = clsact.filters(view.network, hook)
    # The filters of clsact run behind all of tcx.
    ours = min((item.preference for item in found if item.ours), default=0)
    first = [f for f in found if not f.ours and own == len(order) and f.preference < ours]
    rest = [f for f in found if not f.ours and f not in first]
    way = "ingress" if hook.direction == TCX_INGRESS else "egress"
    name = quote(view.here.name(hook.ifindex))
    look = f"tc filter show dev {name} {way}"
    for seen, command in (
        *((f"{in_words(n)} by tcx", in_front) for n in before),
        *((f"filter {f.name} with preference {f.preference}", look) for f in first),
    ):
        yield BEFORE.found(where, seen=seen, expected="ours first", command=command)
    for seen, command in (
        *((f"{in_words(n)} by tcx", f"bpftool net show dev {name}") for n in after),
        *((f"filter {f.name} with preference {f.preference}", look) for f in rest),
    ):
        yield AFTER.found(where, seen=seen, expected="ours alone", command=command)
