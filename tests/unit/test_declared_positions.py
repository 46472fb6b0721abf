# SPDX-License-Identifier: Apache-2.0
"""Every key of every document that tomllib accepts is found on its line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilax.declared.positions import Path, locate

DOCUMENT = '''\
version = 1 # a comment with [brackets] and "quotes"

[up]
uplink = "eth0"
"sir-prefix" = [
    "2001:db8::/64", # first
    '2001:db8:1::/64',
]
note = """
[endpoint]
sir = 1 \\""" ""still"" inside
"""""

[[endpoint]]
sir = "::1"
deep.er . "a.b" = {x = 1, y = [{z = 2}]}

[endpoint.sub]
k = 2024-01-01 10:00:00

[[endpoint]]   # the second
sir = \'\'\'
it's''\'\'\'
[[endpoint.inner]]
a = 1
[[endpoint.inner]]
a = 2
'''

LINES: dict[Path, int] = {
    ("version",): 1,
    ("up",): 3,
    ("up", "uplink"): 4,
    ("up", "sir-prefix"): 5,
    ("up", "sir-prefix", 0): 6,
    ("up", "sir-prefix", 1): 7,
    ("up", "note"): 9,
    ("endpoint", 0): 14,
    ("endpoint", 0, "sir"): 15,
    ("endpoint", 0, "deep", "er", "a.b"): 16,
    ("endpoint", 0, "deep", "er", "a.b", "y", 0, "z"): 16,
    ("endpoint", 0, "sub"): 18,
    ("endpoint", 0, "sub", "k"): 19,
    ("endpoint", 1): 21,
    ("endpoint", 1, "sir"): 22,
    ("endpoint", 1, "inner", 0): 24,
    ("endpoint", 1, "inner", 0, "a"): 25,
    ("endpoint", 1, "inner", 1, "a"): 27,
}


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _paths(below, (*path, key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _paths(below, (*path, number))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_lines_of_a_document(ends: str) -> None:
    text = DOCUMENT.replace("\n", ends)
    found = locate(text)
    assert {path: found.get(path) for path in LINES} == LINES
    assert set(_paths(tomllib.loads(text))) <= set(found)


# --- documents by chance ---------------------------------------------------------

_WORDS = st.text("ab\"'\\#[]{}=,.\n\té", max_size=6)


def _basic(text: str) -> str:
    for raw, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(raw, escaped)
    return f'"{text}"'


def _long(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"""', '""\\"')
    # Up to two quotes may end a text.
    return f'"""\n{escaped}"""'


def _literal(text: str) -> str:
    return f"'{text}'" if not set(text) & set("'\n\t") else _basic(text)


def _long_literal(text: str) -> str:
    return f"'''\n{text}'''" if "'''" not in text else _basic(text)


_STRINGS = st.one_of(*(_WORDS.map(form) for form in (_basic, _long, _literal, _long_literal)))
_SCALARS = st.one_of(
    _STRINGS,
    st.sampled_from(["1", "-0x", "0xff", "1e5", "inf", "true", "07:32:00", "1979-05-27 07:32:00Z"]),
)
_KEYS = st.one_of(
    st.sampled_from(["a", "b", "c-d", "1", "up"]), _WORDS.map(_basic), _WORDS.map(_literal)
)
_DOTTED = st.lists(_KEYS, min_size=1, max_size=3).map(" . ".join)
_SPACES = st.sampled_from(["", " ", "\n", " # [x\n", "\n\n"])


def _values(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(_DOTTED, inner).map(" = ".join)
    return st.one_of(
        st.tuples(st.lists(st.tuples(_SPACES, inner, _SPACES).map("".join)), _SPACES).map(
            lambda made: f"[{','.join(made[0])}{made[1]}]"
        ),
        st.lists(pairs).map(lambda made: "{ " + ", ".join(made) + " }"),
    )


_VALUES = st.recursive(_SCALARS, _values, max_leaves=6)
_STATEMENTS = st.one_of(
    st.tuples(_DOTTED, _VALUES).map(lambda made: f"{made[0]} = {made[1]} # = ]"),
    _DOTTED.map(lambda key: f"[{key}]"),
    _DOTTED.map(lambda key: f" [[ {key} ]] # ]]"),
    st.just(""),
)


@given(st.lists(_STATEMENTS, max_size=8))
def test_every_path_is_found(statements: list[str]) -> None:
    text = ""
    for statement in statements:
        # What would contradict the text before is left out.
        try:
            tomllib.loads(f"{text}{statement}\n")
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        text += f"{statement}\n"
    found = locate(text)
    assert set(_paths(tomllib.loads(text))) <= set(found)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


@given(st.text())
def test_no_accepted_text_is_too_strange(text: str) -> None:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    assert set(_paths(tables)) <= set(locate(text))
