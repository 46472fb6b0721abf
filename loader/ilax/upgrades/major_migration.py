# SPDX-License-Identifier: Apache-2.0
"""From an older major of the contract to ours, with all rows.

Old rows are read by the BTF of the old maps, which is that of whoever made them, and
fields of the same name are carried over wherever they stand and whatever their size. A
converter says what else has changed; a major without one is refused. The old folder
stays whole until the new programs are on all hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilax.bpf import Btf, Map, Object, possible_cpus
from ilax.contract import layout_check, schema
from ilax.contract.tables import index_key
from ilax.errors import ConflictError, LayoutError
from ilax.instances.instance import MAP_NAMES, Instance
from ilax.instances.pins import PinFolder, remove_folder
from ilax.instances.transaction import Transaction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What an older major called a value, and rows of ours that are to be completed; both
# are structured arrays of one shape.
Convert = Callable[[Any, Any], None]

# Made anew: what says that it is ours, what the kernel fills, events that nobody has
# read, and readings of the clock, which are old by then.
_EMPTY = {"ilax_abi", "ilax_attached", "ilax_events", "ilax_clock"}

# Maps whose size is chosen at `up`; the new ones are as large as the old ones.
_SIZED = ("ilax_endpoints", "ilax_ports", "ilax_devices", "ilax_traffic", "ilax_mappings",
          "ilax_limits", "ilax_backlogs", "ilax_cgroups")  # fmt: skip


@dataclass(frozen=True)
class Converter:
    """What field names do not tell about an older major.

    Attributes:
        renamed: names that maps had, by the name that they have now.
        values: by map: completes our values from the old ones.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Convert] = field(default_factory=dict)


# By the older major. There is none yet that anybody has used.
CONVERTERS: dict[int, Converter] = {}


class OlderMajor:
    """An instance of an older major, and where it is pinned."""

    def __init__(self, pins: PinFolder, major: int) -> None:
        self.pins = pins
        self.major = major
        self.version = pins.base / f"v{major}"
        self.programs = self.version / "programs"
        # A killed migration may have moved them already.
        links, slots = self.version / "links", self.version / "slots"
        self.links = links if links.is_dir() else pins.links
        self.slots = slots if slots.is_dir() else pins.slots

    @classmethod
    def find(cls, pins: PinFolder) -> OlderMajor | None:
        """The older major that an instance is of; None if it is none.

        Raises:
            LayoutError: nobody knows the way from it.
        """
        found = [
            int(name[1:])
            for name in pins.other_versions()
            if name[1:].isdigit() and (pins.base / name / "maps").is_dir()
        ]
        older = [major for major in found if major < schema.ABI_MAJOR]
        if pins.maps.is_dir() or not older:
            return None
        if older[-1] not in CONVERTERS:
            raise LayoutError(
                f"instance {pins.instance} has another contract",
                [f"pinned: v{older[-1]}; this ilax knows no way from there"],
            )
        return cls(pins, older[-1])

    def open_new(self, change: Transaction) -> Instance:
        """Empty maps of ours beside the old ones; links and slots are still the old ones.

        Args:
            change: what was made goes again if it fails.
        """
        pins = PinFolder(self.pins.instance)
        pins.links, pins.slots = self.links, self.slots
        for folder in (pins.maps_new, pins.programs_new, pins.programs, pins.previous):
            remove_folder(folder)  # of a killed migration
        pins.version.mkdir(mode=0o700, exist_ok=True)
        pins.programs.mkdir(mode=0o700)
        change.on_failure(remove_folder, pins.programs)
        pins.maps_new.mkdir(mode=0o700)
        change.on_failure(remove_folder, pins.maps_new)
        with ExitStack() as stack, Object.open(schema.object_path("abi")) as obj:
            for name in _SIZED:
                path = self._old_path(name)
                if path.exists():
                    with Map.open_pinned(path) as old:
                        obj.maps[name].set_max_entries(old.max_entries)
            obj.load()
            maps = {name: stack.enter_context(obj.maps[name].open()) for name in MAP_NAMES}
            maps["ilax_abi"].update(index_key(0), layout_check.abi_row())
            maps["ilax_abi"].freeze()
            for name, made in maps.items():
                made.pin(pins.maps_new / name)
            return Instance(pins, maps, stack.pop_all())

    def carry_rows(self, opened: Instance) -> None:
        """Copy all rows of the old maps. What is written to those afterwards is lost.

        Raises:
            ConflictError: a value does not fit into its new field.
        """
        converter = CONVERTERS[self.major]
        for name, target in opened.maps.items():
            path = self._old_path(name)
            if name in _EMPTY or not path.exists():
                continue
            with Map.open_pinned(path) as source:
                _carry_map(source, target, converter.values.get(name))

    def move_in(self, opened: Instance) -> None:
        """Make it an instance of our major, and leave nothing of the old one."""
        pins = self.pins
        if self.links != pins.links:
            remove_folder(pins.links)
            self.links.rename(pins.links)
        if self.slots != pins.slots:
            remove_folder(pins.slots)
            self.slots.rename(pins.slots)
        opened.pins.links, opened.pins.slots = pins.links, pins.slots
        pins.maps_new.rename(pins.maps)
        _attach_cgroups(opened)
        self.sweep()

    def sweep(self) -> None:
        """Remove what is left of the old folder."""
        for folder in sorted(self.version.iterdir()) if self.version.is_dir() else ():
            remove_folder(folder)
        if self.version.is_dir():
            self.version.rmdir()

    def _old_path(self, name: str) -> Path:
        old = CONVERTERS[self.major].renamed.get(name, name)
        return self.version / "maps" / old


