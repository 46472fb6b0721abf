# SPDX-License-Identifier: Apache-2.0
"""What an instance knows of the fabric: its SIR prefix, locator and blocks."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ilax import address, prefix_rows, schema
from ilax.address import Address, Prefix
from ilax.errors import AddressError, ConflictError, UsageError
from ilax.prefix_rows import Row, Write
from ilax.tables import index_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ilax.instance import Instance
    from ilax.tables import Table


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
    return rows_of(instance.prefixes)


def rows_of(table: Table) -> list[Row]:
    """The same of an open `ilax_prefixes`."""
    _, rows = table.rows()
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


# --- what the rows of a table say ------------------------------------------------


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that no loader would write: not at all, or not beside the others.

    Attributes:
        index: in the table.
        text: the row in words.
        problem: what is wrong with it.
    """

    index: int
    text: str
    problem: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a table says, and what of it makes no sense.

    Attributes:
        fabric: that of all other rows; None without a SIR prefix or a locator.
        bad: rows that are left out of it. Any daemon may write what it likes.
    """

    fabric: Fabric | None
    bad: tuple[BadRow, ...]


def survey(instance: Instance) -> Survey:
    """Read the table; after a killed `up`, what it was about to make.

    Of two rows that contradict each other, a block counts as the wrong one, or the later
    one; which it really is cannot be known.
    """
    table = read_rows(instance)
    rows = prefix_rows.meant(table)
    domains = sir_prefixes(rows)
    kinds, flags = schema.enum("ilax_prefix_kind"), schema.enum("ilax_prefix_flag")
    good: list[Row] = []
    bad = []
    for row in sorted(rows, key=lambda row: row.kind >= kinds["ILAX_PREFIX_BLOCK"]):
        if row.kind not in _kinds() and instance.newer:
            continue  # a minor may append kinds
        problem = _problem(row, good, domains)
        if problem:
            bad.append(BadRow(table.index(row), row_words(row), problem))
        else:
            good.append(row)
    sir, locators, blocks = (
        tuple(_prefix(row) for row in good if row.kind == kinds[kind])
        for kind in ("ILAX_PREFIX_SIR", "ILAX_PREFIX_LOCATOR", "ILAX_PREFIX_BLOCK")
    )
    found = None
    if sir and locators:
        cbit, typed = (
            bool(good[0].flags & flags[name]) for name in ("ILAX_PREFIX_CBIT", "ILAX_PREFIX_TYPED")
        )
        found = Fabric(sir, locators, blocks, cbit=cbit, typed=typed)
    return Survey(found, tuple(sorted(bad, key=lambda row: row.index)))


def _kinds() -> dict[int, str]:
    """Names of kinds by number."""
    return {value: name for name, value in schema.enum("ilax_prefix_kind").items()}


def _prefix(row: Row) -> Prefix:
    """The prefix of a row.

    Raises:
        AddressError: its bits are none of a prefix.
    """
    prefix = Prefix(row.prefix, row.mask.bit_count())
    if prefix.mask != row.mask:
        raise AddressError(f"mask {row.mask:#x} has holes")
    return prefix


def _problem(row: Row, others: Sequence[Row], domains: Collection[Prefix]) -> str:
    """What is wrong with a row; "" if nothing is.

    Args:
        others: those that count before it.
        domains: SIR prefixes of the table.
    """
    if row.kind not in _kinds():
        return "there is no such kind"
    try:
        prefix = _prefix(row)
        check_global(prefix)
    except UsageError as error:
        return str(error)
    for other in others:
        taken = _prefix(other)
        if _is_sir(row) != _is_sir(other) and (taken in prefix or prefix in taken):
            return f"it overlaps {row_words(other)}"
        known = sum(schema.enum("ilax_prefix_flag").values())
        if (row.flags ^ other.flags) & known:
            return f"its flags are {row.flags:#x}, those of {row_words(other)} {other.flags:#x}"
    if not _is_sir(row) and Prefix(row.sir_prefix) not in domains:
        return f"it is of SIR prefix {Prefix(row.sir_prefix)}, which has no row"
    return ""


def _is_sir(row: Row) -> bool:
    return row.kind == schema.enum("ilax_prefix_kind")["ILAX_PREFIX_SIR"]


def row_words(row: Row) -> str:
    """A row in words, such as "locator 2001:db8:42:7::/64"."""
    kind = _kinds().get(row.kind, f"kind {row.kind}").removeprefix("ILAX_PREFIX_")
    words = kind if kind == "SIR" else kind.lower()
    try:
        return f"{words} {_prefix(row)}"
    except AddressError:
        return f"{words} {Address(row.prefix, 0)} mask {row.mask:#x}"


def sir_prefixes(rows: Iterable[Row]) -> list[Prefix]:
    """SIR prefixes among rows, also of rows that contradict others."""
    return _of_kind(rows, "ILAX_PREFIX_SIR")


def locators(rows: Iterable[Row]) -> list[Prefix]:
    """Locators among rows, also of rows that contradict others."""
    return _of_kind(rows, "ILAX_PREFIX_LOCATOR")


def _of_kind(rows: Iterable[Row], kind: str) -> list[Prefix]:
    found = []
    for row in rows:
        with contextlib.suppress(AddressError):
            if _kinds().get(row.kind) == kind:
                found.append(_prefix(row))
    return found


def read(instance: Instance) -> Fabric:
    """The fabric that the maps describe; after a killed `up`, what it was about to make.

    Raises:
        ConflictError: the table is empty, or a row of it makes no sense.
    """
    found = survey(instance)
    for row in found.bad:
        raise ConflictError(
            f"row {row.index} of ilax_prefixes ({row.text}) of instance {instance.name} makes no "
            f"sense: {row.problem}; nothing was changed",
            hint="`ilax check` names all such rows, and the command that writes the table anew",
        )
    if found.fabric is None:
        raise ConflictError(f"instance {instance.name} has no prefixes", hint="run `ilax up` again")
    return found.fabric
