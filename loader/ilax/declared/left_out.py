# SPDX-License-Identifier: Apache-2.0
"""What of a document waits until this host has the namespaces and cgroups it names.

At boot those of containers are not there yet, and the rest of the host need not wait.
Nor are tcx programs of others, by whose names a place among them is told.
An endpoint without its cgroup would not be limited, so it waits as a whole. A limit
without its parent's does more than none, so it is set without a parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ilax.address import Address
from ilax.declared.cross_checks import same_cgroup
from ilax.declared.document import Document, LimitWish
from ilax.declared.positions import Path
from ilax.declared.problems import Problem, Problems

_ORDER: Path = ("up", "tc-order")

Kind = Literal["endpoint", "limit", "parent", "tc-order"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """One declared thing that is left as it is.

    Attributes:
        kind: "parent" is that of a limit.
        name: SIR address of an endpoint, the limit's cgroup or the order as it is written.
        line: of the file.
        missing: what is not there, in words.
        text: all of it in one line, `FILE:LINE: KEY: ...`.
    """

    kind: Kind
    name: str
    line: int
    missing: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was taken out of a document.

    Attributes:
        skipped: in the order of the file.
        endpoints: those among it.
    """

    skipped: tuple[Skipped, ...] = ()
    endpoints: frozenset[Address] = frozenset()


def split(document: Document, problems: Problems) -> tuple[Document, LeftOut]:
    """Take out of a document what names something that is missing.

    Args:
        problems: of this document, with what is missing.
    """
    lacks: dict[Path, list[Problem]] = {}
    for problem in problems.missing:
        lacks.setdefault(problem.path[:2], []).append(problem)
    if not lacks:
        return document, LeftOut()
    waiting = [limit for limit in document.limits if limit.path in lacks]
    names = {same_cgroup(limit.cgroup) for limit in waiting}
    alone = {
        limit.path: replace(limit, parent="none")
        for limit in document.limits
        if limit.path not in lacks and _parent(limit) in names
    }
    rest = replace(
        document,
        up=replace(document.up, tc_order=None) if _ORDER in lacks else document.up,
        endpoints=tuple(wish for wish in document.endpoints if wish.path not in lacks),
        limits=tuple(alone.get(w.path, w) for w in document.limits if w.path not in lacks),
    )
    skipped = sorted(_skipped(document, alone, lacks, problems), key=lambda one: one.line)
    endpoints = frozenset(wish.sir for wish in document.endpoints if wish.path in lacks)
    return rest, LeftOut(tuple(skipped), endpoints)


def _parent(limit: LimitWish) -> str | None:
    """The cgroup of the limit that is chosen as parent."""
    return None if limit.parent in ("auto", "none") else same_cgroup(limit.parent)


def _skipped(
    document: Document,
    alone: dict[Path, LimitWish],
    lacks: dict[Path, list[Problem]],
    problems: Problems,
) -> Iterator[Skipped]:
    def skipped(kind: Kind, name: str, found: list[Problem], effect: str) -> Skipped:
        missing = tuple(problem.rule for problem in found)
        text = problems.told(Problem(found[0].path, "; ".join((*missing, effect))))
        return Skipped(kind, name, problems.line(found[0].path), missing, text)

    if _ORDER in lacks:
        effect = "until then ours stand where they are, new ones last"
        yield skipped("tc-order", str(document.up.tc_order), lacks[_ORDER], effect)
    for wish in document.endpoints:
        if wish.path in lacks:
            effect = f"endpoint {wish.sir} is left out"
            yield skipped("endpoint", str(wish.sir), lacks[wish.path], effect)
    for limit in document.limits:
        if limit.path in lacks:
            yield skipped("limit", limit.cgroup, lacks[limit.path], "its limit is left out")
        elif limit.path in alone:
            lack = Problem((*limit.path, "parent"), f"the limit of {limit.parent} is left out")
            effect = f"that of {limit.cgroup} is set without a parent"
            yield skipped("parent", limit.cgroup, [lack], effect)
