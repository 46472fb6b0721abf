# SPDX-License-Identifier: Apache-2.0
"""What the commands of an operator should make of the tables, in plain Python.

Each operation returns whether it is to be done; one that is refused changes nothing.
What only the kernel knows (numbers and hardware addresses of devices) is told by
`Device` when tables are made.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field, replace

from model import address
from model.limit import Limits, Queue, Rules
from model.tables import (
    ACTION_FORWARD,
    ACTION_LOCAL,
    PREFIX_BLOCK,
    PREFIX_LOCATOR,
    PREFIX_SIR,
    Config,
    Delivery,
    Endpoint,
    Limit,
    Mapping,
    Port,
    Prefix,
    Tables,
)


@dataclass(frozen=True)
class Setup:
    """What `up` is given. Prefixes are upper halves; blocks have 48 bits."""

    sir_prefixes: tuple[bytes, ...]
    locators: tuple[bytes, ...]
    blocks: tuple[bytes, ...] = ()
    c_bit: bool = True
    uplink_mtu: int = 1500

    def wire(self, sir: bytes, locator: bytes) -> bytes:
        """Wire address of a task."""
        return address.to_wire(sir, locator, self.c_bit)

    def rows(self) -> tuple[Prefix, ...]:
        """The table of prefixes: own locators, SIR prefixes, blocks."""
        domain, c_bit = self.sir_prefixes[0], self.c_bit
        return (
            *(Prefix(p, PREFIX_LOCATOR, 64, domain, c_bit) for p in self.locators),
            *(Prefix(p, PREFIX_SIR, 64, bytes(8), c_bit) for p in self.sir_prefixes),
            *(Prefix(p, PREFIX_BLOCK, 48, domain, c_bit) for p in self.blocks),
        )


@dataclass(frozen=True)
class Device:
    """The two ends of a task's link."""

    ifindex: int
    mac: bytes
    host_mac: bytes


@dataclass(frozen=True)
class Task:
    """An endpoint as it was asked for.

    Attributes:
        slot: of its traffic.
        cgroup: path whose limit counts for it.
    """

    sir: bytes
    wire: bytes
    delivery: Delivery
    mtu: int
    slot: int
    any_source: bool = False
    cgroup: str | None = None


