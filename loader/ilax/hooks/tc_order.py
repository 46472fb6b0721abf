# SPDX-License-Identifier: Apache-2.0
"""Where our tcx programs stand among those of others on the uplink.

The kernel keeps the tcx programs of a hook in an order and runs them one after
the other, as long as each leaves the packet to the next. A place is asked for when
a link is made; a link that is there keeps its place unless another one is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ilax.bpf.link import AFTER, BEFORE, tcx_programs_on
from ilax.bpf.program import identify
from ilax.errors import NotFoundError, UsageError
from ilax.hooks.places import uplink_hooks

# BPF_OBJ_NAME_LEN without its end.
_NAME_MOST = 15


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


@dataclass(frozen=True, slots=True)
class Standing:
    """The tcx programs of one hook.

    Attributes:
        programs: number and name of each, in the order in which they run.
    """

    programs: tuple[tuple[int, str], ...]

    @classmethod
    def read(cls, ifindex: int, direction: int) -> Self:
        """As they are now."""
        numbers = tcx_programs_on(ifindex, direction)
        return cls(tuple((number, identify(number).name) for number in numbers))

    def find(self, place: Place) -> int:
        """Number of the program that a place names; 0 if it is not there.

        Of several of one name it is the one that leaves all of them on the same side.
        """
        order = self.programs if place.flag == BEFORE else self.programs[::-1]
        # bpftool(8) shows names as long as they were written, the kernel keeps so much of them.
        wanted = place.program[:_NAME_MOST]
        return next((n for n, name in order if place.program == str(n) or wanted == name), 0)

    def holds(self, place: Place, own: int) -> bool:
        """Whether a program of ours stands where it should.

        Args:
            own: its number.
        """
        order = [number for number, _ in self.programs]
        if own not in order:
            return False
        at = order.index(own)
        if not place.program:
            return at == (0 if place.flag == BEFORE else len(order) - 1)
        other = self.find(place)
        return not other or (at < order.index(other)) == (place.flag == BEFORE)

    def around(self, own: int) -> tuple[str, str]:
        """Names of the programs right before and behind ours; "" where there is none."""
        names = [name for _, name in self.programs]
        at = [number for number, _ in self.programs].index(own)
        return names[at - 1] if at else "", "".join(names[at + 1 : at + 2])


def is_there(place: Place, ifindex: int) -> bool:
    """Whether the program that a place names, if it names one, is on one of an uplink's hooks."""
    return not place.program or any(
        Standing.read(ifindex, hook.direction).find(place) for hook in uplink_hooks(ifindex)
    )


def require(place: Place | None, ifindex: int) -> None:
    """Raise unless the program that a place names is on one of an uplink's hooks.

    Raises:
        NotFoundError: it is on none of them.
    """
    if place is not None and not is_there(place, ifindex):
        raise NotFoundError(
            f"no tcx program {place.program} is on interface {ifindex}; nothing was changed",
            hint="`bpftool net` shows what is there",
        )


def as_place(hooks: Sequence[tuple[Standing, int]]) -> Place | None:
    """The place that tells where ours stand, on all hooks; None: last, as without one.

    Args:
        hooks: each with the number of our program there.

    Raises:
        NotFoundError: no place tells it.
    """
    beside = [
        Place(flag, name)
        for standing, own in hooks
        for flag, name in zip((AFTER, BEFORE), standing.around(own), strict=True)
        # Those of another instance are called as ours are.
        if name and not name.startswith("ilax_")
    ]
    for place in (Place(AFTER), Place(BEFORE), *beside):
        if all(standing.holds(place, own) for standing, own in hooks):
            return None if place == Place(AFTER) else place
    raise NotFoundError("no order tells where our tcx programs stand on both hooks")