def sweep_leftovers(pins: PinFolder) -> None:
    """Remove older majors beside ours: a migration was killed when it had succeeded."""
    for name in pins.other_versions() if pins.maps.is_dir() else ():
        if name[1:].isdigit() and int(name[1:]) < schema.ABI_MAJOR:
            OlderMajor(pins, int(name[1:])).sweep()


def _attach_cgroups(opened: Instance) -> None:
    """Attach the programs at cgroups anew.

    The rows that tell them their limits are made by the kernel when a program is
    attached, so those of the old maps cannot be carried over.
    """
    from ilax.hooks import cgroup_attach
    from ilax.hooks.places import CGROUP
    from ilax.limiting.limit_book import Book

    for cgroup in cgroup_attach.pinned(opened.pins):
        (opened.pins.links / CGROUP.link_of(cgroup)).unlink()
    book = Book(opened)
    for cgroup in book.slots:
        book.attach(cgroup)


# --- rows ----------------------------------------------------------------------


def _carry_map(source: Map, target: Map, convert: Convert | None) -> None:
    if not source.btf_id:
        # Device maps: their BTF is unknown to the kernel, and they hold numbers.
        for key in list(source.keys()):
            value = source.lookup(key)
            if value is not None:
                target.update(key, value)
        return
    old, new = Btf.from_kernel(source.btf_id), schema.types()
    expected = _types(target)
    keys, values = source.lookup_batch()
    rows = min(len(keys), target.max_entries) if _is_array(target) else len(keys)
    keys, values = keys[:rows], values[:rows]
    if not rows:
        return
    new_keys = _typed(_zeros(rows, target.key_size), schema.type_of(new, expected[0]))
    carry(_typed(keys, schema.type_of(old, source.btf_key_type_id)), new_keys, source.name)
    new_values = _zeros(rows, target.value_bytes)
    old_rows = _typed(_each_cpu(source, values), schema.type_of(old, source.btf_value_type_id))
    new_rows = _typed(_each_cpu(target, new_values), schema.type_of(new, expected[1]))
    carry(old_rows, new_rows, source.name)
    if convert is not None:
        convert(old_rows, new_rows)
    target.update_batch(_bytes(new_keys, rows), new_values)


def _types(target: Map) -> tuple[int, int]:
    """Key and value type of a map of ours, in the contract's own BTF."""
    with Object.open(schema.object_path("abi")) as obj:
        item = obj.maps[target.name]
        return item.btf_key_type_id, item.btf_value_type_id


def carry(old: NDArray[Any], new: NDArray[Any], where: str) -> None:
    """Copy what has the same name, from rows of one type to as many rows of another.

    Padding is left out: it has no meaning, and MUST be zero in ours.

    Raises:
        ConflictError: a value does not fit, or a field is no number any more.
    """
    import numpy as np

    if new.dtype.names is None or old.dtype.names is None:
        if new.dtype.names != old.dtype.names or old.shape != new.shape:
            raise ConflictError(f"{where} cannot be carried over: a field has another kind")
        info = np.iinfo(new.dtype)
        if old.size and (int(old.max()) > info.max or int(old.min()) < info.min):
            raise ConflictError(
                f"a value of {where} does not fit into {new.dtype.itemsize} bytes; "
                "nothing was changed"
            )
        new[...] = old
        return
    for name in new.dtype.names:
        if name in old.dtype.names and not name.startswith("pad"):
            carry(old[name], new[name], f"{where}.{name}")


def _zeros(rows: int, width: int) -> NDArray[np.uint8]:
    """`rows` rows of `width` bytes."""
    import numpy as np

    return np.zeros((rows, width), np.uint8)


def _is_array(target: Map) -> bool:
    from ilax.bpf.map import ARRAY, PERCPU_ARRAY

    return target.type in (ARRAY, PERCPU_ARRAY)


def _each_cpu(source: Map, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Values as (rows, CPUs, bytes), or (rows, bytes); a view."""
    if not source.per_cpu:
        return values
    shaped: NDArray[np.uint8] = values.reshape(len(values), possible_cpus(), -1)
    return shaped


def _typed(raw: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Rows with a type, of the shape of `raw` without its last axis; a view."""
    import numpy as np

    return np.ndarray(raw.shape[:-1], dtype, raw.data, strides=raw.strides[:-1])


def _bytes(rows: NDArray[Any], count: int) -> NDArray[np.uint8]:
    import numpy as np

    return np.ascontiguousarray(rows).view(np.uint8).reshape(count, -1)
