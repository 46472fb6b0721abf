# SPDX-License-Identifier: Apache-2.0
"""Our text of families with very many rows is what the library reads and writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from ilax.errors import UsageError
from ilax.exporter import choice
from ilax.exporter.families import Labels, Rows, as_json, gauge, render

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ROWS = st.lists(
    st.tuples(TEXT, st.integers(0, 2**53), st.booleans()), max_size=8, unique_by=lambda row: row[0]
)


def parsed(text: bytes) -> list[Metric]:
    return list(text_string_to_metric_families(text.decode()))


@given(ROWS, st.sampled_from(["counter", "gauge"]))
def test_the_library_reads_the_same(rows: list[tuple[str, int, bool]], kind: str) -> None:
    names, numbers = [row[0] for row in rows], [row[1] for row in rows]
    present = [row[2] for row in rows]
    family = Rows(
        "ilax_thing", "Some things.", "gauge" if kind == "gauge" else "counter",
        Labels("which", names), np.array(numbers, np.uint64), np.array(present, bool),
    )  # fmt: skip

    class Registry:
        def collect(self) -> list[Metric]:
            return [family.metric()]

    assert parsed(render([family])) == parsed(generate_latest(Registry()))
    expected = {name: number for name, number, here in rows if here}
    assert {row["labels"]["which"]: row["value"] for row in as_json([family])} == expected


def test_names_that_are_no_text_do_not_break_the_page() -> None:
    rows = Rows("ilax_x", "X.", "gauge", Labels("cgroup", ["a\udcffb"]), np.array([0.5]))
    assert b'ilax_x{cgroup="a?b"} 0.5\n' in render([rows, gauge("ilax_y", "Y.", 1)])


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 10))
def test_the_highest_are_chosen(scores: list[int], most: int) -> None:
    chosen = choice.parse(f"top:{most}").pick(np.array(scores, np.uint64)).tolist()
    expected = sorted(range(len(scores)), key=lambda i: -scores[i])[:most]
    assert chosen == sorted(expected)
    assert choice.parse(f"top:{most}").left_out(len(scores)) == len(scores) - len(chosen)
    assert len(choice.parse("all").pick(np.array(scores, np.uint64))) == len(scores)


@pytest.mark.parametrize("text", ["", "top", "top:", "top:x", "top:-1", "ALL", "top:1 ", "top:²"])
def test_other_choices_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="top:N"):
        choice.parse(text)
