# SPDX-License-Identifier: Apache-2.0
"""The table of libbpf's signatures, against the library and its header."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from ilax.bpf import _libbpf

HEADERS = [Path("/usr/include/bpf") / name for name in ("bpf.h", "libbpf.h", "btf.h")]


@pytest.mark.parametrize("name", _libbpf.SIGNATURES)
def test_every_entry_is_bound_as_the_table_says(name: str) -> None:
    function = getattr(_libbpf.lib, name)
    result, arguments = _libbpf.SIGNATURES[name]
    assert function.restype is result
    assert tuple(function.argtypes) == arguments


@pytest.mark.parametrize("name", _libbpf.SIGNATURES)
def test_the_number_of_arguments_is_that_of_the_header(name: str) -> None:
    text = "\n".join(path.read_text() for path in HEADERS)
    found = re.search(rf"[\s*]{name}\(([^;{{]*?)\)\s*;", text, re.DOTALL)
    assert found, f"{name} is in no header"
    inner = found.group(1).strip()
    count = 0 if inner in ("", "void") else inner.count(",") + 1
    assert len(_libbpf.SIGNATURES[name][1]) == count


@pytest.mark.parametrize("name", _libbpf.SIGNATURES)
def test_functions_that_return_pointers_return_64_bits(name: str) -> None:
    text = "\n".join(path.read_text() for path in HEADERS)
    found = re.search(rf"LIBBPF_API\s+([^;]*?){name}\(", text, re.DOTALL)
    assert found
    declared = found.group(1).strip()
    result = _libbpf.SIGNATURES[name][0]
    if declared.endswith("*") or declared == "libbpf_print_fn_t":
        assert result in (ctypes.c_void_p, ctypes.c_char_p)
    elif declared == "void":
        assert result is None
    else:
        assert ctypes.sizeof(result) == 4
