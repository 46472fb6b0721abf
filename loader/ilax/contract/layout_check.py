# SPDX-License-Identifier: Apache-2.0
"""Is what is pinned what this ilax understands? Checked at every open.

libbpf compares sizes only: two structs of one size with swapped fields would
share a pin without a word. So the kernel's own BTF of each pinned map, which is
that of the map's creator, is compared with ours, field by field.
"""

from __future__ import annotations

import errno
import functools
import logging
import struct

from ilax.bpf import Btf, Map
from ilax.contract import schema
from ilax.errors import LayoutError, OlderMinorError, SystemCallError

_log = logging.getLogger(__name__)

_ABI_ROW = struct.Struct("<IHH32s")


def check_abi_row(abi: Map, instance: str, *, older: bool = False) -> int:
    """Compare magic, major and minor of the `ilax_abi` map.

    Equal major and an equal or newer minor are fine: a minor only appends. The
    hash is compared when both minors are equal.

    Args:
        older: an older minor is fine, too.

    Returns:
        The minor of the pinned maps.

    Raises:
        OlderMinorError: nothing differs but the minor, and it is older.
        LayoutError: names what differs.
    """
    row = abi.lookup(bytes(4))
    if row is None or len(row) != _ABI_ROW.size:
        size = 0 if row is None else len(row)
        raise LayoutError(
            f"instance {instance} has another contract",
            [f"ilax_abi: {size} bytes, not {_ABI_ROW.size}"],
        )
    magic, major, minor, layout = _ABI_ROW.unpack(row)
    own = schema.enum("ilax_version")
    differences = []
    if magic != own["ILAX_ABI_MAGIC"]:
        differences.append(f"ilax_abi.magic: {magic:#x}, not {own['ILAX_ABI_MAGIC']:#x}")
    if major != own["ILAX_ABI_MAJOR"]:
        differences.append(f"ilax_abi.major: {major}, not {own['ILAX_ABI_MAJOR']}")
    if not differences and minor == own["ILAX_ABI_MINOR"] and layout != schema.layout_hash():
        differences.append(
            f"ilax_abi.layout: {layout.hex()[:16]}..., not {schema.layout_hash().hex()[:16]}..."
        )
    if differences:
        raise LayoutError(f"instance {instance} has another contract", differences)
    if minor < own["ILAX_ABI_MINOR"] and not older:
        raise OlderMinorError(
            f"instance {instance} has an older contract",
            [f"ilax_abi.minor: {minor}, older than {own['ILAX_ABI_MINOR']}"],
        )
    return int(minor)


def abi_row() -> bytes:
    """The row that `up` writes."""
    own = schema.enum("ilax_version")
    return _ABI_ROW.pack(
        own["ILAX_ABI_MAGIC"], own["ILAX_ABI_MAJOR"], own["ILAX_ABI_MINOR"], schema.layout_hash()
    )


def map_differences(name: str, opened: Map, *, newer: bool = False) -> list[str]:
    """Lines that tell how a pinned map differs from the contract.

    Args:
        newer: the map is of a newer minor, in which padding may have got a
            meaning; fields that we know must still stand where they stood.
    """
    expected = schema.map_layouts()[name]
    actual = [schema.map_line(opened)]
    btf = _kernel_btf(opened.btf_id) if opened.btf_id else None
    if btf is not None:
        for part, type_id in (("key", opened.btf_key_type_id), ("value", opened.btf_value_type_id)):
            if type_id:
                actual += [f"{part} {line}" for line in schema.layout_lines(btf, type_id)]
    else:
        # Device maps and rings carry no BTF in the kernel, and reading BTF needs
        # CAP_SYS_ADMIN; kind and sizes, and the layout hash, must do.
        expected = expected[:1]
    if newer:
        expected = [line for line in expected if not line.startswith("value pad")]
        actual = [line for line in actual if line in set(expected)]
    return _difference(name, expected, actual)


def check_maps(maps: dict[str, Map], instance: str, *, newer: bool = False) -> None:
    """Check every map of an instance.

    Raises:
        LayoutError: lists every differing field; nothing was written.
    """
    differences = []
    for name, opened in sorted(maps.items()):
        differences += map_differences(name, opened, newer=newer)
    if differences:
        raise LayoutError(f"instance {instance} has maps of another layout", differences)


@functools.lru_cache(maxsize=16)
def _kernel_btf(btf_id: int) -> Btf | None:
    """The types of a map's creator; None where we may not read them.

    BPF_BTF_GET_FD_BY_ID asks for CAP_SYS_ADMIN, which nothing else here needs.
    """
    try:
        return Btf.from_kernel(btf_id)
    except SystemCallError as error:
        if error.errno != errno.EPERM:
            raise
        _log.warning(
            "without CAP_SYS_ADMIN the fields of pinned maps cannot be compared one by one; "
            "their sizes and the layout hash were"
        )
        return None


def _difference(name: str, expected: list[str], actual: list[str]) -> list[str]:
    if expected == actual:
        return []
    wanted, found = set(expected), set(actual)
    lines = [f"{name}: pinned has   {line}" for line in actual if line not in wanted]
    lines += [f"{name}: ilax expects {line}" for line in expected if line not in found]
    return lines or [f"{name}: same fields in another order"]
