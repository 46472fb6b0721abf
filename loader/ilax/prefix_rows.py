# SPDX-License-Identifier: Apache-2.0
"""In which order the live table of prefixes is rewritten.

The datapath reads rows from the front, the first match decides, and the first
`ILAX_PREFIX_END` ends the table. Whatever it reads between two of our writes, it
must find for every address what the old table says or what the new one says:
a locator that is gone for a moment lets a task address it, a SIR prefix that is
gone lets packets leave untranslated. So

1. the new rows are written behind the old ones, where nobody looks yet, and the
   row that ends the old table is overwritten last;
2. the old rows are switched off from the back to the front: an address keeps its
   old match until that one goes, and then no other old row is left to match;
3. the new rows are written again, in the places they are to have, from the front
   to the back: those in front always begin the new table;
4. the end of the table is put behind them.

Rows at the front that both tables share are not touched. The kernel copies a row
of an array in place, not in one step: a row that counts is first made to match
nothing, then written, and only then given what makes it match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

# No row matches by these: nothing ANDed with 0 is 1.
_NO_PREFIX, _NO_MASK = 1, 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `ilax_prefixes`; numbers as in the contract, in host order."""

    prefix: int = 0
    mask: int = 0
    sir_prefix: int = 0
    flags: int = 0
    kind: int = 0

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Fields, which are those of `struct ilax_prefix`."""
        return tuple(field.name for field in fields(cls))

    @property
    def is_end(self) -> bool:
        """Whether the table ends here."""
        return self.kind == 0

    @property
    def is_off(self) -> bool:
        """Whether it matches nothing: left by a loader that was killed."""
        return self.mask == _NO_MASK

    def switched_off(self) -> Row:
        """The same row, but it matches nothing."""
        return replace(self, prefix=_NO_PREFIX, mask=_NO_MASK)


END = Row()

Write = tuple[int, Row]


def until_end(rows: Sequence[Row]) -> list[Row]:
    """The rows that count."""
    counting = []
    for row in rows:
        if row.is_end:
            break
        counting.append(row)
    return counting


def fits(table: Sequence[Row], new: Sequence[Row]) -> bool:
    """Whether both tables have room at once, but for the rows they share."""
    old = until_end(table)
    tail = new[_shared(old, new) :]
    return len(old) + len(tail) <= len(table) or _ends_with(old, tail)


def writes(table: Sequence[Row], new: Sequence[Row]) -> Iterator[Write]:
    """The writes that lead to another table, safely at every step.

    They also complete what a loader began that was killed.

    Args:
        table: all rows of the map as they are.
        new: rows that are to count, without an end.

    Yields:
        index and row of each write. Rows behind the end are zeroed at last.

    Raises:
        ValueError: they do not fit.
    """
    if not fits(table, new):
        raise ValueError(f"no room for {len(new)} rows beside the old ones")
    old = until_end(table)
    keep = _shared(old, new)
    tail = new[keep:]
    now = list(table)

    def change(index: int, row: Row) -> Iterator[Write]:
        for step in _one_row(now[index], row):
            now[index] = step
            yield index, step

    behind = len(old)
    if _ends_with(old, tail):
        behind -= len(tail)
    else:
        if behind + len(tail) < len(table):
            yield from change(behind + len(tail), END)
        for index in range(len(tail) - 1, -1, -1):
            yield from change(behind + index, tail[index])
    for index in range(behind - 1, keep - 1, -1):
        yield from change(index, now[index].switched_off())
    for index, row in enumerate(tail, keep):
        yield from change(index, row)
    for index in range(len(new), len(table)):
        # The first of these ends the table.
        yield from change(index, END)


def _ends_with(old: Sequence[Row], tail: Sequence[Row]) -> bool:
    return list(old[len(old) - len(tail) :]) == list(tail)


def _one_row(now: Row, target: Row) -> Iterator[Row]:
    """The writes that turn a row into another one, which may be seen in parts."""
    if now == target:
        return
    if now.is_end:
        # Complete before it counts.
        steps = [replace(target, kind=END.kind), target]
    elif target.is_end:
        steps = [replace(now, kind=END.kind), target]
    else:
        steps = [now.switched_off(), target.switched_off(), target]
    for step in steps:
        if step != now:
            yield step
            now = step


def _shared(old: Sequence[Row], new: Sequence[Row]) -> int:
    """Rows at the front that are the same in both tables."""
    count = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        count += 1
    return count
