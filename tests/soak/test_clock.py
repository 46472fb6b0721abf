# SPDX-License-Identifier: Apache-2.0
"""Nothing that decides about packets reads a clock that can be set.

The wall clock is the machine's, so it is left alone here; tests/kernels/inside/test_clock_step.py
sets that of an emulated machine.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import ilax
from ilax.contract import schema
from ilax.hooks.program_set import OBJECTS

# enum bpf_func_id: helpers that read a clock.
CLOCKS = {5: "ktime_get_ns", 118: "jiffies64", 125: "ktime_get_boot_ns",
          160: "ktime_get_coarse_ns", 208: "ktime_get_tai_ns"}  # fmt: skip
UNSTEPPED = {"ktime_get_ns", "jiffies64"}

# Where people are shown the time of the day.
SHOWN = {"system/moments.py", "watching/rates.py", "watching/monitor.py", "cli/monitor.py"}


def _clocks(name: str) -> set[str]:
    command = ["llvm-objdump-19", "-d", "--no-show-raw-insn", str(schema.object_path(name))]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    called = {int(number, 0) for number in re.findall(r"\bcall (0x[0-9a-f]+|\d+)$", text, re.M)}
    assert called, "no call of a helper was found"
    return {CLOCKS[number] for number in called & CLOCKS.keys()}


@pytest.mark.parametrize("name", OBJECTS)
def test_programs_read_clocks_that_nobody_sets(name: str) -> None:
    assert _clocks(name) <= UNSTEPPED


def test_a_clock_is_found_where_there_is_one() -> None:
    assert _clocks("ingress") == UNSTEPPED


def test_the_loader_reads_the_wall_clock_for_people_only() -> None:
    folder = Path(ilax.__file__).parent
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if re.search(r"\btime\.time(_ns)?\(|CLOCK_REALTIME|datetime\.now", path.read_text())
    }
    assert found <= SHOWN