@dataclass
class Control:
    """All that commands have made.

    Attributes:
        room: rows for endpoints, and for mappings.
        tasks: by SIR address.
        limits: rules by cgroup; those of None limit nothing, but endpoints name them.
        queues: what packets have left in each row of limits.
        has_previous: whether there is a set of programs to go back to; None: not known.
    """

    setup: Setup
    room: tuple[int, int]
    tasks: dict[bytes, Task] = field(default_factory=dict)
    mappings: dict[bytes, Mapping] = field(default_factory=dict)
    limits: dict[str, Rules | None] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    has_previous: bool | None = False

    # --- the instance ---

    def up(self, setup: Setup) -> bool:
        """Run `up` again with other settings."""
        for task in self.tasks.values():
            if task.sir[:8] not in setup.sir_prefixes or task.wire[:8] not in setup.locators:
                return False
        if setup.c_bit != self.setup.c_bit and (self.tasks or self.mappings):
            return False
        self.setup = setup
        self.has_previous = True
        return True

    # --- mappings ---

    def map(self, rows: Dictionary[bytes, bytes]) -> bool:
        """Say which locators addresses live at: {SIR address: locator}."""
        if any(sir[:8] not in self.setup.sir_prefixes for sir in rows):
            return False
        if len(self.mappings.keys() | rows.keys()) > self.room[1]:
            return False
        for sir, locator in rows.items():
            self._map(sir, self.setup.wire(sir, locator))
        return True

    def _map(self, sir: bytes, wire: bytes) -> None:
        local = wire[:8] in self.setup.locators
        self.mappings[sir] = Mapping(wire, ACTION_LOCAL if local else ACTION_FORWARD)

    def unmap(self, sir: bytes) -> bool:
        """Remove one mapping."""
        return self.mappings.pop(sir, None) is not None

    # --- endpoints ---

    def add(self, sir: bytes, wanted: Task) -> bool:
        """Connect a container, or make an address the host's; `wire` and `slot` follow."""
        known = self.tasks.get(sir)
        host = wanted.delivery is Delivery.HOST
        if sir[:8] not in self.setup.sir_prefixes:
            return False
        if known is not None and not (host and known.delivery is Delivery.HOST):
            return False
        if known is None and len(self.tasks) == self.room[0]:
            return False
        if sir not in self.mappings and len(self.mappings) == self.room[1]:
            return False
        wire = self.setup.wire(sir, self.setup.locators[0])
        if known is not None:
            # What stands at another locator of this host stays there.
            wire, slot, cgroup = known.wire, known.slot, wanted.cgroup or known.cgroup
        else:
            used = {task.slot for task in self.tasks.values()}
            slot, cgroup = min(set(range(1, self.room[0] + 1)) - used), wanted.cgroup
        self.tasks[sir] = replace(wanted, sir=sir, wire=wire, slot=slot, cgroup=cgroup)
        self._map(sir, wire)
        self._tidy()
        return True

    def delete(self, sir: bytes) -> bool:
        """Disconnect a task. A mapping that leads elsewhere by now stays."""
        task = self.tasks.pop(sir, None)
        if task is None:
            return False
        mapping = self.mappings.get(sir)
        if mapping is not None and mapping.wire == task.wire:
            del self.mappings[sir]
        self._tidy()
        return True

    def name(self, sir: bytes, cgroup: str | None) -> bool:
        """Let an endpoint name another cgroup, or none."""
        if sir not in self.tasks:
            return False
        self.tasks[sir] = replace(self.tasks[sir], cgroup=cgroup)
        self._tidy()
        return True

    # --- limits ---

    def limit(self, cgroup: str, rules: Rules) -> bool:
        """Set or change the limit of a cgroup; its backlog stays."""
        self.limits[cgroup] = rules
        self._tidy()
        return True

    def unlimit(self, cgroup: str) -> bool:
        """Remove a limit."""
        if self.limits.get(cgroup) is None:
            return False
        self.limits[cgroup] = None
        self._tidy()
        return True

    def _tidy(self) -> None:
        """A row lives as long as it limits or somebody names it."""
        named = {task.cgroup for task in self.tasks.values() if task.cgroup}
        for cgroup in named - self.limits.keys():
            self.limits[cgroup] = None
        for cgroup in [c for c, rules in self.limits.items() if rules is None and c not in named]:
            del self.limits[cgroup]
        for cgroup in self.queues.keys() - self.limits.keys():
            del self.queues[cgroup]
        for cgroup in self.limits:
            self.queues.setdefault(cgroup, Queue(Rules(0)))

    def chain(self, cgroup: str) -> list[str]:
        """A cgroup with a row, and the limited ones above it."""
        above = [other for other in self.limits if cgroup.startswith(f"{other}/")]
        limited = [other for other in above if self.limits[other] is not None]
        return [cgroup, *sorted(limited, key=len, reverse=True)]

    def police(self, cgroup: str) -> Limits:
        """The row that a packet meets, as number 0, and its parents."""
        chain = self.chain(cgroup)
        for number, path in enumerate(chain):
            parents = tuple(range(1, len(chain))) if not number else ()
            self.queues[path].rules = replace(self.limits[path] or Rules(0), parents=parents)
        return Limits({number: self.queues[path] for number, path in enumerate(chain)})

    # --- what a mend does of itself ---

    def mend(self) -> None:
        """`check --fix`: an endpoint that nobody of this host could reach can be reached.

        As far as there is room.
        """
        for _, task in sorted(self.tasks.items()):
            row = self.mappings.get(task.sir)
            if row is None and len(self.mappings) == self.room[1]:
                continue
            if row is None or (row.action != ACTION_FORWARD and row.wire != task.wire):
                self.mappings[task.sir] = Mapping(task.wire, ACTION_LOCAL)

    # --- for the datapath ---

    def tables(
        self, uplink: int, devices: Dictionary[bytes, Device], limits: dict[int, Limit]
    ) -> Tables:
        """Tables as packets should meet them.

        Args:
            devices: of containers, by SIR address.
            limits: verdict of each limit, by the number that `limit_number` gives.
        """
        containers = {
            sir: (task, devices[sir])
            for sir, task in self.tasks.items()
            if task.delivery is not Delivery.HOST
        }
        hosts = [t for t in self.tasks.values() if t.delivery is Delivery.HOST]
        endpoints = {
            task.wire: Endpoint(
                task.sir, task.delivery, device.ifindex, task.mtu, task.slot, device.mac,
                device.host_mac, limit=self.limit_number(task),
            )
            for task, device in containers.values()
        } | {
            task.wire: Endpoint(
                task.sir, Delivery.HOST, slot=task.slot, limit=self.limit_number(task)
            )
            for task in hosts
        }  # fmt: skip
        return Tables(
            endpoints=endpoints,
            mappings=dict(self.mappings),
            ports={
                device.ifindex: Port(task.sir, task.slot, task.any_source)
                for task, device in containers.values()
            },
            prefixes=self.setup.rows(),
            config=Config(uplink, self.setup.uplink_mtu),
            devices=frozenset(
                device.ifindex
                for task, device in containers.values()
                if task.delivery is Delivery.XDP
            ),
            limits=limits,
        )

    def limit_number(self, task: Task) -> int:
        """Number of a task's cgroup among those with a row, from 1; 0 = none."""
        return 1 + sorted(self.limits).index(task.cgroup) if task.cgroup else 0
