# SPDX-License-Identifier: Apache-2.0
"""A short run of each fuzzer, and the programs in the kernel against their twins.

`make fuzz` runs for longer. docs/testing.md says what is asked of each packet.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.plan import PLAN
from datapath.test_properties import check
from datapath.test_table import ROWS
from datapath.world import World, build_shim
from fuzz import build, known, population
from fuzz.run import fuzz
from ilax import schema
from model import Hook

RUNS = {"packets": 250_000, "limits": 60_000, "addresses": 200_000}
IN_KERNEL = int(os.environ.get("ILAX_FUZZ_RUNS", "200000"))
SAMPLES = 1000


@pytest.fixture(scope="module")
def prepared() -> None:
    population.write(build.OUTPUT, ROWS)


@pytest.fixture(scope="module")
def fuzzers(prepared: None) -> dict[str, Path]:
    return build.build()


@pytest.mark.parametrize("target", RUNS)
def test_nothing_is_found(fuzzers: dict[str, Path], target: str, tmp_path: Path) -> None:
    report = fuzz(target, fuzzers[target], f"-runs={RUNS[target]}", "-seed=1", found=tmp_path)
    assert not report.failed, report.log[-6000:]
    assert report.executions >= RUNS[target]
    assert report.covered


@pytest.mark.parametrize("name", known.INPUTS)
def test_what_once_failed(fuzzers: dict[str, Path], name: str, tmp_path: Path) -> None:
    target, content = known.INPUTS[name]
    file = tmp_path / "input"
    file.write_bytes(content)
    done = subprocess.run([str(fuzzers[target]), str(file)], capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode(errors="replace")


@pytest.fixture(scope="module")
def kernel_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.geteuid():
        pytest.skip("loading BPF programs needs root")
    objects = tmp_path_factory.mktemp("objects")
    build_shim(objects)
    with World(objects) as world, world.inside():
        world.use(PLAN)
        yield world


def test_the_kernel_does_what_the_twins_do(kernel_world: World, prepared: None) -> None:
    """Mutated packets of the table through the shipped objects; every one is compared."""
    driver = build.build_driver()
    seeds = sorted(map(str, (build.OUTPUT / "corpus").glob("row*")))
    programs = [kernel_world.shim, *(kernel_world.programs[hook] for hook in Hook)]
    descriptors = [program.fd for program in programs]
    kernel_world.counted()  # what was there before
    done = subprocess.run(
        [str(driver), str(IN_KERNEL), "1", str(SAMPLES), *map(str, descriptors), *seeds],
        pass_fds=descriptors,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    names = {
        number: name.removeprefix("ILAX_") for name, number in schema.enum("ilax_reason").items()
    }
    lines = [line.split() for line in done.stdout.splitlines()]
    predicted = {
        (Hook(int(line[0])), names[int(line[1])]): int(line[2]) for line in lines if len(line) == 3
    }
    assert sum(predicted.values()) == IN_KERNEL
    assert {key: packets for key, (packets, _) in kernel_world.counted().items()} == predicted

    # The model was written by itself, and judges some of them.
    samples = [bytes.fromhex(line[1]) for line in lines if line[0] == "case"]
    assert len(samples) >= SAMPLES
    for sample in samples:
        check(kernel_world, *population.packet_of(sample))
