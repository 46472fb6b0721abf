# SPDX-License-Identifier: Apache-2.0
"""Layouts derived from BTF, against the C compiler and the header."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ilax.contract import schema
from ilax.instances import pins

HEADER = Path(__file__).parents[2] / "maps_schema" / "ilax_abi.h"
STRUCTS = re.findall(r"^struct (ilax_\w+) \{", HEADER.read_text(), re.MULTILINE)
LINE_BYTES = 64


def _scalars(name: str) -> dict[str, tuple[int, int]]:
    """Path -> (offset, bytes), as numpy sees the struct."""
    found: dict[str, tuple[int, int]] = {}

    def walk(dtype: object, path: str, base: int) -> None:
        fields = dtype.fields  # type: ignore[attr-defined]
        for label, (inner, offset, *_) in (fields or {}).items():
            here = f"{path}.{label}" if path else label
            if inner.fields:
                walk(inner, here, base + offset)
            else:
                found[here] = (base + offset, inner.itemsize)

    walk(schema.dtype(name), "", 0)
    return found


@pytest.mark.parametrize("name", STRUCTS)
def test_offsets_are_those_of_the_c_compiler(name: str, tmp_path: Path) -> None:
    lines = [
        f'printf("{path} %zu %zu\\n", offsetof(struct {name}, {path}), sizeof(x.{path}));'
        for path in _scalars(name)
    ]
    source = tmp_path / "offsets.c"
    source.write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{HEADER}"\n'
        f"int main(void) {{ struct {name} x; (void)x; {' '.join(lines)} "
        f'printf("size %zu 0\\n", sizeof(x)); }}\n'
    )
    program = tmp_path / "offsets"
    subprocess.run(["cc", "-o", program, source], check=True)
    output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    compiled = {line.split()[0]: tuple(map(int, line.split()[1:])) for line in output.splitlines()}
    assert compiled.pop("size")[0] == schema.dtype(name).itemsize
    assert compiled == _scalars(name)


@pytest.mark.parametrize("name", STRUCTS)
def test_no_struct_has_hidden_padding(name: str) -> None:
    assert sum(size for _, size in _scalars(name).values()) == schema.dtype(name).itemsize


def test_an_endpoint_is_one_cache_line() -> None:
    assert schema.struct_size("ilax_endpoint") == LINE_BYTES


def test_constants_that_python_repeats_are_those_of_the_header() -> None:
    assert schema.enum("ilax_version")["ILAX_ABI_MAJOR"] == schema.ABI_MAJOR
    assert f'"{pins.BPFFS / "ilax"}"' in HEADER.read_text()


def test_map_names_are_those_of_the_header() -> None:
    named = set(re.findall(r'#define ILAX_MAP_\w+ "(\w+)"', HEADER.read_text()))
    assert named == set(schema.map_layouts())


def test_reasons_are_where_their_name_says() -> None:
    blocks = schema.enum("ilax_reason_block")
    for name, value in schema.enum("ilax_reason").items():
        if name == "ILAX_REASON_COUNT":
            continue
        expected = "PASS"
        if value >= blocks["ILAX_SEND_FIRST"]:
            expected = "SEND"
        if value >= blocks["ILAX_DROP_FIRST"]:
            expected = "DROP"
        assert name.split("_")[1] == expected
