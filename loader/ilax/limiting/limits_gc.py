# SPDX-License-Identifier: Apache-2.0
"""Bringing limits back in line with the cgroups that exist: `ilax limit gc`.

A cgroup may be removed without asking ilax, and a loader may be killed between two
of its steps. Both leave rows and links that serve nobody. What is found is decided
first, as plain data; a dry run stops there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ilax.hooks import cgroup_attach
from ilax.limiting.limit_book import Book
from ilax.system.privileges import require_capabilities

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class Removed:
    """The row of a cgroup that is gone.

    Attributes:
        cgroup: its number.
        endpoints: that named it; they are not limited any more.
        children: cgroups whose limits have its parent as theirs now.
    """

    cgroup: int
    slot: int
    endpoints: list[Address]
    children: list[str]


@dataclass(frozen=True)
class Collected:
    """What was wrong, and is right now unless this was a dry run.

    Attributes:
        strays: cgroups whose row names no slot, or the one of another cgroup.
        removed: rows of cgroups that are gone.
        unused: cgroups whose empty row no endpoint names any more.
        endpoints: that named a slot of nobody.
        detached: numbers of cgroups with a program that does not belong there.
        attached: cgroups that lacked their program, or whose program charged
            another limit.
        rewritten: cgroups whose row had other parents or flags than it should.
    """

    dry_run: bool
    strays: list[int] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    endpoints: list[Address] = field(default_factory=list)
    detached: list[int] = field(default_factory=list)
    attached: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)


def collect(instance: Instance, *, dry_run: bool = False) -> Collected:
    """Find what serves nobody, and remove it; repair what was left half done.

    Raises:
        NotFoundError: the hierarchy of cgroups cannot be seen; nothing was removed.
    """
    require_capabilities("collect limits of removed cgroups")
    with instance.locked(to_read=dry_run):
        book = Book(instance)
        names = book.cgroups.name
        alive = book.cgroups.by_id
        dead = sorted(cgroup for cgroup in book.slots if cgroup not in alive)
        unused = [
            cgroup
            for cgroup in book.slots
            if cgroup in alive and cgroup not in book.tree.limited and not book.users_of(cgroup)
        ]
        doomed = {*dead, *unused}
        slots = set(book.slots.values())
        lost = [user for slot, users in book.users.items() if slot not in slots for user in users]
        pinned = cgroup_attach.pinned(instance.pins)
        wanted = {cgroup for cgroup in book.slots if book.wants_program(cgroup)}
        needless = sorted(pinned - wanted)
        missing = sorted(filter(book.lacks_program, wanted))
        tree = book.tree.remove(doomed)
        found = Collected(
            dry_run=dry_run,
            strays=sorted(book.strays),
            removed=[
                Removed(
                    cgroup,
                    book.slots[cgroup],
                    [user.sir for user in book.users_of(cgroup)],
                    sorted(
                        names(child)
                        for child, parent in book.tree.parents.items()
                        if parent == cgroup and child not in doomed
                    ),
                )
                for cgroup in dead
            ],
            unused=sorted(map(names, unused)),
            endpoints=[user.sir for user in lost],
            detached=needless,
            attached=sorted(map(names, missing)),
            rewritten=sorted(map(names, book.differing(tree, {}))),
        )
        if not dry_run:
            for cgroup in book.strays:
                # Only its own row: the slot is another's, or nowhere.
                book.withdraw(cgroup)
            for user in [*lost, *(user for cgroup in dead for user in book.users_of(cgroup))]:
                book.point(user, 0)
            for cgroup in needless:
                cgroup_attach.detach(instance, cgroup)
            book.drop_rows(doomed)
            for cgroup in missing:
                book.attach(cgroup)
        return found
