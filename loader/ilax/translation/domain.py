# SPDX-License-Identifier: Apache-2.0
"""The domain of a live instance: what its maps say of an address, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ilax.address import Address
from ilax.contract.tables import index_key
from ilax.errors import AddressError
from ilax.frames import Translator
from ilax.system.netlink import interface_names
from ilax.translation import fabric

if TYPE_CHECKING:
    from ilax.instances.instance import Instance


def device_names(instance: Instance) -> Callable[[int], str]:
    """Names of devices of the instance's namespace, by number; "" for number 0.

    From another namespace the names cannot be seen, and numbers are shown.
    """
    from ilax.instances.instance import own_netns

    config = instance.config.get(index_key(0))
    here = config is not None and int(config["netns"]) == own_netns()
    known: dict[int, str] = {}

    def name(number: int) -> str:
        if not number:
            return ""
        if here and number not in known:
            known.update(interface_names())
        # Gone, perhaps: it is not asked for again.
        return known.setdefault(number, f"if{number}")

    return name


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
    device = device_names(instance)

    def name_of(sir: Address) -> str | None:
        for locator in known.locators:
            try:
                row = instance.endpoints.get(known.to_wire(sir, locator).packed)
            except AddressError:
                return None
            if row is not None:
                return device(int(row["ifindex"])) or "host"
        return None

    return name_of
