# SPDX-License-Identifier: Apache-2.0
"""A short run of each fuzzer, and the programs in the kernel against their twins.

`make fuzz` runs for longer. docs/testing.md says what is asked of each packet.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import build_objects
from datapath.fill import u32
from datapath.plan import PLAN
from datapath.test_properties import check
from datapath.test_table import ROWS
from datapath.world import World, build_shim
from fuzz import build, known, population
from fuzz.run import fuzz
from ilax import schema
from ilax.bpf import Object, Program
from lab.cgroups import own_cgroups
from lab.limits import policed
from model import Hook

RUNS = {"packets": 250_000, "limits": 60_000, "addresses": 200_000}
IN_KERNEL = int(os.environ.get("ILAX_FUZZ_RUNS", "200000"))
SAMPLES = 1000
# enum ilax_hook, in the order of enum case_hook.
HOOKS = (*map(int, Hook), schema.enum("ilax_hook")["ILAX_HOOK_CGROUP"])


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


@dataclass(frozen=True)
class Kernel:
    """The shipped programs of all hooks, loaded over the maps of one World.

    Attributes:
        programs: as drive.c wants them.
        cgroup: of the driver, so deep as kernel_skb.c says that sockets are.
    """

    world: World
    programs: list[Program]
    cgroup: Path


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    if os.geteuid():
        pytest.skip("loading BPF programs needs root")
    objects = tmp_path_factory.mktemp("objects")
    build_shim(objects)
    with ExitStack() as stack:
        world = stack.enter_context(World(objects))
        stack.enter_context(world.inside())
        world.use(PLAN)
        own = stack.enter_context(own_cgroups(world.namespace))
        own.make("2/3/4")
        above = ("", "2", "2/3", "2/3/4")
        population.fill_limits(world.maps, {n: own.id(path) for n, path in enumerate(above, 1)})
        attached = load_attached(stack, world, objects)
        programs = [world.shim, *(world.programs[hook] for hook in Hook), attached]
        yield Kernel(world, programs, own.top / above[-1])


def load_attached(stack: ExitStack, world: World, objects: Path) -> Program:
    """The program of cgroups, behind one that says which limit it is attached for."""
    (built,) = build_objects.build([Path(__file__).parent / "attached.bpf.c"], objects)
    with Object.open(schema.object_path("cgroup_ingress")) as file:
        file.reuse_maps(world.maps)
        file.load()
        shipped = stack.enter_context(file.programs["ilax_cgroup_in"].open())
    with Object.open(built) as file:
        file.reuse_maps(world.maps)
        file.load()
        # Whoever closes it empties it.
        target = stack.enter_context(file.maps["attached_target"].open())
        target.update(u32(0), u32(shipped.fd))
        return stack.enter_context(file.programs["attached"].open())


def drive(kernel: Kernel) -> list[list[str]]:
    """Mutated packets of the table; returns what the driver says."""
    driver = build.build_driver()
    seeds = sorted(map(str, (build.OUTPUT / "corpus").glob("*")))
    descriptors = [program.fd for program in kernel.programs]
    script = f'echo $$ > {kernel.cgroup}/cgroup.procs && exec "$@"'
    arguments = [str(IN_KERNEL), "1", str(SAMPLES), *map(str, descriptors), *seeds]
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(driver), *arguments],
        pass_fds=descriptors,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_the_kernel_does_what_the_twins_do(kernel: Kernel, prepared: None) -> None:
    """Every packet through the shipped object and through its twin."""
    world = kernel.world
    before = {slot: policed(world.maps, slot) for slot in range(population.LIMITS)}
    world.counted()
    lines = drive(kernel)
    names = {
        number: name.removeprefix("ILAX_") for name, number in schema.enum("ilax_reason").items()
    }
    hooks = dict(enumerate(HOOKS))
    predicted = {
        (hooks[int(line[1])], names[int(line[2])]): int(line[3])
        for line in lines
        if line[0] == "reason"
    }
    assert sum(predicted.values()) == IN_KERNEL
    assert {hook for hook, _ in predicted} == set(HOOKS)
    assert {key: packets for key, (packets, _) in world.counted().items()} == predicted

    fields = schema.dtype("ilax_policed").names or ()
    for line in lines:
        if line[0] == "limit":
            slot, after = int(line[1]), policed(world.maps, int(line[1]))
            change = {name: after[name] - before[slot][name] for name in fields}
            assert change == dict(zip(fields, map(int, line[2:]), strict=True)), slot

    # The model was written by itself, and judges some of them; of cgroups it knows nothing.
    samples = [bytes.fromhex(line[1]) for line in lines if line[0] == "case"]
    assert len(samples) >= SAMPLES
    for sample in samples:
        if sample[0] != population.CGROUP:
            check(world, *population.packet_of(sample))
