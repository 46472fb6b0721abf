# SPDX-License-Identifier: Apache-2.0
"""How a place among tcx programs is written."""

from __future__ import annotations

import pytest

from ilax.bpf.link import AFTER, BEFORE
from ilax.errors import NotFoundError, UsageError
from ilax.hooks import tc_order
from ilax.hooks.tc_order import Place, Standing


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("first", Place(BEFORE)),
        ("last", Place(AFTER)),
        ("before:cil_from_netdev", Place(BEFORE, "cil_from_netdev")),
        ("after:42", Place(AFTER, "42")),
    ],
)
def test_a_place_is_read_as_it_is_written(text: str, place: Place) -> None:
    assert tc_order.parse(text) == place
    assert str(place) == text


@pytest.mark.parametrize("text", ["", "before", "after:", "first:x", "last:", "between", ":x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no order"):
        tc_order.parse(text)


OURS = 7


def hook(*names: str) -> tuple[Standing, int]:
    """A hook with programs of these names; "ilax_uplink_in" is ours."""
    numbers = [OURS if name == "ilax_uplink_in" else n for n, name in enumerate(names, 20)]
    return Standing(tuple(zip(numbers, names, strict=True))), OURS


IN = "ilax_uplink_in"


@pytest.mark.parametrize(
    ("names", "text", "wanted"),
    [
        ((IN,), "first", True),
        ((IN,), "last", True),
        ((IN,), "before:nobody", True),
        (("a", IN), "after:a", True),
        (("a", IN), "after:20", True),
        (("a", IN), "before:a", False),
        ((IN, "a"), "first", True),
        ((IN, "a"), "last", False),
        # Two of one name: behind both, or before both.
        (("a", IN, "a"), "after:a", False),
        (("a", IN, "a"), "before:a", False),
        (("a", "a", IN), "after:a", True),
        # As bpftool shows it; the kernel keeps 15 letters.
        (("a_name_of_many_", IN), "after:a_name_of_many_letters", True),
        (("a_name_of_many_", IN), "before:a_name_of_many_letters", False),
    ],
)
def test_whether_ours_stand_where_they_should(
    names: tuple[str, ...], text: str, wanted: bool
) -> None:
    standing, own = hook(*names)
    assert standing.holds(tc_order.parse(text), own) == wanted


@pytest.mark.parametrize(
    ("into", "out", "wanted"),
    [
        ((IN,), (IN,), None),
        (("a", "b", IN), (IN,), None),  # where `up` puts them by itself
        ((IN, "a"), (IN,), "first"),
        ((IN, "a"), (IN, "b"), "first"),
        (("a", IN), (IN, "b"), "after:a"),
        (("a", IN, "b"), (IN, "a"), "before:b"),
        (("", IN, "b"), (IN,), "before:b"),  # of "" nobody may ask the name
    ],
)
def test_the_order_that_is_exported_holds(
    into: tuple[str, ...], out: tuple[str, ...], wanted: str | None
) -> None:
    hooks = [hook(*into), hook(*out)]
    place = tc_order.as_place(hooks)
    assert (None if place is None else str(place)) == wanted
    assert place is None or all(standing.holds(place, own) for standing, own in hooks)


def test_no_order_tells_two_that_contradict_each_other() -> None:
    # Nor is another instance named, whose programs are called as ours are.
    for into, out in (
        (("a", IN, "b"), ("b", IN, "a")),
        (("ilax_uplink_in", IN, "ilax_uplink_in"), (IN,)),
    ):
        standing = Standing(tuple(enumerate(into, 20)))
        with pytest.raises(NotFoundError):
            tc_order.as_place([(standing, 21), hook(*out)])
