# SPDX-License-Identifier: Apache-2.0
"""The domain of a live instance: what its maps say of an address, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ilax import fabric
from ilax.address import Address
from ilax.errors import AddressError
from ilax.frames import Translator
from ilax.netlink import interface_names

if TYPE_CHECKING:
    from ilax.instance import Instance


def translator(instance: Instance) -> Translator:
    """Translates by the instance's prefixes as they are now, and by its live rows.

    Rows are looked up when they are asked for: no table is copied, however large.
    Endpoints are named by the host's device that leads to them, or "host".
    """
    known = fabric.read(instance)

    def place_of(sir: Address) -> Address | None:
        row = instance.mappings.get(sir.packed)
        if row is None:
            return None
        return Address(int(row["wire"]["prefix"]), int(row["wire"]["identifier"]))

    return Translator.of(known, place_of=place_of, name_of=_names(instance, known))


def _names(instance: Instance, known: fabric.Fabric) -> Callable[[Address], str | None]:
    devices = interface_names()

    def device(number: int) -> str:
        if number and number not in devices:
            devices.update(interface_names())
        return devices.get(number, f"device {number}") if number else "host"

    def name_of(sir: Address) -> str | None:
        for locator in known.locators:
            try:
                row = instance.endpoints.get(known.to_wire(sir, locator).packed)
            except AddressError:
                return None
            if row is not None:
                return device(int(row["ifindex"]))
        return None

    return name_of
