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


class Devices:
    """Names of devices of the instance's namespace, by number.

    Attributes:
        here: whether we are in that namespace; from another one no name can be seen.
    """

    def __init__(self, instance: Instance) -> None:
        from ilax.instances.instance import own_netns

        config = instance.config.get(index_key(0))
        self.here = config is not None and int(config["netns"]) == own_netns()
        self._known: dict[int, str | None] = {0: None}

    def name(self, number: int) -> str | None:
        """None for number 0, for a device that is gone, and from another namespace."""
        if self.here and number not in self._known:
            self._known.update(interface_names())
        # Gone, perhaps: it is not asked for again.
        return self._known.setdefault(number, None)

    def label(self, number: int) -> str:
        """One word: the name, else the number; "" for number 0."""
        return (self.name(number) or f"if{number}") if number else ""

    def words(self, number: int) -> str:
        """The name; where there is none, the number and why."""
        return device_words(number, self.name(number), here=self.here)


def device_words(number: int, name: str | None, *, here: bool) -> str:
    """A device by its name; by number, and why, where it has none that can be seen."""
    if not number:
        return "none"
    return name or f"interface {number} ({'gone' if here else 'elsewhere'})"


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
    device = Devices(instance).label

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
