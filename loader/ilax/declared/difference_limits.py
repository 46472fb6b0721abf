# SPDX-License-Identifier: Apache-2.0
"""Limits: what is declared, and what the rows say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ilax import units
from ilax.declared.cross_checks import rules_of, same_cgroup
from ilax.declared.document import Document, LimitWish
from ilax.declared.host import Names
from ilax.declared.problems import Problems
from ilax.errors import UsageError
from ilax.limiting.limit_book import Book
from ilax.limiting.limit_rules import Rules
from ilax.limiting.limit_tree import LimitTree, Parent, TreeError
from ilax.limiting.limits_bulk import Wanted, tree_of
from ilax.system.cgroups import Tree


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit that is to be set or changed.

    Attributes:
        cgroup: path below the root.
        fields: key -> old and new; empty for a new one.
    """

    cgroup: str
    fresh: bool
    fields: dict[str, tuple[Any, Any]]


@dataclass
class LimitsDifference:
    """What has to happen to limits.

    Attributes:
        wanted: all that are declared, by the number of the cgroup.
        surplus: names of cgroups whose limit nobody declared, by their number.
        surplus_rules: what those limits say.
    """

    wanted: dict[int, Wanted] = field(default_factory=dict)
    changes: list[LimitChange] = field(default_factory=list)
    surplus: dict[int, str] = field(default_factory=dict)
    surplus_rules: dict[int, Rules] = field(default_factory=dict)


def compare(
    document: Document,
    book: Book | None,
    names: Names,
    frame: int,
    problems: Problems,
    *,
    prune: bool,
) -> LimitsDifference:
    """Compare declared limits with those in force.

    Args:
        book: None if there are none, or no instance.
        frame: charged bytes of the uplink's longest frame.
    """
    found = LimitsDifference()
    paths = {}
    texts = {same_cgroup(limit.cgroup): limit.cgroup for limit in document.limits}
    for limit in document.limits:
        cgroup = names.cgroups[limit.cgroup]
        paths[cgroup.id] = limit.path
        try:
            rules = rules_of(limit, frame)
        except UsageError as error:
            problems.add(limit.path, error)
            continue
        found.wanted[cgroup.id] = Wanted(rules, _parent(limit, texts, names))
    if book is not None:
        found.surplus = {
            number: book.cgroups.name(number)
            for number in sorted(book.tree.limited)
            if number not in paths
        }
        found.surplus_rules = {number: book.rules(book.slots[number]) for number in found.surplus}
    before = _tree_before(book, names.tree)
    cgroups = book.cgroups if book is not None else names.tree
    if cgroups is None or len(found.wanted) < len(paths):
        return found
    doomed = set(found.surplus) if prune else set()
    used = {c for c in doomed if book is not None and book.users_of(c)}
    try:
        after = tree_of(before, {c: w.parent for c, w in found.wanted.items()}, doomed, used)
        after.chains()
    except TreeError as error:
        problems.add(paths.get(error.cgroup, ()), error.named(cgroups.name(error.cgroup)))
        return found
    for number, wanted in found.wanted.items():
        change = _change(number, wanted.rules, book, after, cgroups)
        if change is not None:
            found.changes.append(change)
    return found


def _parent(limit: LimitWish, texts: Mapping[str, str], names: Names) -> Parent:
    """What is above a limit.

    Args:
        texts: how the document writes the cgroups of limits, by what they mean.
    """
    if limit.parent in ("auto", "none"):
        return cast(Parent, limit.parent)
    return names.cgroups[texts[same_cgroup(limit.parent)]].id


def _tree_before(book: Book | None, tree: Tree | None) -> LimitTree:
    if book is not None:
        return book.tree
    living = tree.by_id if tree is not None else {}
    return LimitTree(ancestors={number: one.ancestors for number, one in living.items()})


def _change(
    number: int, rules: Rules, book: Book | None, after: LimitTree, cgroups: Tree
) -> LimitChange | None:
    name = cgroups.name(number)
    if book is None or number not in book.tree.limited:
        return LimitChange(name, True, {})
    old = book.rules(book.slots[number])
    fields: dict[str, tuple[Any, Any]] = {}
    if old != rules:
        was, now = as_options(old), as_options(rules)
        fields = {
            key: (was.get(key), now.get(key))
            for key in {**was, **now}
            if was.get(key) != now.get(key)
        }
        # Costs may differ by less than their texts tell.
        fields = fields or {"rate": (old.byte_cost, rules.byte_cost)}
    above = book.tree.parents[number], after.parents[number]
    if above[0] != above[1]:
        first, second = (cgroups.name(one) if one else "none" for one in above)
        fields["parent"] = (first, second)
    return LimitChange(name, False, fields) if fields else None


def as_options(rules: Rules) -> dict[str, str]:
    """Rules as keys of `[[limit]]`, which give the same rules."""
    packets = rules.packets
    options = {
        "rate": units.format_rate(rules.rate) if rules.rate else None,
        "pps": None if packets is None else _packets(packets),
        "burst": units.format_time(rules.burst),
        "mark-at": units.format_time(rules.mark),
        "drop-at": units.format_time(rules.drop),
        "small-extra": units.format_time(rules.small),
        "action": rules.action,
        "tag-mark": f"{rules.tag_mark:#x}" if rules.action == "tag" else None,
        "tag-priority": f"{rules.tag_priority:#x}" if rules.action == "tag" else None,
    }
    return {key: text for key, text in options.items() if text is not None}


def _packets(packets: int | float) -> str:
    return units.format_packets(packets) if isinstance(packets, int) else repr(packets)
