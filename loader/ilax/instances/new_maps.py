# SPDX-License-Identifier: Apache-2.0
"""The maps of a new instance: of the sizes asked for, marked, and there all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax.bpf import Object
from ilax.contract import layout_check, schema
from ilax.contract.tables import Table, index_key
from ilax.hooks import xdp_slot
from ilax.instances.instance import MAP_NAMES, Instance, own_netns
from ilax.instances.pins import remove_folder

if TYPE_CHECKING:
    from ilax.instances.pins import PinFolder
    from ilax.instances.transaction import Transaction
    from ilax.instances.up_options import UpOptions


def make_instance(pins: PinFolder, options: UpOptions, change: Transaction) -> None:
    """Folders and maps, where a killed command may have left some.

    Raises:
        LayoutError: there is an instance of another contract; nothing was touched.
    """
    if pins.other_versions():
        # Instance.open() says which contract that is.
        Instance.open(pins.instance).close()
    # What a killed `up` or `down` has left; without maps it is of no use.
    xdp_slot.leave(pins)
    pins.remove()
    change.on_failure(pins.remove)
    pins.create()
    _make_maps(pins, options)


def _make_maps(pins: PinFolder, options: UpOptions) -> None:
    """Create all maps, mark them, and let them appear at once."""
    remove_folder(pins.maps_new)
    pins.maps_new.mkdir(mode=0o700)
    with Object.open(schema.object_path("abi")) as obj:
        size_maps(obj, options)
        obj.load()
        for name in MAP_NAMES:
            with obj.maps[name].open() as made:
                if name == "ilax_abi":
                    made.update(index_key(0), layout_check.abi_row())
                    made.freeze()
                if name == "ilax_config":
                    # So that even half an `up` knows its namespace.
                    table = Table(made)
                    row = table.new()[0]
                    row["netns"] = own_netns()
                    table.put(index_key(0), row)
                made.pin(pins.maps_new / name)
    pins.maps_new.rename(pins.maps)


def size_maps(obj: Object, options: UpOptions) -> None:
    """Set how many rows the maps of an object get, where that is asked for."""
    if options.max_endpoints:
        for name in ("ilax_endpoints", "ilax_ports", "ilax_devices"):
            obj.maps[name].set_max_entries(options.max_endpoints)
        obj.maps["ilax_traffic"].set_max_entries(options.max_endpoints + 1)
    if options.max_mappings:
        obj.maps["ilax_mappings"].set_max_entries(options.max_mappings)
    if options.max_limits:
        for name in ("ilax_limits", "ilax_backlogs", "ilax_cgroups"):
            obj.maps[name].set_max_entries(options.max_limits)
