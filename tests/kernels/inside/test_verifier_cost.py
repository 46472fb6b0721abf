# SPDX-License-Identifier: Apache-2.0
"""Every shipped program loads, for about as much of the verifier's work as was recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

import verifier_cost
from ilax.bpf import Object
from ilax.contract import schema
from small_maps import shrink

OBJECTS = sorted(schema.object_path("abi").parent.glob("*.bpf.o"))


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_each_object_loads(path: Path) -> None:
    with Object.open(path) as opened:
        shrink(opened, verifier_cost.ROWS)
        opened.load()


def test_each_program_loads_at_its_recorded_cost(
    record_property: Callable[[str, object], None],
) -> None:
    current = [cost for name in verifier_cost.OBJECTS for cost in verifier_cost.measure(name)]
    record_property(verifier_cost.FIGURE, [asdict(cost) for cost in current])
    committed = verifier_cost.read_costs(verifier_cost.COSTS.read_text())
    if not {cost.minor for cost in current} & {cost.minor for cost in committed}:
        pytest.skip(f"loaded, but no costs of {current[0].kernel} to compare with")
    assert not verifier_cost.compare(committed, current)
