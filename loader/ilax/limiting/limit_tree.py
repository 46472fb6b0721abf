# SPDX-License-Identifier: Apache-2.0
"""Which limit lies above which: parents, chains and nesting, as plain data.

There are two trees. Cgroups are nested, and a limit follows that by itself: its
parent is the nearest limited cgroup above. An operator may choose another parent,
or none; such a choice stays. Nothing here touches a map.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ilax.errors import UsageError

# Levels above a limit. Equal to ILAX_LIMIT_PARENTS; a test compares them.
LEVELS = 4

Parent = int | Literal["auto", "none"]


@dataclass(frozen=True)
class LimitTree:
    """All cgroups that have a row, by their numbers.

    Attributes:
        parents: the parent of each cgroup with a row; 0 = none.
        limited: those whose row limits something; only they can be parents.
        ancestors: cgroups above each living one, nearest first.
    """

    parents: Mapping[int, int] = field(default_factory=dict)
    limited: frozenset[int] = frozenset()
    ancestors: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def nearest(self, cgroup: int, limited: Collection[int] | None = None) -> int:
        """The nearest limited cgroup above one; 0 if there is none."""
        among = self.limited if limited is None else limited
        return next((above for above in self.ancestors.get(cgroup, ()) if above in among), 0)

    def nested(self, cgroup: int) -> bool:
        """Whether another cgroup with a row lies below this one."""
        return cgroup in self._above_rows

    @functools.cached_property
    def _above_rows(self) -> set[int]:
        return {above for cgroup in self.parents for above in self.ancestors.get(cgroup, ())}

    def chain(self, cgroup: int) -> tuple[int, ...]:
        """The parents of a cgroup's limit, nearest first.

        Raises:
            UsageError: they form a cycle, or there are too many.
        """
        found: list[int] = []
        above = self.parents[cgroup]
        while above:
            if above == cgroup or above in found:
                raise _Cycle(cgroup)
            found.append(above)
            above = self.parents[above]
        if len(found) > LEVELS:
            raise _TooDeep(cgroup, len(found))
        return tuple(found)

    def possible(self) -> LimitTree:
        """The same tree if it can be; else one in which wrong parents are the nearest ones.

        Another daemon may have written a cycle, or too many levels.
        """
        if not (wrong := self._wrong()):
            return self
        # What is right has only right ones above it, and no cgroup is its own ancestor.
        tree = replace(self, parents={**self.parents, **{c: self.nearest(c) for c in wrong}})
        return replace(tree, parents={**tree.parents, **dict.fromkeys(tree._wrong(), 0)})

    def _wrong(self) -> list[int]:
        """Cgroups whose chain has no end, or one that is too far."""
        found = []
        for cgroup in self.parents:
            above = self.parents[cgroup]
            for _ in range(LEVELS):
                above = self.parents.get(above, 0)
            if above:
                found.append(cgroup)
        return found

    def chains(self) -> dict[int, tuple[int, ...]]:
        """The chain of every cgroup with a row.

        Raises:
            UsageError: one of them cannot be.
        """
        return {cgroup: self.chain(cgroup) for cgroup in self.parents}

    def add(self, cgroup: int, *, limited: bool, parent: Parent | None) -> LimitTree:
        """Give a cgroup a row, or change what its row is.

        Args:
            parent: None keeps the one it has; a new one begins with "auto".

        Raises:
            UsageError: the parent has no limit.
        """
        now = self.limited | {cgroup} if limited else self.limited - {cgroup}
        parents = dict(self.parents)
        wanted: Parent = parents.get(cgroup, "auto") if parent is None else parent
        if wanted == "auto":
            parents[cgroup] = self.nearest(cgroup, now - {cgroup})
        else:
            parents[cgroup] = 0 if wanted == "none" else wanted
        if parents[cgroup] and parents[cgroup] not in now:
            raise _NoLimit(parents[cgroup])
        if limited and cgroup not in self.limited:
            for other, above in self.parents.items():
                # A parent that was the nearest one follows the tree of cgroups.
                if other != cgroup and above == self.nearest(other):
                    parents[other] = self.nearest(other, now)
        return replace(self, parents=parents, limited=now)

    def add_all(self, wanted: Mapping[int, Parent]) -> LimitTree:
        """Give many cgroups limits, in one pass over the tree.

        The same as `add` of each of them, without and then with its parent, which
        would take time by the square of their number.

        Args:
            wanted: parents by cgroup. They may be among those that get a limit, too.

        Raises:
            UsageError: a parent has no limit.
        """
        now = self.limited | wanted.keys()
        parents = dict(self.parents)
        for other, above in self.parents.items():
            # As in `add`.
            if other not in wanted and above == self.nearest(other):
                parents[other] = self.nearest(other, now)
        for cgroup, parent in wanted.items():
            if parent == "auto":
                # Its ancestors do not contain it.
                parents[cgroup] = self.nearest(cgroup, now)
            else:
                parents[cgroup] = 0 if parent == "none" else parent
            if parents[cgroup] and parents[cgroup] not in now:
                raise _NoLimit(parents[cgroup])
        return replace(self, parents=parents, limited=now)

    def remove(self, cgroups: Iterable[int], *, keep: Collection[int] = ()) -> LimitTree:
        """Take limits away; what they were parents of goes to their own parents.

        Args:
            keep: of these only the limit goes and the row stays.
        """
        doomed = set(cgroups)

        def living(above: int) -> int:
            while above in doomed:
                above = self.parents[above]
            return above

        parents = {
            cgroup: living(above)
            for cgroup, above in self.parents.items()
            if cgroup not in doomed or cgroup in keep
        }
        return replace(self, parents=parents, limited=self.limited - doomed)


class TreeError(UsageError):
    """A tree that cannot be, about one cgroup; the caller knows its name.

    Attributes:
        cgroup: its number.
    """

    text = ""

    def __init__(self, cgroup: int, *details: object) -> None:
        super().__init__(self.text.format(cgroup, *details))
        self.cgroup = cgroup
        self.details = details

    def named(self, name: str) -> UsageError:
        """The same with the cgroup's name in place of its number."""
        return UsageError(self.text.format(name, *self.details))


class _Cycle(TreeError):
    text = "the limit of {} would be its own parent; nothing was changed"


class _TooDeep(TreeError):
    text = (
        f"the limit of {{}} would have {{}} levels of parents, and {LEVELS} is the most; "
        "nothing was changed"
    )


class _NoLimit(TreeError):
    text = "{} has no limit and cannot be a parent; nothing was changed"
