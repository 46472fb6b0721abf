# SPDX-License-Identifier: Apache-2.0
"""Who loses every race for a backlog to other CPUs is judged and charged like others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ilax.contract import schema
from ilax.contract.tables import index_key
from limits.test_conformance import CHUNK, MBIT, byte_cost
from limits.timed import START, Timed
from model.limit import NS, Action, Fate, Limits, Queue, Rules

MS = 1_000_000
FRAME, COUNT = 512, 2_000
FIRST = Rules(byte_cost(100 * MBIT), burst=MS, drop=MS, mark=MS // 2, action=Action.MARK)


def until(timed: Timed, slot: int) -> int:
    raw = timed.maps["ilax_backlogs"].lookup(index_key(slot)) or b""
    row: Any = np.frombuffer(raw, schema.dtype("ilax_backlog"))[0]
    return int(row["until"])


@pytest.mark.parametrize("chunk", [0, CHUNK], ids=["no_chunk", "chunk"])
def test_it_is_judged_and_charged(too_late: Timed, chunk: int) -> None:
    """A flood at one moment: no more passes, and marks begin where they should."""
    too_late.use({1: FIRST}, chunk=chunk)
    model = Limits({1: Queue(FIRST)})
    fates = too_late.run(np.zeros(COUNT, np.uint64), FRAME)
    assert fates.tolist() == [model.police(1, START, FRAME) for _ in range(COUNT)]
    assert {Fate.PASSED, Fate.MARKED, Fate.DROPPED} == set(fates.tolist())


def test_what_a_parent_refuses_is_repaid_once(too_late: Timed) -> None:
    nothing = Rules(byte_cost(100 * MBIT))
    too_late.use({1: Rules(byte_cost(100 * MBIT), burst=MS, drop=MS, parents=(2,)), 2: nothing})
    assert (too_late.run(np.zeros(COUNT, np.uint64), FRAME) == Fate.DROPPED).all()
    # What the other CPUs paid is next to nothing.
    assert 0 <= until(too_late, 1) - (START - MS) * NS < NS * COUNT
