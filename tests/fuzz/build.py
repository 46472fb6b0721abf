# SPDX-License-Identifier: Apache-2.0
"""Compile the datapath for user space, with sanitizers, and the fuzzers around it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from build_objects import ROOT, find_toolchain

HERE = Path(__file__).resolve().parent
OUTPUT = ROOT / "build" / "fuzz"
PROGRAMS = (
    "xdp/ingress.bpf.c",
    "tc/uplink_ingress.bpf.c",
    "tc/uplink_egress.bpf.c",
    "tc/container.bpf.c",
    "tc/cgroup_ingress.bpf.c",
)
STAND_INS = ("tables.c", "kernel.c", "kernel_skb.c", "case.c")
CHECKS = ("check.c", "check_verdict.c")
# Each target and what it is made of besides the programs and what stands in.
TARGETS = {
    "packets": ("fuzz_packets.c", *CHECKS, "check_adapters.c", "mutate.c"),
    "limits": ("fuzz_limits.c",),
    "addresses": ("fuzz_addresses.c",),
}
# Global functions of a header are in all programs (see bpf_helpers.h); addresses in
# packets are loaded at any even offset, which machines with a BPF JIT allow.
_FLAGS = (
    *("-std=gnu11", "-O2", "-g", "-fno-omit-frame-pointer", "-Wall", "-Werror"),
    *("-Wno-duplicate-decl-specifier", "-Wno-unused-function"),
)
_SANITIZERS = (
    "-fsanitize=address,undefined,unsigned-shift-base,local-bounds,float-divide-by-zero",
    "-fno-sanitize=alignment",
    "-fno-sanitize-recover=all",
)


def build(targets: Iterable[str] = TARGETS) -> dict[str, Path]:
    """Compile fuzzers; returns the executable of each target."""
    clang = find_toolchain().clang
    names = list(targets)
    sources = {HERE / name for target in names for name in TARGETS[target]}
    common = [*(HERE / name for name in STAND_INS), *(ROOT / name for name in PROGRAMS)]
    flags = (*_FLAGS, *_SANITIZERS, "-fsanitize=fuzzer-no-link")
    objects = _compile(clang, [*common, *sources], flags, OUTPUT / "sanitized")
    executables = {}
    for target in names:
        parts = [objects[HERE / name] for name in TARGETS[target]]
        executables[target] = OUTPUT / target
        link = [clang, *_SANITIZERS, "-fsanitize=fuzzer"]
        link += [*map(str, parts), *(str(objects[name]) for name in common)]
        _run([*link, "-o", str(executables[target])])
    return executables


def build_driver() -> Path:
    """Compile what feeds the programs in the kernel; no sanitizers, it is to be quick."""
    clang = find_toolchain().clang
    parts = [HERE / name for name in (*STAND_INS, *CHECKS, "mutate.c", "drive.c")]
    sources = [*parts, *(ROOT / name for name in PROGRAMS)]
    objects = _compile(clang, sources, _FLAGS, OUTPUT / "plain")
    executable = OUTPUT / "drive"
    _run([clang, *map(str, objects.values()), "-o", str(executable)])
    return executable


def _compile(
    clang: str, sources: list[Path], flags: tuple[str, ...], folder: Path
) -> dict[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    places = (HERE / "include", HERE, OUTPUT, ROOT / "maps_schema", ROOT / "datapath")
    include = [f"-I{place}" for place in places]
    objects = {source: folder / f"{source.stem}.o" for source in sources}

    def one(source: Path) -> None:
        _run([clang, *flags, *include, "-c", str(source), "-o", str(objects[source])])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, sources))
    return objects


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
