# SPDX-License-Identifier: Apache-2.0
"""An open instance: its maps, checked. The maps are the state; this holds none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import NoReturn, Self

from ilax.bpf import Map
from ilax.bpf.handle import Closing
from ilax.contract import schema
from ilax.contract.layout_check import check_abi_row, check_maps
from ilax.contract.tables import Table, index_key
from ilax.errors import ConflictError, LayoutError, NotFoundError
from ilax.instances.instance_name import DEFAULT_INSTANCE
from ilax.instances.pins import PinFolder, hidden_hint, instances
from ilax.system import namespaces

# Maps by the minor of the contract that brought them.
MAPS_BY_MINOR = {
    0: (
        "ilax_abi",
        "ilax_config",
        "ilax_counters",
        "ilax_devices",
        "ilax_endpoints",
        "ilax_events",
        "ilax_mappings",
        "ilax_ports",
        "ilax_prefixes",
        "ilax_traffic",
    ),
    1: (
        "ilax_attached",
        "ilax_backlogs",
        "ilax_cgroups",
        "ilax_chunks",
        "ilax_clock",
        "ilax_limits",
    ),
}
MAP_NAMES = tuple(sorted(name for names in MAPS_BY_MINOR.values() for name in names))


def _elsewhere() -> str:
    """What to do where an instance is not up: another one may be meant."""
    start = "start it with `ilax up`"
    others = instances()
    return f"{start}; others are here: --instance {', '.join(others)}" if others else start


def own_netns() -> int:
    """Inode number of the network namespace of this process."""
    return Path("/proc/self/ns/net").stat().st_ino


def refuse_other_netns(name: str, netns: int, action: str) -> NoReturn:
    """Raise since an instance serves another network namespace than this one.

    Raises:
        ConflictError: says which namespace is the right one, and the way into it.
    """
    path = namespaces.visible().get(netns)
    hint = f"run `nsenter --net={quote(str(path))} ilax ...`, or name another --instance"
    if path is None:
        hint = (
            "that namespace is in sight nowhere: if it is gone, `ilax --instance "
            f"{name} down --force` removes what is left; or name another --instance"
        )
    raise ConflictError(
        f"cannot {action}: instance {name} serves another network namespace "
        f"(net:[{netns}]); nothing was changed",
        hint=hint,
    )


class Instance(Closing):
    """The maps of one instance, open and of the right layout.

    Use `Instance.open()`. Attributes are tables, named as the maps are without
    their prefix: `endpoints`, `mappings`, `ports`, `prefixes`, `config`,
    `counters`, `traffic`, `limits`, `backlogs`, `chunks`; `devices`, `events`,
    `cgroups` and `attached` are plain maps. `newer` tells that they are of a newer
    minor of the contract, which may have appended values to enums.
    """

    def __init__(
        self, pins: PinFolder, maps: dict[str, Map], stack: ExitStack, *, newer: bool = False
    ) -> None:
        self.pins = pins
        self.name = pins.instance
        self.maps = maps
        self.newer = newer
        self._stack = stack
        self.endpoints = Table(maps["ilax_endpoints"])
        self.mappings = Table(maps["ilax_mappings"])
        self.ports = Table(maps["ilax_ports"])
        self.prefixes = Table(maps["ilax_prefixes"])
        self.config = Table(maps["ilax_config"])
        self.counters = Table(maps["ilax_counters"])
        self.traffic = Table(maps["ilax_traffic"])
        self.devices = maps["ilax_devices"]
        self.events = maps["ilax_events"]
        self.limits = Table(maps["ilax_limits"])
        self.backlogs = Table(maps["ilax_backlogs"])
        self.chunks = Table(maps["ilax_chunks"])
        self.cgroups = maps["ilax_cgroups"]
        self.attached = maps["ilax_attached"]

    @classmethod
    def open(cls, name: str = DEFAULT_INSTANCE, *, read_only: bool = False) -> Self:
        """Open the pinned maps of an instance and check their layout.

        Args:
            read_only: the kernel refuses all writes by these handles.

        Raises:
            NotFoundError: the instance is not up.
            LayoutError: it was made by an ilax of another contract; nothing
                was written. `OlderMinorError`: `up` can bring it up to date.
        """
        pins = PinFolder(name)
        if not pins.maps.is_dir():
            others = [v for v in pins.other_versions() if v.startswith("v")]
            if others:
                raise LayoutError(
                    f"instance {name} has another contract",
                    [f"pinned: {', '.join(others)}; ilax expects v{schema.ABI_MAJOR}"],
                )
            raise NotFoundError(f"instance {name} is not up", hint=hidden_hint() or _elsewhere())
        with ExitStack() as stack:
            try:
                # First of all: it tells which others there are.
                with Map.open_pinned(pins.maps / "ilax_abi", read_only=read_only) as abi:
                    minor = check_abi_row(abi, name)
                maps = {
                    n: stack.enter_context(Map.open_pinned(pins.maps / n, read_only=read_only))
                    for n in MAP_NAMES
                }
            except NotFoundError as error:
                raise NotFoundError(
                    f"instance {name} is incomplete: {error}; nothing was changed",
                    hint="`ilax down` removes what is left of it, then `ilax up`",
                ) from error
            newer = minor > schema.enum("ilax_version")["ILAX_ABI_MINOR"]
            check_maps(maps, name, newer=newer)
            return cls(pins, maps, stack.pop_all(), newer=newer)

    def require_own_netns(self, action: str) -> None:
        """Raise unless this process is in the namespace that the instance serves.

        Interface numbers of another namespace would name the wrong devices.

        Raises:
            ConflictError: says which namespace is the right one.
        """
        row = self.config.get(index_key(0))
        netns = int(row["netns"]) if row is not None else 0
        if netns != own_netns():
            refuse_other_netns(self.name, netns, action)

    @contextlib.contextmanager
    def locked(self, *, to_read: bool = False) -> Iterator[None]:
        """Keep other loaders away while rows are read and changed by what they say.

        Args:
            to_read: nothing is going to be changed.

        Raises:
            ConflictError: the instance was taken down since it was opened, or half of it.
        """
        with self.pins.lock(to_read=to_read):
            self.require_whole()
            yield

    def require_whole(self) -> None:
        """Raise if nothing can be changed any more, whatever it is.

        Raises:
            ConflictError: the instance was taken down since it was opened, or half of it.
        """
        if not self.is_pinned():
            raise ConflictError(
                f"instance {self.name} was taken down meanwhile; nothing was changed",
                hint="try again",
            )
        if self.pins.doomed.is_dir():
            raise ConflictError(
                f"a `down` of instance {self.name} was interrupted; nothing was changed",
                hint="`ilax down` ends it; `ilax up` keeps what is left",
            )

    def is_pinned(self) -> bool:
        """Whether these are still the maps that are pinned: not after `down`."""
        try:
            with Map.open_pinned(self.pins.maps / "ilax_abi") as pinned:
                return pinned.id == self.maps["ilax_abi"].id
        except NotFoundError:
            return False

    def close(self) -> None:
        """Close all maps."""
        self._stack.close()
