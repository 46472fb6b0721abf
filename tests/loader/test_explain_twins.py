# SPDX-License-Identifier: Apache-2.0
"""When a copy of a program is the program: the cases that no real version has yet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ilax.bpf import Object, Program
from ilax.contract import schema
from ilax.errors import ConflictError
from ilax.explain.loaded import Loaded
from ilax.explain.sandbox import WRITTEN, Sandbox
from ilax.explain.twin import check_same
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder

BUILD = Path(__file__).resolve().parents[2] / "tools" / "build_objects.py"
CONTRACT = BUILD.parents[1] / "docs" / "map-contract.md"
SOURCE = """
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile __u32 knob = {knob};
SEC("tc") int knobs(struct __sk_buff *ctx) {{ return knob; }}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Over maps that are pinned nowhere."""
    with ExitStack() as held, Object.open(schema.object_path("abi")) as obj:
        for name in ("ilax_endpoints", "ilax_mappings", "ilax_ports", "ilax_devices"):
            obj.maps[name].set_max_entries(16)
        obj.load()
        maps = {name: held.enter_context(item.open()) for name, item in obj.maps.items()}
        yield held.enter_context(Sandbox(Instance(PinFolder("nowhere"), maps, ExitStack())))


def test_only_what_programs_write_is_private(sandbox: Sandbox) -> None:
    for name, opened in sandbox.live.maps.items():
        assert (sandbox.maps[name].id != opened.id) == (name in WRITTEN)


def test_private_is_what_the_contract_lets_programs_write() -> None:
    table = re.findall(
        r"^\| `(ilax_\w+)` \|(?:[^|]*\|){3} datapath\b", CONTRACT.read_text(), re.MULTILINE
    )
    assert sorted(table) == sorted(WRITTEN)


def test_constants_count(sandbox: Sandbox, tmp_path: Path) -> None:
    """Equal instructions with another constant are another program."""
    programs = []
    for number, knob in enumerate((1, 1, 2)):
        source = tmp_path / f"knobs{number}.bpf.c"
        source.write_text(SOURCE.format(knob=knob))
        subprocess.run(
            [sys.executable, str(BUILD), "--output", str(tmp_path), str(source)], check=True
        )
        programs.append(_load(tmp_path / f"knobs{number}.bpf.o"))
    loaded, same, other = programs
    assert loaded.tag == other.tag
    facts = Loaded(loaded.name, loaded.id, loaded.tag, "tcx", tuple(loaded.map_ids()))
    check_same(facts, same, sandbox)
    with pytest.raises(ConflictError, match="its constants"):
        check_same(facts, other, sandbox)
    for program in programs:
        program.close()


def _load(path: Path) -> Program:
    with Object.open(path) as obj:
        obj.load()
        return obj.programs["knobs"].open()
