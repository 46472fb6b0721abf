# SPDX-License-Identifier: Apache-2.0
"""A new minor of the contract over the maps of an older one, without losing a row.

A minor only appends, so the old maps stay as they are. What it added is made beside
them, used by the new programs from the start, and moved in when these are attached;
`ilax_abi` comes last. A crash leaves an instance of the old minor until then, and one
of the new minor after that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from ilax.bpf import Map, Object
from ilax.contract import layout_check, schema
from ilax.contract.tables import index_key
from ilax.instances.instance import MAPS_BY_MINOR, Instance
from ilax.instances.pins import PinFolder, remove_folder
from ilax.instances.transaction import Transaction

_ABI = "ilax_abi"


def _added(minor: int) -> list[str]:
    """Maps that came after a minor, and the one that tells which it is, last."""
    return [n for since, names in MAPS_BY_MINOR.items() if since > minor for n in names] + [_ABI]


def open_older(
    pins: PinFolder, size: Callable[[Object], object], change: Transaction
) -> Instance | None:
    """Open an instance of an older minor, completed by maps that wait to be moved in.

    Args:
        size: sets the sizes of an object's maps.
        change: what was made beside goes again if it fails.

    Returns:
        None if it is of our minor, or of a newer one.

    Raises:
        NotFoundError: a map is missing.
        LayoutError: it is of another major, or its maps differ.
    """
    with ExitStack() as stack:
        abi = stack.enter_context(Map.open_pinned(pins.maps / _ABI))
        minor = layout_check.check_abi_row(abi, pins.instance, older=True)
        if minor >= schema.enum("ilax_version")["ILAX_ABI_MINOR"]:
            return None
        maps = {
            name: stack.enter_context(Map.open_pinned(pins.maps / name))
            for since, names in MAPS_BY_MINOR.items()
            if since <= minor
            for name in names
            if name != _ABI
        }
        layout_check.check_maps(maps, pins.instance)
        remove_folder(pins.maps_new)
        change.on_failure(remove_folder, pins.maps_new)
        pins.maps_new.mkdir(mode=0o700)
        with Object.open(schema.object_path("abi")) as obj:
            size(obj)
            obj.reuse_maps(maps)
            obj.load()
            for name in _added(minor):
                made = maps[name] = stack.enter_context(obj.maps[name].open())
                if name == _ABI:
                    made.update(index_key(0), layout_check.abi_row())
                    made.freeze()
                made.pin(pins.maps_new / name)
        return Instance(pins, maps, stack.pop_all())


def move_in(pins: PinFolder) -> None:
    """Complete the instance that `open_older` opened: it is of our minor from now on."""
    waiting = sorted(pins.maps_new.iterdir(), key=lambda pin: pin.name == _ABI)
    for pin in waiting:
        pin.rename(pins.maps / pin.name)
    pins.maps_new.rmdir()
