# SPDX-License-Identifier: Apache-2.0
"""Limits: what a cgroup may receive, set, changed and taken away under load.

Rules, parents and programs are in the maps and pins; nothing has to run for them
to hold. Backlogs and counters belong to the datapath: a change leaves them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.errors import NotFoundError, UsageError
from ilax.hooks import cgroup_attach
from ilax.instances.transaction import Transaction
from ilax.limiting import limit_rules
from ilax.limiting.limit_book import Book, slots_by_cgroup
from ilax.limiting.limit_rules import EMPTY, Wish
from ilax.limiting.limit_tree import TreeError
from ilax.system.cgroups import Tree
from ilax.system.privileges import require_capabilities

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.endpoint.endpoints import Endpoint
    from ilax.instances.instance import Instance
    from ilax.system.cgroups import Cgroup

# Of an Ethernet header.
_HEADER_BYTES = 14
_MTU = 1500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did besides what was asked for.

    Attributes:
        cgroup: path below the root, or the number of one that is gone.
        slot: row of `ilax_limits`, 0 = none any more.
        fresh: the cgroup had no limit before.
        moved: other cgroups whose parents are different now.
    """

    cgroup: str
    slot: int
    fresh: bool
    moved: list[str]


def frame_bytes(instance: Instance) -> int:
    """What the longest frame of the uplink is charged as."""
    row = instance.config.get(index_key(0))
    return frame_of(int(row["uplink_mtu"]) if row is not None else 0)


def frame_of(mtu: int) -> int:
    """What the longest frame of a device with some MTU is charged as; 0 = not known."""
    overhead = schema.enum("ilax_limit_unit")["ILAX_FRAME_OVERHEAD"]
    return (mtu or _MTU) + _HEADER_BYTES + overhead


def put(instance: Instance, cgroup: Cgroup, wish: Wish) -> Outcome:
    """Set or change the limit of a cgroup. The backlog of one in force is kept.

    Raises:
        UsageError: what was asked makes no sense; nothing was changed.
        NotFoundError: the cgroup has just been removed.
        MapFullError: no room for another limit.
        SystemCallError: the program cannot be attached; nothing was changed.
    """
    require_capabilities("set a limit")
    with instance.locked():
        book = Book(instance)
        slot = book.slots.get(cgroup.id)
        rules = limit_rules.decide(
            wish, None if slot is None else book.rules(slot), frame_bytes(instance)
        )
        if rules.action == "drop" and wish.mark is not None:
            raise UsageError(
                "--mark-at has no meaning for action drop; nothing was changed",
                hint="marks need --action mark, tag or count",
            )
        fresh = cgroup.id not in book.tree.limited
        before = dict(book.tree.parents)
        try:
            tree = book.tree.add(cgroup.id, limited=True, parent=wish.parent)
        except TreeError as error:
            raise error.named(book.cgroups.name(error.cgroup)) from None
        book.check(tree)
        with Transaction() as change:
            old_rules = {} if slot is None else {cgroup.id: book.rules(slot)}
            if slot is None:
                slot = book.add(cgroup, rules, tree)
                change.on_failure(book.drop_rows, [cgroup.id])
            if fresh:
                # It lets everything pass until it is told its slot.
                change.on_failure(cgroup_attach.detach, instance, cgroup.id)
                cgroup_attach.attach(instance, cgroup)
            change.on_failure(book.rewrite, book.tree, old_rules)
            book.rewrite(tree, {cgroup.id: rules})
            book.attach(cgroup.id)
        return Outcome(cgroup.name, slot, fresh, _moved(book, before, cgroup.id))


def delete(instance: Instance, cgroup: int) -> Outcome:
    """Remove a limit. Its children go to its own parent.

    A cgroup that endpoints name keeps an empty row, so that a limit set later
    takes effect at once.

    Raises:
        NotFoundError: it has none.
    """
    require_capabilities("remove a limit")
    with instance.locked():
        book = Book(instance)
        name = book.cgroups.name(cgroup)
        if cgroup not in book.tree.limited:
            raise NotFoundError(f"cgroup {name} has no limit; nothing was changed")
        before = dict(book.tree.parents)
        if book.users_of(cgroup):
            book.rewrite(book.tree.remove([cgroup], keep=[cgroup]), {cgroup: EMPTY})
            # Afterwards: the limits above are charged twice for a moment, and not never.
            cgroup_attach.detach(instance, cgroup)
        else:
            book.drop_rows([cgroup])
        return Outcome(name, book.slots.get(cgroup, 0), False, _moved(book, before, cgroup))


def _moved(book: Book, before: dict[int, int], cgroup: int) -> list[str]:
    return sorted(
        book.cgroups.name(other)
        for other, parent in book.tree.parents.items()
        if other != cgroup and before.get(other, parent) != parent
    )


# --- endpoints -----------------------------------------------------------------


def claim(instance: Instance, cgroup: Cgroup | None, change: Transaction) -> int:
    """The slot that a new endpoint of a cgroup names; 0 for none.

    A step of a change by whoever holds the lock.

    Raises:
        MapFullError: no room for another row.
    """
    if cgroup is None:
        return 0
    slot = slots_by_cgroup(instance).get(cgroup.id)
    if slot is None:
        book = Book(instance)
        slot = book.add_empty(cgroup)
        change.on_failure(book.drop_rows, [cgroup.id])
    return slot


def assign(instance: Instance, sir: Address, cgroup: Cgroup | None) -> Endpoint:
    """Let an endpoint name another cgroup, or none.

    Raises:
        NotFoundError: there is no such endpoint.
        MapFullError: no room for another row.
    """
    require_capabilities("change an endpoint")
    with instance.locked():
        book = Book(instance)
        endpoint = endpoints.find(instance, sir)
        slot = 0
        if cgroup is not None:
            slot = book.slots.get(cgroup.id) or book.add_empty(cgroup)
        if slot == endpoint.limit:
            return endpoint
        changed = book.point(endpoint, slot)
        _unused(book, endpoint.limit)
        return changed


def endpoint_gone(instance: Instance, slot: int) -> None:
    """After an endpoint was removed: its cgroup may need no row any more.

    The caller holds the lock.
    """
    if slot:
        _unused(Book(instance), slot)


def _unused(book: Book, slot: int) -> None:
    """If no endpoint names a slot any more and it limits nothing: free it."""
    doomed = [
        cgroup
        for cgroup, own in book.slots.items()
        if own == slot and cgroup not in book.tree.limited and not book.users_of(cgroup)
    ]
    if doomed:
        book.drop_rows(doomed)


def cgroup_of(instance: Instance, text: str) -> int:
    """Number of a cgroup that is named by a user; one that is gone by its number only.

    Raises:
        NotFoundError, UsageError: no such cgroup.
    """
    if text.isdecimal() and int(text) in slots_by_cgroup(instance):
        return int(text)
    return Tree.read().find(text).id


def cgroup_name(instance: Instance, slot: int) -> str | None:
    """The cgroup whose limit is in a slot; None for nobody's."""
    owner = next((c for c, own in slots_by_cgroup(instance).items() if own == slot), None)
    return None if owner is None else Tree.read().name(owner)
