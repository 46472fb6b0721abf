# SPDX-License-Identifier: Apache-2.0
"""While the table of prefixes is rewritten, every packet finds the old or the new one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from ilax.translation.prefix_rows import END, Row, fits, is_whole, meant, until_end, writes

ROOM = 16
SIR, LOCATOR, BLOCK = 1, 2, 3

# Upper halves in which longer and shorter prefixes contain each other.
_HALVES = [0x20010DB800000000 | n for n in (0, 1, 0x10000, 0x10001, 0x20000)]
_LENGTHS = (32, 48, 63, 64)


def _mask(length: int) -> int:
    return (1 << 64) - (1 << (64 - length))


_ROWS = st.builds(
    lambda half, length, kind, flags: Row(
        prefix=half & _mask(length), mask=_mask(length), sir_prefix=9, flags=flags, kind=kind
    ),
    st.sampled_from(_HALVES),
    st.sampled_from(_LENGTHS),
    st.sampled_from([SIR, LOCATOR, BLOCK]),
    st.sampled_from([0, 3]),
)
_TABLES = st.lists(_ROWS, max_size=7)
# Of a host: no row twice.
_WHOLE = st.lists(_ROWS, max_size=7, unique=True)


def classify(table: Sequence[Row], half: int) -> Row | None:
    """What datapath/prefix.h finds, as its prefix does not matter any more."""
    for row in table:
        if row.is_end:
            break
        if half & row.mask == row.prefix:
            return row
    return None


def _filled(rows: Sequence[Row]) -> list[Row]:
    return [*rows, *([END] * (ROOM - len(rows)))]


def _parts(old: Row, new: Row) -> Iterator[Row]:
    """What may be seen of a row while the kernel copies it: any mix of its fields."""
    changed = [name for name in Row.names() if getattr(old, name) != getattr(new, name)]
    for count in range(len(changed) + 1):
        for names in itertools.combinations(changed, count):
            yield replace(old, **{name: getattr(new, name) for name in names})


def _check(table: list[Row], new: Sequence[Row], steps: Iterable[tuple[int, Row]]) -> list[Row]:
    """Apply steps; after each, and in its middle, look every address up."""
    start, end = list(table), _filled(new)
    allowed = {half: (classify(start, half), classify(end, half)) for half in _HALVES}
    for index, row in steps:
        for part in _parts(table[index], row):
            seen = [*table[:index], part, *table[index + 1 :]]
            for half in _HALVES:
                assert classify(seen, half) in allowed[half], (index, part)
        table[index] = row
    return table


@given(_TABLES, _TABLES)
def test_every_address_is_what_it_was_or_what_it_will_be(old: list[Row], new: list[Row]) -> None:
    table = _filled(old)
    assert _check(table, new, writes(_filled(old), new)) == _filled(new)


@given(_TABLES, _TABLES, st.data())
def test_a_killed_loader_is_followed_by_another(
    old: list[Row], new: list[Row], data: st.DataObject
) -> None:
    """The second one wants the same, and needs no more room than there is."""
    steps = list(writes(_filled(old), new))
    done = data.draw(st.integers(0, len(steps)))
    table = _check(_filled(old), new, steps[:done])
    assert fits(table, new)
    assert _check(list(table), new, writes(table, new)) == _filled(new)


@given(_WHOLE, _WHOLE, st.data())
def test_what_a_killed_loader_wanted_can_be_told(
    old: list[Row], new: list[Row], data: st.DataObject
) -> None:
    """Packets may see the new table from some step on; from there on it is completed."""
    steps = list(writes(_filled(old), new))
    table = _filled(old)
    for index, row in steps[: data.draw(st.integers(0, len(steps)))]:
        table[index] = row
    assert meant(table) == (old if until_end(table) == old else new)
    assert is_whole(table) == (table in (_filled(old), _filled(new)))
    wanted = meant(table)
    assert _check(list(table), wanted, writes(table, wanted)) == _filled(wanted)


@given(_WHOLE, _WHOLE, _WHOLE, st.data())
def test_what_the_last_of_several_wanted_can_be_told(
    old: list[Row], second: list[Row], third: list[Row], data: st.DataObject
) -> None:
    table, wanted = _filled(old), old
    for new in (second, third):
        before = until_end(table)
        assume(len(before) + 1 + len(new) <= ROOM)
        steps = list(writes(list(table), new))
        for index, row in steps[: data.draw(st.integers(0, len(steps)))]:
            table[index] = row
        wanted = wanted if until_end(table) == before else new
        assert meant(table) == wanted


@given(_TABLES)
def test_nothing_is_written_where_nothing_changes(rows: list[Row]) -> None:
    assert list(writes(_filled(rows), rows)) == []


@given(_TABLES, st.lists(_ROWS, min_size=1, max_size=4))
def test_what_stands_behind_the_end_never_counts(rows: list[Row], junk: list[Row]) -> None:
    table = [*rows, END, *junk, *_filled([])][:ROOM]
    assert _check(table, rows[:1], writes(list(table), rows[:1])) == _filled(rows[:1])


def test_tables_that_have_no_room_side_by_side_are_refused() -> None:
    def table(start: int, count: int) -> list[Row]:
        return [Row(start + n, _mask(64), 0, 0, SIR) for n in range(count)]

    old, new = table(100, 9), table(200, 9)
    assert not fits(_filled(old), new)
    assert fits(_filled(old), [*old, *new[:3]])
    assert fits(_filled(table(100, 16)), table(102, 14))
    assert until_end(_filled(old)) == old
