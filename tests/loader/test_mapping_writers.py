# SPDX-License-Identifier: Apache-2.0
"""Who writes mappings beside others: numbers are given once, dead maps take no rows."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import numpy as np
import pytest

from ilax import address, mapping_files, mappings
from ilax.errors import ConflictError
from ilax.instance import Instance

from .conftest import LOCATOR, OTHER_LOCATOR, Lab, sir

WRITERS, ROUNDS = 3, 300

ONE = address.parse(sir(1))
ELSEWHERE = address.parse_prefix(OTHER_LOCATOR)
# As bulk calls take it.
TABLE = np.array([[ONE.prefix, ONE.identifier]], np.uint64)

Write = Callable[[Instance], object]


def _add(instance: Instance) -> object:
    return mappings.add(instance, ONE, locator=ELSEWHERE)


def _put_bulk(instance: Instance) -> object:
    return mappings.put_bulk(instance, TABLE, locator=ELSEWHERE.upper)


def _load(instance: Instance) -> object:
    text = f"sir,locator\n{sir(1)},{OTHER_LOCATOR}\n"
    return mapping_files.load(instance, io.StringIO(text), "csv")


def _delete(instance: Instance) -> object:
    return mappings.delete(instance, ONE)


def _delete_bulk(instance: Instance) -> object:
    return mappings.delete_bulk(instance, TABLE)


@pytest.mark.parametrize("again", [False, True], ids=["down", "down and up"])
@pytest.mark.parametrize("write", [_add, _put_bulk, _load, _delete, _delete_bulk])
def test_maps_that_were_taken_down_take_no_rows(running: Lab, write: Write, again: bool) -> None:
    """Nobody would ever read them: the writer has to hear of it."""
    with Instance.open(running.instance) as instance:
        assert running.ilax("down").exit_code == 0
        if again:
            assert running.up().exit_code == 0
            assert running.ilax("mapping", "add", sir(1), "--locator", LOCATOR).exit_code == 0
        with pytest.raises(ConflictError, match="taken down meanwhile; nothing was changed"):
            write(instance)
    if again:
        (row,) = running.ilax("mapping", "export", "-").output.splitlines()[1:]
        assert row.endswith(",local,1")


def _singly(instance: Instance, locator: int) -> None:
    mappings.add(instance, ONE, locator=address.Prefix(locator))


def _in_bulk(instance: Instance, locator: int) -> None:
    mappings.put_bulk(instance, TABLE, locator=locator)


@pytest.mark.parametrize("write", [_singly, _in_bulk])
def test_writers_at_once_never_give_one_number_twice(
    running: Lab, write: Callable[[Instance, int], None]
) -> None:
    """Each write moves the task to a place of its own, so each is a number."""
    children = []
    for writer in range(WRITERS):
        child = os.fork()
        if not child:
            try:
                with Instance.open(running.instance) as instance:
                    for turn in range(ROUNDS):
                        write(instance, ELSEWHERE.upper + writer * ROUNDS + turn)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * WRITERS
    with Instance.open(running.instance) as instance:
        row = mappings.get(instance, ONE)
    assert row is not None
    assert row.generation == WRITERS * ROUNDS


def test_prefixes_that_change_while_a_file_is_read_are_noticed(running: Lab) -> None:
    """What was checked was checked against the old ones."""

    def upgrade(_: int) -> None:
        assert running.up("--sir-prefix", "2001:db8:5a5a:2::/64").exit_code == 0

    text = io.StringIO(f"sir,locator\n{sir(1)},{OTHER_LOCATOR}\n")
    with (
        Instance.open(running.instance) as instance,
        pytest.raises(ConflictError, match="got other prefixes"),
    ):
        mapping_files.load(instance, text, "csv", progress=upgrade)
    assert running.ilax("mapping", "export", "-").output.splitlines()[1:] == []
