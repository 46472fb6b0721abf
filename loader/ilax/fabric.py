# SPDX-License-Identifier: Apache-2.0
"""What an instance knows of the fabric: its SIR prefix, locator and blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ilax import address, prefix_rows, schema
from ilax.address import Address, Prefix
from ilax.errors import ConflictError, UsageError
from ilax.prefix_rows import Row, Write
from ilax.tables import index_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ilax.instance import Instance


# Unspecified, loopback and mapped addresses; link-local; multicast.
_NOT_GLOBAL = (Prefix(0, 8), Prefix(0xFE80 << 48, 10), Prefix(0xFF00 << 48, 8))


@dataclass(frozen=True)
class Fabric:
    """One SIR domain, as this host sees it.

    Attributes:
        sir_prefixes: /64 each; the first one is the domain of the locators.
        locators: this host's own, /64 each; the first one is used for new
            endpoints.
        blocks: prefixes of all locators of the fabric; tasks may never address
            anything inside.
        cbit: wire identifiers carry the C-bit.
        typed: identifiers carry a type, type 0 is an ordinary host address.

    Raises:
        UsageError: the prefixes contradict each other.
    """

    sir_prefixes: tuple[Prefix, ...]
    locators: tuple[Prefix, ...]
    blocks: tuple[Prefix, ...] = field(default=())
    cbit: bool = True
    typed: bool = True

    def __post_init__(self) -> None:
        if not self.sir_prefixes or not self.locators:
            raise UsageError("a SIR prefix and a locator are needed")
        for prefix in (*self.sir_prefixes, *self.locators, *self.blocks):
            check_global(prefix)
        for sir in self.sir_prefixes:
            for other in (*self.locators, *self.blocks):
                if sir in other or other in sir:
                    raise UsageError(f"SIR prefix {sir} and locator prefix {other} overlap")
        limit = schema.enum("ilax_size")["ILAX_MAX_PREFIXES"]
        if len(self.rows_in_order()) > limit:
            raise UsageError(f"more than {limit} prefixes")

    def rows_in_order(self) -> list[tuple[str, Prefix]]:
        """(kind, prefix) as they stand in the table, where the first match wins.

        Longer prefixes stand before shorter ones; our locators come first, so
        that a flood of unknown identifiers is recognised by the first row.
        """
        blocks = sorted(self.blocks, key=lambda p: -p.length)
        return (
            [("ILAX_PREFIX_LOCATOR", p) for p in self.locators]
            + [("ILAX_PREFIX_SIR", p) for p in self.sir_prefixes]
            + [("ILAX_PREFIX_BLOCK", p) for p in blocks]
        )

    def doubt(self, locator: Prefix) -> str:
        """What there is to say about a locator beside the blocks; "" if nothing is."""
        if not self.blocks or any(locator in block for block in self.blocks):
            return ""
        return (
            f"{locator} is outside of every block: hosts that have these blocks let tasks "
            "address it"
        )

    def check_sir(self, sir: Address) -> None:
        """Raise unless `sir` can be the address of a task.

        Raises:
            UsageError: outside of the SIR prefixes.
            AddressError: its identifier has no neutral mapping.
        """
        if not any(sir in prefix for prefix in self.sir_prefixes):
            known = ", ".join(map(str, self.sir_prefixes))
            raise UsageError(f"{sir} is outside of the SIR prefixes ({known}); nothing was changed")
        address.check_identifier(sir, cbit=self.cbit, typed=self.typed)

    def to_wire(self, sir: Address, locator: Prefix | None = None) -> Address:
        """Wire address of a task at `locator` (default: our first one)."""
        target = locator or self.locators[0]
        return address.to_wire(sir, target.upper, cbit=self.cbit, typed=self.typed)

    def is_local(self, wire: Address) -> bool:
        """Whether a wire address leads to this host."""
        return any(wire in locator for locator in self.locators)


def check_global(prefix: Prefix) -> None:
    """Raise unless hosts may have addresses of a prefix.

    Raises:
        UsageError: it overlaps what is not for global unicast.
    """
    for special in _NOT_GLOBAL:
        if prefix in special or special in prefix:
            raise UsageError(f"{prefix} is not for global unicast: it overlaps {special}")


def write(instance: Instance, fabric: Fabric) -> None:
    """Make the table of prefixes say this; packets see the old table or the new one.

    Raises:
        ConflictError: too many rows change at once; nothing was changed.
    """
    write_rows(instance, _as_rows(fabric))


def check_fits(instance: Instance, fabric: Fabric) -> None:
    """Raise unless `write` could be done.

    Raises:
        ConflictError: too many rows change at once; nothing was changed.
    """
    table, rows = read_rows(instance), _as_rows(fabric)
    old = prefix_rows.until_end(table)
    if not prefix_rows.fits(table, rows):
        raise ConflictError(
            f"{len(old)} prefixes cannot be replaced by {len(rows)} while packets pass: the "
            f"table has {len(table)} rows; nothing was changed",
            hint="change a few prefixes at a time, or `ilax down` first",
        )


def read_rows(instance: Instance) -> list[Row]:
    """All rows of the table, also those behind its end."""
    _, rows = instance.prefixes.rows()
    return [Row(*(int(row[name]) for name in Row.names())) for row in rows]


def write_rows(instance: Instance, rows: list[Row]) -> None:
    """`write`, from rows that `read_rows` gave, up to their end."""
    write_steps(instance, prefix_rows.writes(read_rows(instance), rows))


def write_steps(instance: Instance, steps: Iterable[Write]) -> None:
    """The single writes of `prefix_rows.writes`."""
    for index, row in steps:
        packed = instance.prefixes.new()[0]
        for name in Row.names():
            packed[name] = getattr(row, name)
        instance.prefixes.put(index_key(index), packed)


def is_whole(instance: Instance) -> bool:
    """Whether the table is one, and not what a killed `up` has left of two."""
    return prefix_rows.is_whole(read_rows(instance))


def complete(instance: Instance) -> None:
    """Finish what a killed `up` has begun to write, or forget it if it never counted."""
    write_rows(instance, prefix_rows.meant(read_rows(instance)))


def _as_rows(fabric: Fabric) -> list[Row]:
    kinds = schema.enum("ilax_prefix_kind")
    known = schema.enum("ilax_prefix_flag")
    flags = (known["ILAX_PREFIX_CBIT"] if fabric.cbit else 0) | (
        known["ILAX_PREFIX_TYPED"] if fabric.typed else 0
    )
    domain = fabric.sir_prefixes[0].upper
    return [
        Row(
            prefix=prefix.upper,
            mask=prefix.mask,
            sir_prefix=0 if kind == "ILAX_PREFIX_SIR" else domain,
            flags=flags,
            kind=kinds[kind],
        )
        for kind, prefix in fabric.rows_in_order()
    ]


def read(instance: Instance) -> Fabric:
    """The fabric that the maps describe; after a killed `up`, what it was about to make.

    Raises:
        ConflictError: the table is empty.
    """
    kinds = {value: name for name, value in schema.enum("ilax_prefix_kind").items()}
    flags = schema.enum("ilax_prefix_flag")
    found: dict[str, list[Prefix]] = {name: [] for name in kinds.values()}
    common = 0
    for row in prefix_rows.meant(read_rows(instance)):
        kind = kinds.get(row.kind)
        if kind is None:
            continue  # of a newer minor, which may append kinds
        common = row.flags
        found[kind].append(Prefix(row.prefix, row.mask.bit_count()))
    if not found["ILAX_PREFIX_SIR"] or not found["ILAX_PREFIX_LOCATOR"]:
        raise ConflictError(f"instance {instance.name} has no prefixes", hint="run `ilax up` again")
    return Fabric(
        tuple(found["ILAX_PREFIX_SIR"]),
        tuple(found["ILAX_PREFIX_LOCATOR"]),
        tuple(found["ILAX_PREFIX_BLOCK"]),
        cbit=bool(common & flags["ILAX_PREFIX_CBIT"]),
        typed=bool(common & flags["ILAX_PREFIX_TYPED"]),
    )
