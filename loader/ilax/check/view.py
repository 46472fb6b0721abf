# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: read once, so that all of them see the same."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ilax.bpf import Link, LinkInfo, Program
from ilax.bpf.handle import Closing
from ilax.check import installed
from ilax.check.model import Needs
from ilax.check.snapshot import Snapshot
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.errors import IlaxError, NotFoundError
from ilax.hooks import xdp_slot
from ilax.instances.instance import Instance, own_netns
from ilax.instances.instance_name import DEFAULT_INSTANCE
from ilax.instances.pins import PinFolder
from ilax.system import namespaces
from ilax.system.netlink import Interface, Network
from ilax.system.privileges import missing_capabilities
from ilax.translation import fabric

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.endpoint.endpoints import Endpoint
    from ilax.hooks.xdp_slot import Slot
    from ilax.translation.fabric import Fabric, Survey


@dataclass(frozen=True, slots=True)
class Pinned:
    """A pinned program: its number, its tag, and the numbers of the maps that it uses."""

    id: int
    tag: str
    maps: tuple[int, ...]


class View(Closing):
    """One instance and its host, as they are now. Use `View.open()`.

    Attributes:
        problem: why the maps cannot be used; None if they can.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pins = PinFolder(name)
        self.problem: IlaxError | None = None
        self._instance: Instance | None = None
        self._stack = ExitStack()

    @classmethod
    def open(cls, name: str) -> Self:
        """Read what can be read; what cannot is `problem`."""
        view = cls(name)
        try:
            view._instance = view._stack.enter_context(Instance.open(name))
        except IlaxError as error:
            view.problem = error
        return view

    def close(self) -> None:
        """Close maps and sockets."""
        self._stack.close()

    @cached_property
    def level(self) -> Needs:
        """How much is there."""
        if self._instance is None:
            return Needs.NOTHING
        at_home = self.netns == own_netns() and self.uplink_index and self.known
        settled = not self.unfinished and not self.pins.doomed.is_dir()
        # What rows say that no packet meets must neither be told nor mended.
        return Needs.HOME if at_home and settled and not self.other_maps else Needs.MAPS

    # --- the maps --------------------------------------------------------------

    @property
    def instance(self) -> Instance:
        """The open instance; only at level MAPS."""
        assert self._instance is not None, "a check looked at maps that it does not need"
        return self._instance

    @cached_property
    def config(self) -> Any:
        """The row of `ilax_config`."""
        return self.instance.config.get(index_key(0))

    @property
    def netns(self) -> int:
        """Inode number of the namespace that the instance serves."""
        return int(self.config["netns"])

    @property
    def uplink_index(self) -> int:
        """Number of the uplink; 0 if an `up` was killed before it wrote it."""
        return int(self.config["uplink_ifindex"])

    @cached_property
    def prefixes(self) -> Survey:
        """Prefixes, and rows that make no sense beside them."""
        return fabric.survey(self.instance)

    @property
    def known(self) -> Fabric | None:
        """Prefixes; None if there are none yet."""
        return self.prefixes.fabric

    @property
    def unfinished(self) -> bool:
        """Whether the first `up` was killed: what it was asked for is not known."""
        return not self.programs and all(one.delivery == "host" for one in self.endpoints)

    @property
    def fabric(self) -> Fabric:
        """Prefixes; only at level HOME."""
        assert self.known is not None
        return self.known

    @cached_property
    def endpoints(self) -> list[Endpoint]:
        """All endpoints, by SIR address."""
        return endpoints.read_all(self.instance)

    @cached_property
    def ports(self) -> dict[int, Any]:
        """Rows of `ilax_ports`, by number of the device."""
        keys, rows = self.instance.ports.rows()
        return dict(zip(keys.tolist(), rows, strict=True))

    @cached_property
    def mappings(self) -> tuple[Any, Any]:
        """Keys and rows of all mappings, shapes (n,) and (n,)."""
        return self.instance.mappings.rows()

    @cached_property
    def devices(self) -> set[int]:
        """Devices into which XDP may redirect."""
        # The kernel has no batches for this kind of map.
        keys = self.instance.devices.keys()
        return {int.from_bytes(key, "little") for key in keys}

    # --- the host --------------------------------------------------------------

    @cached_property
    def here(self) -> Snapshot:
        """The host's network namespace."""
        return Snapshot(self._stack.enter_context(Network()))

    @property
    def network(self) -> Network:
        """The host's network namespace, to change it."""
        return self.here.network

    @property
    def uplink(self) -> Interface | None:
        """The uplink; None if it is gone."""
        return self.here.links.get(self.uplink_index)

    @cached_property
    def namespaces(self) -> dict[int, Path]:
        """Paths of other namespaces by the number that the host's knows them by."""
        return namespaces.by_number(self.network)

    @cached_property
    def missing(self) -> list[str]:
        """Capabilities that this process lacks."""
        return missing_capabilities(admin=True)

    # --- programs and links ----------------------------------------------------

    @cached_property
    def links(self) -> dict[str, LinkInfo]:
        """Our pinned links by name; those of endpoints and cgroups, too."""
        found = {}
        folder = self.pins.links
        for pin in sorted(folder.iterdir()) if folder.is_dir() else []:
            with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
                found[pin.name] = link.info()
        return found

    @cached_property
    def programs(self) -> dict[str, Pinned]:
        """Each pinned program, by name."""
        found = {}
        folder = self.pins.programs
        for pin in sorted(folder.iterdir()) if folder.is_dir() else []:
            with contextlib.suppress(NotFoundError), Program.open_pinned(pin) as program:
                found[pin.name] = Pinned(program.id, program.tag, tuple(program.map_ids()))
        return found

    @cached_property
    def other_maps(self) -> dict[tuple[str, int], list[str]]:
        """Programs that use another map than the pinned one: by its name and their number.

        Of programs whose code is known; none where this process may not load them.
        """
        maps = self.instance.maps
        found: dict[tuple[str, int], list[str]] = {}
        with contextlib.suppress(IlaxError):
            for name, ours in installed.programs(maps).items():
                loaded = self.programs.get(name)
                # One map under two names would count once.
                if loaded is None or len(loaded.maps) != len(ours.maps) or loaded.tag != ours.tag:
                    continue
                for number, used in zip(loaded.maps, ours.maps, strict=True):
                    if used and number != maps[used].id:
                        found.setdefault((used, number), []).append(name)
        return found

    @cached_property
    def programs_of_instances(self) -> set[int]:
        """Numbers of the programs in the links of all instances."""
        found = set()
        for pin in self.pins.root.glob("*/v*/links/*"):
            with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
                found.add(link.info().program_id)
        for pin in self.pins.root.glob("*/v*/slots/program_*"):
            found.add(int(pin.name.rpartition("_")[2]))
        return found

    @cached_property
    def slots(self) -> list[Slot]:
        """Slots of foreign arrays that our XDP program was put into."""
        return self._stack.enter_context(xdp_slot.remembered(self.pins))

    # --- words -----------------------------------------------------------------

    def command(self, text: str) -> str:
        """A command line of ilax for this instance."""
        name = "" if self.name == DEFAULT_INSTANCE else f" --instance {self.name}"
        return f"ilax{name} {text}"

    def inner_path(self, endpoint: Endpoint) -> Path | None:
        """Where the namespace of an endpoint's other side can be entered."""
        link = self.here.links.get(endpoint.ifindex)
        if link is None or link.peer_namespace is None:
            return None
        return self.namespaces.get(link.peer_namespace)

    def endpoint_of(self, sir: Address) -> Endpoint | None:
        """The endpoint with a SIR address."""
        return next((e for e in self.endpoints if e.sir == sir), None)
