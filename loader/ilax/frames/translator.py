# SPDX-License-Identifier: Apache-2.0
"""What an address of a packet means in a domain, and its translation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ilax import address as arithmetic
from ilax.address import Address, Prefix
from ilax.errors import AddressError

if TYPE_CHECKING:
    from ilax.translation.fabric import Fabric


def _unknown(_: Address) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Meaning:
    """An address, explained.

    Attributes:
        kind: "sir" or "wire" for an address of a task; "host" for another
            address below a locator, such as that of a router.
        sir: the task's address for life; None for a host.
        locator: /64 of the host it leads to; None for a SIR address whose
            place is not known.
        ours: whether the locator is one of this host.
        name: of the endpoint on this host; None for all others.
    """

    kind: Literal["sir", "wire", "host"]
    sir: Address | None
    locator: Prefix | None
    ours: bool
    name: str | None

    def __str__(self) -> str:
        place = "" if self.locator is None else f" at {self.locator}"
        who = "" if self.name is None else f" of {self.name}"
        own = ", this host" if self.ours and self.name is None else ""
        match self.kind:
            case "sir":
                return f"SIR{who}{place}{own}"
            case "wire":
                return f"wire of {self.sir}{who and f' ({self.name})'}{place}{own}"
        return f"host{place}{own}"


@dataclass(frozen=True, slots=True)
class Translator:
    """Translates between the two forms of an address; holds no map.

    Attributes:
        sir_prefixes: /64 each; the first one is that of all wire addresses.
        carriers: prefixes of locators, this host's and those of the fabric.
        own: locators of this host, /64 each.
        cbit: wire identifiers carry the C-bit.
        typed: identifiers carry a type; 0 is that of a host.
        place_of: wire address of a SIR address, None where it is not known.
        name_of: name of the endpoint with a SIR address, None for all others.
    """

    sir_prefixes: tuple[Prefix, ...]
    carriers: tuple[Prefix, ...]
    own: tuple[Prefix, ...] = ()
    cbit: bool = True
    typed: bool = True
    place_of: Callable[[Address], Address | None] = _unknown
    name_of: Callable[[Address], str | None] = _unknown

    @classmethod
    def of(
        cls,
        fabric: Fabric,
        *,
        place_of: Callable[[Address], Address | None] = _unknown,
        name_of: Callable[[Address], str | None] = _unknown,
    ) -> Translator:
        """The translator of an instance's prefixes (`ilax.translation.fabric.read`)."""
        return cls(
            sir_prefixes=fabric.sir_prefixes,
            carriers=(*fabric.locators, *fabric.blocks),
            own=fabric.locators,
            cbit=fabric.cbit,
            typed=fabric.typed,
            place_of=place_of,
            name_of=name_of,
        )

    def is_sir(self, address: Address) -> bool:
        """Whether it is below a SIR prefix."""
        return any(address in prefix for prefix in self.sir_prefixes)

    def to_sir(self, address: Address) -> Address | None:
        """SIR address of a wire address; None if it is none."""
        if not any(address in prefix for prefix in self.carriers):
            return None
        try:
            sir = arithmetic.to_sir(address, self.sir_prefixes[0].upper, cbit=self.cbit)
            arithmetic.check_identifier(sir, cbit=self.cbit, typed=self.typed)
        except AddressError:
            return None
        return sir

    def to_wire(self, address: Address, locator: Prefix) -> Address | None:
        """Wire address of a SIR address at a locator (/64); None if there is none."""
        if not self.is_sir(address):
            return None
        try:
            return arithmetic.to_wire(address, locator.upper, cbit=self.cbit, typed=self.typed)
        except AddressError:
            return None

    def meaning(self, address: Address) -> Meaning | None:
        """Explain an address; None if it is no business of the domain."""
        if self.is_sir(address):
            wire = self.place_of(address)
            place = None if wire is None else Prefix(wire.prefix)
            return Meaning("sir", address, place, place in self.own, self.name_of(address))
        if not any(address in prefix for prefix in self.carriers):
            return None
        place = Prefix(address.prefix)
        sir = self.to_sir(address)
        if sir is None:
            return Meaning("host", None, place, place in self.own, None)
        return Meaning("wire", sir, place, place in self.own, self.name_of(sir))
