# SPDX-License-Identifier: Apache-2.0
"""ilax_abi.h alone is enough for C and C++ programs that are not BPF."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ilax.contract import schema

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "maps_schema"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
COMPILERS = {
    "gcc, C11": ["gcc", "-std=c11", "-x", "c"],
    "g++, C++17": ["g++", "-std=c++17", "-x", "c++"],
    "clang, C11": ["clang-19", "-std=c11", "-x", "c"],
    "clang, C++20": ["clang-19", "-std=c++20", "-x", "c++"],
}


def compile_text(compiler: list[str], source: str, *options: str) -> None:
    """Compile a text from stdin; a warning fails the test."""
    command = [*compiler, *STRICT, f"-I{HEADERS}", "-", *options]
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("compiler", COMPILERS.values(), ids=COMPILERS)
def test_compiles_alone_and_twice(compiler: list[str]) -> None:
    source = '#include "ilax_abi.h"\n#include "ilax_abi.h"\nint main(void) { return 0; }\n'
    compile_text(compiler, source, "-fsyntax-only")


@pytest.mark.parametrize("compiler", COMPILERS.values(), ids=COMPILERS)
def test_sizes_and_values_agree_with_what_python_reads_from_btf(
    compiler: list[str], tmp_path: Path
) -> None:
    structs = [t.name for t in schema.types().by_name.values() if t.members and t.name]
    assert "ilax_endpoint" in structs
    sizes = [f"CHECK(sizeof(struct {name}) == {schema.struct_size(name)});" for name in structs]
    enums = [t.name for t in schema.types().by_name.values() if t.values and t.name]
    assert "ilax_reason" in enums
    labels = [pair for name in enums for pair in schema.enum(name).items()]
    values = [f"CHECK({label} == {value});" for label, value in labels]
    source = "\n".join(
        [
            '#include "ilax_abi.h"',
            '#define CHECK(expr) ILAX_STATIC_ASSERT(expr, "differs")',
            *sizes,
            *values,
            "",
        ]
    )
    compile_text(compiler, source, "-c", "-o", str(tmp_path / "sizes.o"))


def test_names_of_maps_are_those_of_the_object() -> None:
    source = '#include "ilax_abi.h"\n'
    command = ["gcc", "-E", "-dM", "-x", "c", f"-I{HEADERS}", "-"]
    macros = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    defined = {
        line.split()[2].strip('"')
        for line in macros.stdout.splitlines()
        if line.startswith("#define ILAX_MAP_")
    }
    assert defined == set(schema.map_layouts())


def test_lock_is_the_hashed_text() -> None:
    assert (HEADERS / "abi.lock").read_text() == schema.canonical_text()
