# SPDX-License-Identifier: Apache-2.0
"""Translates the addresses inside of frames, in both directions.

Translation is neutral to checksums and changes no length, so 16 bytes are
replaced and nothing else is touched. A packet that an ICMPv6 error quotes is
translated, too. Headers that were not captured whole are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from ilax.address import Address, Prefix
from ilax.frames import headers
from ilax.frames.record import Record
from ilax.frames.translator import Translator

# Addresses whose translation is remembered; a bound, as captures have none.
_REMEMBERED = 1 << 16

Translate = Callable[[bytes], bytes | None]


@dataclass(slots=True)
class Tally:
    """What was done.

    Attributes:
        frames: seen.
        changed: of them with a translated address.
        addresses: translated.
    """

    frames: int = 0
    changed: int = 0
    addresses: int = 0


class Rewriter:
    """Translates records, and counts.

    Args:
        translate: 16 bytes of an address to 16 others; None leaves it alone.
        sources: whether source addresses are translated as well.
    """

    def __init__(self, translate: Translate, *, sources: bool) -> None:
        self._translate = lru_cache(_REMEMBERED)(translate)
        self._fields = (headers.SRC, headers.DST) if sources else (headers.DST,)
        self.tally = Tally()

    def __call__(self, record: Record) -> Record:
        """The record with its addresses translated; the same one if there are none."""
        self.tally.frames += 1
        data = record.data
        found = headers.network(data, record.link)
        if not found.is_ipv6 or not headers.has_ipv6_at(data, found.offset):
            return record
        places = [found.offset]
        quoted = headers.quoted_offset(data, headers.upper(data, found.offset))
        if quoted is not None and headers.has_ipv6_at(data, quoted):
            places.append(quoted)
        changed = None
        for place in places:
            for field in self._fields:
                at = place + field
                new = self._translate(data[at : at + 16])
                if new is not None:
                    changed = changed or bytearray(data)
                    changed[at : at + 16] = new
                    self.tally.addresses += 1
        if changed is None:
            return record
        self.tally.changed += 1
        return replace(record, data=bytes(changed))


def to_sir(translator: Translator) -> Rewriter:
    """Wire addresses become SIR addresses, wherever they stand."""

    def translate(raw: bytes) -> bytes | None:
        sir = translator.to_sir(Address.from_bytes(raw))
        return None if sir is None else sir.packed

    return Rewriter(translate, sources=True)


def to_wire(
    translator: Translator, locator: Prefix | None = None, *, sources: bool = False
) -> Rewriter:
    """SIR addresses become wire addresses.

    Args:
        translator: of the domain.
        locator: where all tasks are; default: what the translator knows of each.
            Addresses whose place is not known are left alone.
        sources: of sources, too. The datapath rewrites destinations only, and
            so a real packet on its way has a SIR address as its source.
    """

    def translate(raw: bytes) -> bytes | None:
        address = Address.from_bytes(raw)
        if locator is not None:
            wire = translator.to_wire(address, locator)
        else:
            wire = translator.place_of(address) if translator.is_sir(address) else None
        return None if wire is None else wire.packed

    return Rewriter(translate, sources=sources)
