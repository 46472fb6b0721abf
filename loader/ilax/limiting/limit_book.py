# SPDX-License-Identifier: Apache-2.0
"""What the maps say of limits, read as a whole, and how rows of it are changed.

Used under the instance's lock. Rows are written in an order that never leaves one
that names a slot which is not a limit: a limit is complete before others refer to
it, and is cleared when nobody refers to it any more.
"""

from __future__ import annotations

import dataclasses
import errno
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ilax.bpf import possible_cpus
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.endpoint.endpoints import Endpoint
from ilax.errors import MapFullError
from ilax.hooks import cgroup_attach
from ilax.limiting import limit_rules
from ilax.limiting.limit_rules import EMPTY, Rules
from ilax.limiting.limit_tree import LimitTree, TreeError
from ilax.system.cgroups import Cgroup, Tree

if TYPE_CHECKING:
    import numpy as np

    from ilax.contract.tables import Rows
    from ilax.instances.instance import Instance


def slots_by_cgroup(instance: Instance) -> dict[int, int]:
    """Slot of each cgroup that has a row."""
    return read_slots(instance)[0]


def read_slots(instance: Instance) -> tuple[dict[int, int], dict[int, int]]:
    """Slots by cgroup, and those of rows that only another daemon can have written.

    Such a row names no slot that there is, or the one of another cgroup: of several that
    name one slot, it is the one's that charges it, else the first one's.
    """
    keys, values = instance.cgroups.lookup_batch()
    claims: dict[int, list[int]] = defaultdict(list)
    for cgroup, slot in zip(
        keys.view("<u8")[:, 0].tolist(), values.view("<u4")[:, 0].tolist(), strict=True
    ):
        claims[slot].append(cgroup)
    slots: dict[int, int] = {}
    strays: dict[int, int] = {}
    for slot, cgroups in claims.items():
        owner = _owner(instance, slot, cgroups)
        for cgroup in cgroups:
            (slots if cgroup == owner else strays)[cgroup] = slot
    return slots, strays


def _owner(instance: Instance, slot: int, cgroups: list[int]) -> int | None:
    if not 0 < slot < instance.limits.map.max_entries:
        return None
    if len(cgroups) == 1:
        return cgroups[0]
    return min(cgroups, key=lambda cgroup: (cgroup_attach.slot(instance, cgroup) != slot, cgroup))


def _next_change(generation: int) -> int:
    """The lower half counts, and wraps inside."""
    low = (1 << schema.enum("ilax_limit_unit")["ILAX_GENERATION_SHIFT"]) - 1
    return generation & ~low | generation + 1 & low


def _next_use(generation: int) -> int:
    """The upper half counts, and wraps inside."""
    shift = schema.enum("ilax_limit_unit")["ILAX_GENERATION_SHIFT"]
    return ((generation >> shift) + 1 << shift) & 0xFFFFFFFF


