# SPDX-License-Identifier: Apache-2.0
"""In which order the live table of prefixes is rewritten.

The datapath reads rows from the front, the first match decides, and the first
`ILAX_PREFIX_END` ends the table. Whatever it reads between two of our writes, it
must find for every address what the old table says or what the new one says:
a locator that is gone for a moment lets a task address it, a SIR prefix that is
gone lets packets leave untranslated. So

1. a row that matches nothing and tells how many old rows stay, and behind it the
   new rows, are written behind the old ones, where nobody looks yet; the row that
   ends the old table is overwritten last;
2. the old rows are switched off from the back to the front: an address keeps its
   old match until that one goes, and then no other old row is left to match;
3. the new rows are written again, in the places they are to have, from the front
   to the back: those in front always begin the new table;
4. the end of the table is put behind them.

Whatever a loader has left that was killed in between, `meant` says which table it was
about to make, or that the old one still counts.

Rows at the front that both tables share are not touched. The kernel copies a row
of an array in place, not in one step: a row that counts is first made to match
nothing, then written, and only then given what makes it match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

# No row matches by these: nothing ANDed with 0 is 1, or 2. The second one stands between
# an old table and a new one.
_NO_PREFIX, _BORDER, _NO_MASK = 1, 2, 0


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

    @property
    def is_border(self) -> bool:
        """Whether the new table begins behind it."""
        return self.is_off and self.prefix == _BORDER

    def switched_off(self) -> Row:
        """The same row, but it matches nothing."""
        return self if self.is_off else replace(self, prefix=_NO_PREFIX, mask=_NO_MASK)


END = Row()


def _border(keep: int) -> Row:
    # Nobody asks a row that does not match what it is; it only must not be an end.
    return Row(prefix=_BORDER, mask=_NO_MASK, sir_prefix=keep, kind=1)


Write = tuple[int, Row]


def until_end(rows: Sequence[Row]) -> list[Row]:
    """The rows that count."""
    counting = []
    for row in rows:
        if row.is_end:
            break
        counting.append(row)
    return counting


def meant(table: Sequence[Row]) -> list[Row]:
    """The table that the last loader wanted, whole, also if it was killed.

    One that was killed before packets could see the new rows has changed nothing.
    """
    rows = until_end(table)
    for index in range(len(rows) - 1, -1, -1):
        if rows[index].is_border:
            return [*rows[: rows[index].sir_prefix], *rows[index + 1 :]]
    # Rows that were put in their places stand behind as well.
    return list(dict.fromkeys(row for row in rows if not row.is_off))


def is_whole(table: Sequence[Row]) -> bool:
    """Whether no loader has left anything to do."""
    rows = meant(table)
    return list(table) == [*rows, *([END] * (len(table) - len(rows)))]


def fits(table: Sequence[Row], new: Sequence[Row]) -> bool:
    """Whether both tables have room at once, but for the rows they share."""
    old = until_end(table)
    return _has_room(table, new) or _stands_behind(old, new[_shared(old, new) :])


def _has_room(table: Sequence[Row], new: Sequence[Row]) -> bool:
    old = until_end(table)
    return len(old) + len(_appended(old, new)) <= len(table)


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
    appended = _appended(old, new)
    now = list(table)

    def change(index: int, row: Row) -> Iterator[Write]:
        for step in _one_row(now[index], row):
            now[index] = step
            yield index, step

    behind = len(old)
    if _stands_behind(old, appended):
        behind -= len(appended)
    elif _has_room(table, new):
        if behind + len(appended) < len(table):
            yield from change(behind + len(appended), END)
        for index in range(len(appended) - 1, -1, -1):
            yield from change(behind + index, appended[index])
    else:
        behind -= len(new) - keep
    for index in range(behind - 1, keep - 1, -1):
        yield from change(index, now[index].switched_off())
    for index, row in enumerate(new[keep:], keep):
        yield from change(index, row)
    for index in range(len(new), len(table)):
        # The first of these ends the table.
        yield from change(index, END)


def _appended(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """What is written behind the old rows."""
    keep = _shared(old, new)
    return [*([_border(keep)] if keep < len(old) else []), *new[keep:]]


def _stands_behind(old: Sequence[Row], appended: Sequence[Row]) -> bool:
    return list(old[len(old) - len(appended) :]) == list(appended)


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
