# SPDX-License-Identifier: Apache-2.0
"""docs/security.md: every defence that it names has a test of that name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "security.md").read_text()
_TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _PAGE)))


@pytest.mark.parametrize(("file", "name"), _TESTS, ids="::".join)
def test_a_named_test_is_there(file: str, name: str) -> None:
    path = _ROOT / file
    assert path.is_file()
    assert name.startswith("test_")
    assert name in {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }


def test_rows_of_the_packet_table_are_there() -> None:
    named = set(re.findall(r"rows of `(\w+\.py)`", _PAGE))
    assert named
    assert all((_ROOT / "tests" / "datapath" / name).is_file() for name in named)


def test_each_defence_names_one_and_each_attacker_what_is_left() -> None:
    """A paragraph that begins in bold is a defence, up to what is not defended."""
    attackers = re.split(r"^## ", _PAGE, flags=re.MULTILINE)[1:-1]
    assert len(attackers) == 4
    for text in attackers:
        held, found, left = text.partition("Not defended")
        assert found and left.strip()
        defences = re.split(r"^\*\*", held, flags=re.MULTILINE)[1:]
        assert defences
        for defence in defences:
            assert "`tests/" in defence or "](" in defence, defence