class Book:
    """Everything about the limits of one instance.

    Attributes:
        cgroups: all that exist.
        slots: slot of each cgroup with a row.
        strays: slots of rows that make no sense (`read_slots`).
        rows: of `ilax_limits`, by slot.
        users: endpoints by the slot that they name.
        tree: who is limited, and who is whose parent.
    """

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.cgroups = Tree.read()
        self.slots, self.strays = read_slots(instance)
        self.rows: Rows = instance.limits.rows()[1]
        self._free: list[int] | None = None
        self.users: dict[int, list[Endpoint]] = defaultdict(list)
        for endpoint in endpoints.read_limited(instance):
            self.users[endpoint.limit].append(endpoint)
        self.tree = self._tree()

    def _tree(self) -> LimitTree:
        owners = {slot: cgroup for cgroup, slot in self.slots.items()}
        costs = self.rows["byte_cost"] | self.rows["packet_cost"]
        tree = LimitTree(
            parents={
                cgroup: owners.get(int(self.rows[slot]["parents"][0]), 0)
                for cgroup, slot in self.slots.items()
            },
            limited=frozenset(c for c, slot in self.slots.items() if costs[slot]),
            ancestors={number: cgroup.ancestors for number, cgroup in self.cgroups.by_id.items()},
        )
        return tree.possible()

    def rules(self, slot: int) -> Rules:
        """The rules in a slot."""
        return limit_rules.from_row(self.rows[slot])

    def users_of(self, cgroup: int) -> list[Endpoint]:
        """Endpoints that name a cgroup."""
        return self.users.get(self.slots.get(cgroup, 0), [])

    def check(self, tree: LimitTree) -> LimitTree:
        """Return a tree that can be written.

        Raises:
            UsageError: it has a cycle or too many levels; names the cgroup.
        """
        try:
            tree.chains()
        except TreeError as error:
            raise error.named(self.cgroups.name(error.cgroup)) from None
        return tree

    # --- one row ---------------------------------------------------------------

    def allocate(self, cgroup: Cgroup, rules: Rules, tree: LimitTree) -> int:
        """Write a row of its own for a cgroup. Nobody refers to it yet.

        Raises:
            MapFullError: there is no free slot.
        """
        slot = self._free_slot()
        # What CPUs still hold for an earlier use of the slot is void from now on,
        # and only then its backlog can be cleared.
        row = self.instance.limits.new()[0]
        row["generation"] = _next_use(int(self.rows[slot]["generation"]))
        self.instance.limits.put(index_key(slot), row)
        self.rows[slot] = row
        backlogs = self.instance.backlogs
        backlogs.put(index_key(slot), backlogs.new()[0])
        self.slots[cgroup.id] = slot
        self._write(slot, self._wanted(cgroup.id, tree, rules))
        return slot

    def publish(self, cgroup: int) -> None:
        """Let others find the row of a cgroup: from then on it is in use.

        Raises:
            MapFullError: no memory for it; the row stays until it is cleared.
        """
        slot = self.slots[cgroup]
        self.instance.cgroups.update(cgroup.to_bytes(8, "little"), index_key(slot))

    def add(self, cgroup: Cgroup, rules: Rules, tree: LimitTree) -> int:
        """A row of its own that others find, or none.

        Raises:
            MapFullError: there is no room for it.
        """
        slot = self.allocate(cgroup, rules, tree)
        try:
            self.publish(cgroup.id)
        except BaseException:
            self.clear(cgroup.id)
            raise
        return slot

    def withdraw(self, cgroup: int) -> None:
        """The opposite of `publish`; the row stays until it is cleared."""
        self.instance.cgroups.delete(cgroup.to_bytes(8, "little"))

    def clear(self, cgroup: int) -> None:
        """Make a slot free: nobody may refer to it any more."""
        slot = self.slots.pop(cgroup)
        self._write(slot, self.instance.limits.new()[0])
        if self._free is not None:
            self._free.append(slot)

    def rewrite(self, tree: LimitTree, changed: Mapping[int, Rules] | None = None) -> list[int]:
        """Write all rows that a tree makes different, and those with other rules.

        Returns:
            The cgroups whose rows were written.
        """
        written = []
        for cgroup, wanted in self.differing(tree, changed or {}).items():
            self._write(self.slots[cgroup], wanted)
            written.append(cgroup)
        self.tree = tree
        return written

    def differing(self, tree: LimitTree, changed: Mapping[int, Rules]) -> dict[int, np.void]:
        """Rows as they should be, of the cgroups whose rows are not like that."""
        found = {}
        for cgroup in tree.parents:
            wanted = self._wanted(cgroup, tree, changed.get(cgroup))
            if wanted.tobytes() != self.rows[self.slots[cgroup]].tobytes():
                found[cgroup] = wanted
        return found

    def _wanted(self, cgroup: int, tree: LimitTree, rules: Rules | None) -> np.void:
        flag = schema.enum("ilax_limit_flag")["ILAX_LIMIT_NESTED"]
        row: Any = self.rows[self.slots[cgroup]].copy()
        if rules is not None:
            limit_rules.fill(row, rules, possible_cpus())
        chain = [self.slots[above] for above in tree.chain(cgroup)]
        row["parents"] = chain + [0] * (len(row["parents"]) - len(chain))
        living = self.cgroups.by_id.get(cgroup)
        if living is not None:
            row["depth"] = min(living.depth, 255)
        row["flags"] = int(row["flags"]) & ~flag | (flag if tree.nested(cgroup) else 0)
        wanted: np.void = row
        return wanted

    def _write(self, slot: int, row: np.void) -> None:
        row["generation"] = _next_change(int(self.rows[slot]["generation"]))
        self.instance.limits.put(index_key(slot), row)
        self.rows[slot] = row

    def _free_slot(self) -> int:
        # Looked for once: under the lock nobody else takes or frees one.
        if self._free is None:
            self._free = self._find_free()
        if not self._free:
            most = self.instance.limits.map.max_entries
            raise MapFullError(f"add a limit to the {most - 1} of ilax_limits", errno.E2BIG, 0)
        return self._free.pop()

    def _find_free(self) -> list[int]:
        """Slots that nothing names, the lowest last."""
        attached = {
            cgroup_attach.slot(self.instance, cgroup)
            for cgroup in cgroup_attach.pinned(self.instance.pins)
        }
        used = {*self.slots.values(), *self.users, *attached}
        for slot in self.slots.values():
            used.update(self.rows[slot]["parents"].tolist())
        most = self.instance.limits.map.max_entries
        return [slot for slot in range(most - 1, 0, -1) if slot not in used]

    # --- programs and endpoints ----------------------------------------------------

    def wants_program(self, cgroup: int) -> bool:
        """Whether the program belongs to a cgroup: limited, and alive.

        Also where endpoints name it: what comes by those is left out at the socket, and
        everything else is charged nowhere else.
        """
        return cgroup in self.tree.limited and cgroup in self.cgroups.by_id

    def attach(self, cgroup: int) -> None:
        """Attach the program where it belongs and let it charge; else take it off."""
        if not self.wants_program(cgroup):
            cgroup_attach.detach(self.instance, cgroup)
            return
        cgroup_attach.attach(self.instance, self.cgroups.by_id[cgroup])
        cgroup_attach.set_slot(self.instance, cgroup, self.slots[cgroup])

    def lacks_program(self, cgroup: int) -> bool:
        """Whether the program belongs to a cgroup and does not charge its limit."""
        return self.wants_program(cgroup) and not cgroup_attach.holds(
            self.instance, cgroup, self.slots[cgroup]
        )

    def point(self, endpoint: Endpoint, slot: int) -> Endpoint:
        """Let an endpoint name another slot.

        Raises:
            ConflictError: the endpoint was removed meanwhile.
        """
        changed = dataclasses.replace(endpoint, limit=slot, generation=endpoint.generation + 1)
        endpoints.rewrite(self.instance, changed)
        if endpoint in self.users[endpoint.limit]:
            self.users[endpoint.limit].remove(endpoint)
        if slot:
            self.users[slot].append(changed)
        return changed

    def drop_rows(self, cgroups: Iterable[int]) -> None:
        """Take rows out of use and free them; endpoints name none of them any more."""
        doomed = list(cgroups)
        for cgroup in doomed:
            cgroup_attach.detach(self.instance, cgroup)
        self.rewrite(self.tree.remove(doomed))
        for cgroup in doomed:
            self.withdraw(cgroup)
            self.clear(cgroup)

    def add_empty(self, cgroup: Cgroup) -> int:
        """A row that limits nothing itself, for an endpoint to name.

        Raises:
            MapFullError: there is no room for it.
        """
        tree = self.check(self.tree.add(cgroup.id, limited=False, parent=None))
        slot = self.add(cgroup, EMPTY, tree)
        self.rewrite(tree)
        return slot
