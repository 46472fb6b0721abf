# SPDX-License-Identifier: Apache-2.0
"""All or nothing: in which order steps are undone or finished, and what errors say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ilax.errors import ConflictError
from ilax.instances.transaction import Transaction


def _fail(error: BaseException) -> None:
    raise error


def test_the_newest_step_is_undone_first_and_none_is_left_out() -> None:
    seen: list[int] = []
    with pytest.raises(ConflictError, match="no") as caught, Transaction() as change:
        change.on_failure(seen.append, 1)
        change.on_failure(_fail, KeyError(272))
        change.on_failure(_fail, ConflictError("the link is gone"))
        change.on_failure(seen.append, 2)
        change.on_success(seen.append, 3)
        raise ConflictError("no")
    assert seen == [2, 1]
    assert caught.value.__notes__ == [
        "going back was not complete: the link is gone",
        "going back was not complete: KeyError(272)",
    ]


def test_what_was_replaced_goes_all_the_same_if_one_part_does_not() -> None:
    seen: list[int] = []
    with pytest.raises(ConflictError, match="busy") as caught, Transaction() as change:
        change.on_failure(seen.append, 1)
        change.on_success(seen.append, 2)
        change.on_success(_fail, ConflictError("busy"))
        change.on_success(_fail, ConflictError("busy, too"))
        change.on_success(seen.append, 3)
    assert seen == [2, 3]
    assert caught.value.__notes__ == [
        "the change is made; some of what it replaced is left",
        "left as well: busy, too",
    ]


def test_what_going_back_needs_is_open_until_then() -> None:
    seen: list[str] = []

    @contextmanager
    def handle() -> Iterator[None]:
        yield
        seen.append("closed")

    with Transaction() as change:
        change.hold(handle())
        change.on_success(seen.append, "finished")
    with pytest.raises(ConflictError), Transaction() as change:
        change.hold(handle())
        change.on_failure(seen.append, "undone")
        raise ConflictError("no")
    assert seen == ["finished", "closed", "undone", "closed"]
