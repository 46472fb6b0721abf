# SPDX-License-Identifier: Apache-2.0
"""An instance as an ilax of contract 1.0 left it."""

from __future__ import annotations

from ilax.bpf import Map, Object
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.instances.instance import MAPS_BY_MINOR
from ilax.instances.pins import PinFolder

# SHA-256 of abi.lock of contract 1.0, which never changes.
_LAYOUT = bytes.fromhex("13e0c57be2205d2b1d63db14c970ebccd9713369718ea6e1825c25c7bfb22d48")


def turn_back(instance: str) -> None:
    """Take from a running instance what 1.0 did not have; its rows stay.

    The programs that run keep the maps that they know; nobody can find these maps
    any more.
    """
    pins = PinFolder(instance)
    (pins.programs / "ilax_cgroup_in").unlink(missing_ok=True)
    for link in pins.links.glob("cgroup_*"):
        link.unlink()
    for name in MAPS_BY_MINOR[1]:
        (pins.maps / name).unlink(missing_ok=True)
    (pins.maps / "ilax_abi").unlink()
    own = schema.enum("ilax_version")
    with Object.open(schema.object_path("abi")) as obj:
        for name in MAPS_BY_MINOR[0]:
            if name != "ilax_abi":
                with Map.open_pinned(pins.maps / name) as existing:
                    obj.maps[name].reuse(existing)
        obj.load()
        with obj.maps["ilax_abi"].open() as abi:
            abi.update(
                index_key(0),
                own["ILAX_ABI_MAGIC"].to_bytes(4, "little")
                + own["ILAX_ABI_MAJOR"].to_bytes(2, "little")
                + bytes(2)
                + _LAYOUT,
            )
            abi.freeze()
            abi.pin(pins.maps / "ilax_abi")
