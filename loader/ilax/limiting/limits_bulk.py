# SPDX-License-Identifier: Apache-2.0
"""Many limits as one change: the tree is checked as it will be, not at each step."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ilax.errors import MapFullError
from ilax.hooks import cgroup_attach
from ilax.limiting.limit_book import Book
from ilax.limiting.limit_rules import EMPTY, Rules
from ilax.limiting.limit_tree import LimitTree, Parent, TreeError
from ilax.system.privileges import require_capabilities

if TYPE_CHECKING:
    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class Wanted:
    """The limit that a cgroup is to have.

    Attributes:
        parent: "auto", "none", or the number of a cgroup among those wanted.
    """

    rules: Rules
    parent: Parent


def tree_of(
    before: LimitTree,
    wanted: Mapping[int, Parent],
    doomed: Collection[int],
    used: Collection[int],
) -> LimitTree:
    """The tree as it will be.

    Args:
        wanted: parents of the cgroups that are to have a limit.
        doomed: cgroups whose limit goes.
        used: cgroups that endpoints name; they keep a row.

    Raises:
        TreeError: a parent has no limit.
    """
    return before.remove(doomed, keep=used).add_all(wanted)


def put_all(instance: Instance, wanted: Mapping[int, Wanted], doomed: Mapping[int, Rules]) -> None:
    """Set, change and remove limits. Backlogs of those in force are kept.

    Each row is written once and holds by itself; what was written stays if a later
    step fails, and the same call completes it.

    Args:
        wanted: by the number of the cgroup, which exists.
        doomed: numbers of cgroups with a limit that is to go, dead ones too, and what
            it says. One that says something else by now stays: somebody wants it.

    Raises:
        UsageError: the tree cannot be; nothing was changed.
        MapFullError: no room for all of them; nothing was changed.
    """
    require_capabilities("set limits")
    with instance.locked():
        book = Book(instance)
        used = {cgroup for cgroup in book.slots if book.users_of(cgroup)}
        gone = {
            cgroup
            for cgroup, rules in doomed.items()
            if cgroup in book.slots and book.rules(book.slots[cgroup]) == rules
        }
        kept = gone & used
        parents = {cgroup: one.parent for cgroup, one in wanted.items()}
        try:
            tree = tree_of(book.tree, parents, gone, kept)
        except TreeError as error:
            raise error.named(book.cgroups.name(error.cgroup)) from None
        book.check(tree)
        _require_room(instance, len(book.slots) - len(gone - kept), wanted, book.slots)
        book.rewrite(book.tree.remove(kept, keep=kept), dict.fromkeys(kept, EMPTY))
        # Afterwards, as `limits.delete` does.
        for cgroup in kept:
            cgroup_attach.detach(instance, cgroup)
        book.drop_rows(gone - kept)
        # A new row names nobody at first: its parents may not limit anything yet.
        alone = replace(tree, parents=dict.fromkeys(tree.parents, 0))
        for cgroup in wanted:
            if cgroup not in book.slots:
                book.add(book.cgroups.by_id[cgroup], wanted[cgroup].rules, alone)
        # Parents before those that name them.
        ordered = sorted(tree.parents.items(), key=lambda item: len(tree.chain(item[0])))
        book.rewrite(replace(tree, parents=dict(ordered)), {c: w.rules for c, w in wanted.items()})
        for cgroup in wanted:
            if book.lacks_program(cgroup):
                book.attach(cgroup)


def _require_room(
    instance: Instance, rows: int, wanted: Mapping[int, Wanted], slots: Mapping[int, int]
) -> None:
    most = instance.limits.map.max_entries - 1
    fresh = sum(cgroup not in slots for cgroup in wanted)
    if rows + fresh > most:
        raise MapFullError(
            f"have {rows + fresh} limits where ilax_limits has {most} rows", errno.E2BIG, 0
        )
