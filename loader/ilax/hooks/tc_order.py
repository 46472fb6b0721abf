# SPDX-License-Identifier: Apache-2.0
"""Where our tcx programs stand among those of others on the uplink.

The kernel keeps the tcx programs of a hook in an order and runs them one after
the other, as long as each leaves the packet to the next. A place is asked for when
a link is made; a link that is there keeps its place unless another one is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ilax.bpf import Program
from ilax.bpf.link import AFTER, BEFORE, tcx_programs_on
from ilax.errors import IlaxError, NotFoundError, UsageError


@dataclass(frozen=True, slots=True)
class Place:
    """First or last of all, or before or after one program.

    Attributes:
        flag: BEFORE or AFTER.
        program: name or number of the other program; "" for all of them.
    """

    flag: int
    program: str = ""

    def __str__(self) -> str:
        if not self.program:
            return "first" if self.flag == BEFORE else "last"
        return f"{'before' if self.flag == BEFORE else 'after'}:{self.program}"


def parse(text: str) -> Place:
    """A place as it is written: first, last, before:PROGRAM or after:PROGRAM.

    Raises:
        UsageError: it is none of these.
    """
    word, colon, program = text.partition(":")
    flag = {"first": BEFORE, "last": AFTER, "before": BEFORE, "after": AFTER}.get(word)
    relative = word in ("before", "after")
    if flag is None or relative != bool(program) or (colon and not program):
        raise UsageError(
            f"{text!r} is no order; nothing was changed",
            hint="use first, last, before:PROGRAM or after:PROGRAM (its name or number)",
        )
    return Place(flag, program)


def find(place: Place, ifindex: int, direction: int) -> int:
    """Number of the program that a place names on a hook; 0 if it is not there."""
    if not place.program:
        return 0
    for number in tcx_programs_on(ifindex, direction):
        if place.program in (str(number), _name(number)):
            return number
    return 0


def _name(number: int) -> str:
    try:
        with Program.by_id(number) as program:
            return program.name
    except IlaxError:
        return ""  # asking for it needs CAP_SYS_ADMIN


def require(place: Place | None, ifindex: int, directions: Sequence[int]) -> None:
    """Raise unless the program that a place names is on one of the hooks.

    Raises:
        NotFoundError: it is on none of them.
    """
    if place is None or not place.program:
        return
    if not any(find(place, ifindex, direction) for direction in directions):
        raise NotFoundError(
            f"no tcx program {place.program} is on interface {ifindex}; nothing was changed",
            hint="`bpftool net` shows what is there",
        )


def holds(place: Place, own: int, ifindex: int, direction: int) -> bool:
    """Whether a program of ours stands where it should.

    Args:
        own: its number.
    """
    order = tcx_programs_on(ifindex, direction)
    if own not in order:
        return False
    at = order.index(own)
    if not place.program:
        return at == (0 if place.flag == BEFORE else len(order) - 1)
    other = find(place, ifindex, direction)
    return not other or (at < order.index(other)) == (place.flag == BEFORE)
