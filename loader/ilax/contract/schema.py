# SPDX-License-Identifier: Apache-2.0
"""The map contract as Python sees it: derived from BTF, never written by hand.

Three things come from the types of `objects/abi.bpf.o`:
numpy dtypes of every struct, values of every enum, and the canonical text of
all layouts, whose SHA-256 is the layout hash that `ilax_abi` carries. The same
text is made from the kernel's BTF of a pinned map, so two versions can be
compared field by field.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilax.bpf import btf as kinds
from ilax.bpf.btf import Btf, Type
from ilax.bpf.map import Map
from ilax.bpf.object import Object, ObjectMap

if TYPE_CHECKING:
    import numpy as np

# Part of the path of pins, so a start-up needs it before it has read any BTF;
# a test compares it with the header.
ABI_MAJOR = 1

# Types that no map carries stand as members of this variable.
_LOOSE_TYPES = "ilax_types"

# The kernel adds BPF_F_RDONLY_PROG to device maps by itself.
_FLAGS_OF_KERNEL = 0x80

# enum bpf_map_type in words, for the canonical text.
_MAP_TYPES = {
    1: "hash", 2: "array", 6: "percpu_array", 19: "cgroup_storage", 25: "devmap_hash", 27: "ringbuf"
}  # fmt: skip


def object_path(name: str) -> Path:
    """Path of a compiled object that ships with the package.

    Args:
        name: of a source below xdp/ or tc/ without its ending, such as "ingress", or
            "abi" for the types alone.
    """
    return Path(str(resources.files("ilax") / "objects" / f"{name}.bpf.o"))


@functools.cache
def types() -> Btf:
    """The contract's types."""
    return Btf.from_file(object_path("abi"))


@functools.cache
def enum(name: str) -> dict[str, int]:
    """Values of an enum of the contract, by name, in order of declaration."""
    return dict(types().by_name[name].values)


@functools.cache
def struct_size(name: str) -> int:
    """Bytes of a struct of the contract."""
    return types().by_name[name].size


@functools.cache
def dtype(name: str) -> np.dtype[np.void]:
    """The numpy dtype of a struct of the contract.

    `__be16/32/64` fields become big-endian integers, so they read and compare
    as plain numbers.
    """
    return dtype_of(types(), types().by_name[name])


def dtype_of(btf: Btf, struct: Type) -> np.dtype[np.void]:
    """The numpy dtype of a struct in any BTF.

    Raises:
        ValueError: it has a bitfield, which the contract forbids.
    """
    import numpy as np

    names, formats, offsets = [], [], []
    for member in struct.members:
        if member.bitfield_size:
            raise ValueError(f"{struct.name}.{member.name} is a bitfield")
        names.append(member.name)
        formats.append(_format(btf, member.type_id))
        offsets.append(member.bit_offset // 8)
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": struct.size}
    )


def type_of(btf: Btf, type_id: int) -> np.dtype[Any]:
    """The numpy dtype of any type that a key or value may have."""
    import numpy as np

    return np.dtype(_format(btf, type_id))  # type: ignore[call-overload, no-any-return]


def _format(btf: Btf, type_id: int) -> object:
    import numpy as np

    target, wire = btf.resolve(type_id)
    if target.kind in (kinds.STRUCT, kinds.UNION):
        return dtype_of(btf, target)
    if target.kind == kinds.ARRAY:
        return np.dtype((_format(btf, target.type_id), (target.elements,)))
    order = ">" if wire else "<"
    return np.dtype(f"{order}{'i' if target.signed else 'u'}{target.size}")


# --- canonical text --------------------------------------------------------


def layout_lines(btf: Btf, type_id: int, prefix: str = "", base: int = 0) -> list[str]:
    """One line for each scalar: `path@bit-offset:kind+bytes`, recursively."""
    target, wire = btf.resolve(type_id)
    if target.kind in (kinds.STRUCT, kinds.UNION):
        lines = []
        for member in target.members:
            path = f"{prefix}.{member.name}" if prefix else member.name
            lines += layout_lines(btf, member.type_id, path, base + member.bit_offset)
        return lines
    if target.kind == kinds.ARRAY:
        element, wire = btf.resolve(target.type_id)
        return [f"{prefix}@{base}:{_kind(element, wire)}+{element.size}[{target.elements}]"]
    return [f"{prefix or 'value'}@{base}:{_kind(target, wire)}+{target.size}"]


def _kind(target: Type, wire: str) -> str:
    if wire:
        return "be"
    if target.kind in (kinds.ENUM, kinds.ENUM64):
        return f"enum {target.name}"
    return "int" if target.signed else "uint"


def map_line(item: Map | ObjectMap) -> str:
    """The first canonical line of a map: kind and sizes, not its capacity."""
    kind = _MAP_TYPES.get(item.type, str(item.type))
    flags = item.flags & ~_FLAGS_OF_KERNEL
    return f"type {kind} flags {flags:#x} key {item.key_size} value {item.value_size}"


@functools.cache
def map_layouts() -> dict[str, list[str]]:
    """Canonical lines of each map of the contract, by map name."""
    with Object.open(object_path("abi")) as obj:
        btf = obj.btf()
        layouts = {}
        for name, item in sorted(obj.maps.items()):
            lines = [map_line(item)]
            for part, type_id in (("key", item.btf_key_type_id), ("value", item.btf_value_type_id)):
                if type_id:
                    lines += [f"{part} {line}" for line in layout_lines(btf, type_id)]
            layouts[name] = lines
        return layouts


@functools.cache
def canonical_text() -> str:
    """Canonical text of the whole contract: what `abi.lock` holds.

    The size of a map (max_entries) is left out: it is chosen at load.
    """
    parts = []
    for name, lines in map_layouts().items():
        parts.append(f"map {name}")
        parts += [f"  {line}" for line in lines]
    loose = types().variable(_LOOSE_TYPES)
    for member in loose.members:
        target, _ = types().resolve(member.type_id)
        if target.kind in (kinds.ENUM, kinds.ENUM64):
            parts.append(f"enum {target.name}")
            parts += [f"  {label} = {value}" for label, value in target.values]
        else:
            parts.append(f"struct {target.name} size {target.size}")
            parts += [f"  {line}" for line in layout_lines(types(), target.id)]
    return "\n".join(parts) + "\n"


@functools.cache
def layout_hash() -> bytes:
    """SHA-256 of the canonical text, 32 bytes."""
    return hashlib.sha256(canonical_text().encode()).digest()
