# SPDX-License-Identifier: Apache-2.0
"""The checks of the lint: that each one sees what it is there to see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import abi_lock
import spdx
import verifier_cost
from ilax import schema
from verifier_cost import Cost

COST = Cost("6.18.44", "file", "prog", insns=1000, states=50, stack=100, bytes=2000)


def test_costs_survive_the_file() -> None:
    costs = [replace(COST, kernel="6.1.170"), COST, replace(COST, object="other")]
    assert sorted(map(str, verifier_cost.read_costs(verifier_cost.write_costs(costs)))) == sorted(
        map(str, costs)
    )


@pytest.mark.parametrize("measure", verifier_cost.MEASURES)
def test_growth_beyond_ten_percent_is_found(measure: str) -> None:
    value = getattr(COST, measure)
    grown = replace(COST, kernel="6.18.50", **{measure: value + value // 10})
    assert verifier_cost.compare([COST], [grown]) == []
    grown = replace(COST, kernel="6.18.50", **{measure: value + value // 10 + 1})
    (line,) = verifier_cost.compare([COST], [grown])
    assert measure in line


def test_objects_without_a_row_and_rows_without_an_object_are_found() -> None:
    found = verifier_cost.compare([COST], [replace(COST, object="new")])
    assert [line.partition(":")[0] for line in found] == ["new", "file"]


def test_rows_of_another_kernel_are_not_compared() -> None:
    old = replace(COST, kernel="6.1.170", insns=1)
    assert verifier_cost.compare([old, COST], [COST]) == []


def test_verifier_log_is_understood() -> None:
    log = (
        "verification time 12 usec\n"
        "stack depth 96+48\n"
        "processed 5203 insns (limit 1000000) max_states_per_insn 4 total_states 283 "
        "peak_states 60 mark_read 20\n"
    )
    assert verifier_cost.parse_log(log) == (5203, 283, 144)
    with pytest.raises(ValueError, match="no statistics"):
        verifier_cost.parse_log("")


def test_a_changed_layout_shows_as_a_diff() -> None:
    text = schema.canonical_text()
    assert abi_lock.difference(text, text) == ""
    diff = abi_lock.difference(text.replace("ifindex@256:uint+4", "ifindex@256:uint+2"), text)
    assert "-  value ifindex@256:uint+2" in diff
    assert "+  value ifindex@256:uint+4" in diff


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("a.py", "# SPDX-License-Identifier: Apache-2.0\n", "Apache-2.0"),
        ("a.h", f"/* {spdx.TAG} {spdx.C_LICENCE} */\n", spdx.C_LICENCE),
        ("a.md", "<!-- SPDX-License-Identifier: Apache-2.0 -->\n", "Apache-2.0"),
        ("a.py", "x = 1\n", None),
        ("a.py", "\n" * spdx.LINES_READ + "# SPDX-License-Identifier: Apache-2.0\n", None),
    ],
)
def test_licence_lines_are_read(tmp_path: Path, name: str, text: str, licence: str | None) -> None:
    (tmp_path / name).write_text(text)
    assert spdx.licence_of(tmp_path / name) == licence


def test_a_file_without_comments_has_its_licence_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n")
    (tmp_path / "a.csv.license").write_text("SPDX-License-Identifier: Apache-2.0\n")
    assert spdx.licence_of(tmp_path / "a.csv") == "Apache-2.0"


def test_the_wrong_licence_is_reported() -> None:
    assert spdx.problems([Path("tools/spdx.py"), Path("maps_schema/ilax_abi.h")]) == []
