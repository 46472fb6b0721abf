# SPDX-License-Identifier: Apache-2.0
"""Making a host be what its file says.

Every step is one of those that single commands take, each whole by itself, and is
decided by comparing. So whatever was reached when a run was killed, the next one
goes on from there. The order:

1. `up`, where settings differ (at its end: endpoints that its prefixes have orphaned);
2. mappings: what moves away is reached elsewhere before it goes here;
3. limits, so that new endpoints are limited from their first packet;
4. endpoints that nobody declared go, since new ones may need their namespace;
5. endpoints are changed and made;
6. mappings that nobody declared go, and what killed commands have left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from ilax.declared import difference, host, left_out, live, reader
from ilax.declared.difference import Difference
from ilax.declared.document import Document
from ilax.declared.host import Names
from ilax.declared.problems import Problems
from ilax.declared.steps import Steps
from ilax.endpoint.endpoints import Endpoint
from ilax.errors import EndpointsError, IlaxError, NotFoundError, OlderMinorError
from ilax.instances import bring_up, up_checks
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.system.netlink import Network


@dataclass
class Planned:
    """What would happen.

    Attributes:
        blocked: what `apply` would raise, with nothing changed; None: nothing.
        notes: doubts about the file.
    """

    difference: Difference
    blocked: IlaxError | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Applied:
    """What has happened.

    Attributes:
        difference: what was different before.
        notes: doubts about the file, and what `up` said.
    """

    difference: Difference
    notes: list[str]


def plan(instance: str, file: str, *, prune: bool, skip_missing: bool = False) -> Planned:
    """Compare a file with what is in force.

    Args:
        skip_missing: leave out what needs a network namespace or cgroup that is not
            there.

    Raises:
        DeclarationError: the file is wrong, or names what this host has not.
    """
    document, problems = reader.read(file)
    with Network() as network:
        document, names = _resolve(document, network, problems, skip_missing=skip_missing)
        with _opened(instance) as opened:
            found = _compare(document, opened, network, names, problems, prune=prune)
            blocked = None
            if found.up:
                orphans = _orphans(document, found)
                try:
                    up_checks.check(instance, opened, difference.options_of(document), orphans)
                except IlaxError as error:
                    blocked = error
    return Planned(found, blocked, list(document.notes))


def apply(
    instance: str,
    file: str,
    *,
    prune: bool,
    skip_missing: bool = False,
    progress: Callable[[int, int], None] = lambda done, steps: None,
) -> Applied:
    """Make it so.

    Args:
        skip_missing: as for `plan`.
        progress: called with how many endpoints are done, and of how many: what
            takes long where there is much of it.

    Raises:
        DeclarationError: the file is wrong, or names what this host has not;
            nothing was changed.
        EndpointsError: of some endpoints; all the rest is done.
        IlaxError: of another step that failed. What was done before it holds, and the
            next `apply` goes on from there.
    """
    document, problems = reader.read(file)
    notes = list(document.notes)
    with Network() as network:
        document, names = _resolve(document, network, problems, skip_missing=skip_missing)
        first = None
        with suppress(OlderMinorError), _opened(instance) as opened:
            first = _compare(document, opened, network, names, problems, prune=prune)
        done_before = ""
        if first is None or first.up:
            orphans = _orphans(document, first) if first is not None else []
            notes += bring_up.up(instance, difference.options_of(document), orphans).notes
            done_before = _told(orphans)
        try:
            with Instance.open(instance) as opened:
                found = first
                if found is None or found.up:
                    found = _compare(document, opened, network, names, problems, prune=prune)
                try:
                    Steps(opened, network, names, progress).take(found)
                except EndpointsError as error:
                    again = _compare(document, opened, network, names, problems, prune=prune)
                    _raise_if_undone(error, again)
        except IlaxError as error:
            if done_before:
                error.add_note(done_before)
            raise
        if first is None:
            first = replace(found, up={"contract": ("of an older minor", "current")})
    return Applied(first, notes)


def _raise_if_undone(error: EndpointsError, again: Difference) -> None:
    """Where another `apply` was quicker, a step fails, and all is as declared."""
    undone = {change.wish.sir for change in again.endpoints}
    if again.prune:
        undone |= {endpoint.sir for endpoint in again.surplus_endpoints}
    failed = [one for one in error.failed if one[0] in undone]
    if failed:
        raise EndpointsError(failed) from error


def _told(orphans: list[Endpoint]) -> str:
    """What an error after `up` has to say of it: its own words are of one step only."""
    gone = ", and the endpoints of its old prefixes are gone" if orphans else ""
    return f"`up` was done before that{gone}"


def _resolve(
    document: Document, network: Network, problems: Problems, *, skip_missing: bool
) -> tuple[Document, Names]:
    """What the document names, and the part of it that has all it names."""
    names = host.resolve(document, network, problems)
    if not skip_missing:
        problems.found += problems.missing
    problems.raise_if_any()
    document, names.left_out = left_out.split(document, problems)
    return document, names


@contextmanager
def _opened(instance: str) -> Iterator[Instance | None]:
    """The instance, or None if it is not up."""
    if not PinFolder(instance).maps.is_dir():
        try:
            Instance.open(instance).close()
        except NotFoundError:
            yield None
            return
    with Instance.open(instance) as opened:
        opened.require_own_netns("compare it with a file")
        yield opened


def _compare(
    document: Document,
    opened: Instance | None,
    network: Network,
    names: Names,
    problems: Problems,
    *,
    prune: bool,
) -> Difference:
    there = None
    if opened is not None:
        there = live.read(opened, network, with_limits=names.tree is not None)
    found = difference.compare(document, there, names, problems, prune=prune)
    problems.raise_if_any()
    return found


def _orphans(document: Document, found: Difference) -> list[Endpoint]:
    """Endpoints that have to go with a change of prefixes, or `up` refuses it."""
    if not found.prune:
        return []
    fabric = document.fabric
    return [
        endpoint
        for endpoint in found.surplus_endpoints
        if not (
            any(endpoint.sir in prefix for prefix in fabric.sir_prefixes)
            and fabric.is_local(endpoint.wire)
        )
    ]
