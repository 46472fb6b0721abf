# SPDX-License-Identifier: Apache-2.0
"""How a place among tcx programs is written."""

from __future__ import annotations

import pytest

from ilax.bpf.link import AFTER, BEFORE
from ilax.errors import UsageError
from ilax.hooks import tc_order
from ilax.hooks.tc_order import Place


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
