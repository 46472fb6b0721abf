# SPDX-License-Identifier: Apache-2.0
"""Compile BPF sources into objects: the one recipe for make, the wheel and the tests.

Without arguments it builds the shipped programs into the package. With sources
and ``--output`` it builds those instead, for benchmarks, examples and tests.
It needs clang and the headers of libbpf, and nothing outside of Python's
standard library, because the build back end runs it before anything is
installed. llvm-strip is used where it is found: it removes the DWARF sections,
which nobody loads, and keeps BTF.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE_DIRS = ("maps_schema", "datapath")
SHIPPED = (
    "maps_schema/abi.bpf.c",
    "xdp/ingress.bpf.c",
    "xdp/ingress_linear.bpf.c",
    "xdp/slot_probe.bpf.c",
    "tc/uplink_ingress.bpf.c",
    "tc/uplink_egress.bpf.c",
    "tc/container.bpf.c",
    "tc/cgroup_ingress.bpf.c",
)
SHIPPED_OUTPUT = "loader/ilax/objects"
# -mcpu=v3 (kernel 5.1): 32-bit compares and jumps, without which verifiers
# before 6.x lose bounds. The prefix map keeps build paths out of the objects.
FLAGS = ("-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror")
PREFERRED_CLANG = 19
OLDEST_CLANG = 14
NEWEST_CLANG = 30


class BuildError(Exception):
    """A tool is missing or a source does not compile; the text says which."""


@dataclass(frozen=True)
class Toolchain:
    """The programs of one LLVM version; `strip` is empty where it is not installed."""

    clang: str
    strip: str
    system_includes: tuple[str, ...]


def _candidates(name: str) -> list[str]:
    versions = [PREFERRED_CLANG, *range(NEWEST_CLANG, OLDEST_CLANG - 1, -1)]
    return [*(f"{name}-{version}" for version in versions), name]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _works(clang: str) -> bool:
    """Tell whether this clang is new enough and has the BPF back end."""
    version = _run([clang, "-dumpversion"]).stdout.partition(".")[0]
    if not version.isdigit() or int(version) < OLDEST_CLANG:
        return False
    return _run([clang, *FLAGS, "-E", "-x", "c", os.devnull, "-o", os.devnull]).returncode == 0


def _system_includes(clang: str) -> tuple[str, ...]:
    """Directories where the compiler finds the host's headers.

    For the target bpf it does not look into the directory of the host's
    architecture, where Debian keeps asm/types.h.
    """
    lines = iter(_run([clang, "-v", "-E", "-x", "c", os.devnull]).stderr.splitlines())
    for line in lines:
        if line.startswith("#include <...> search starts here"):
            break
    found = []
    for line in lines:
        if line.startswith("End of search list"):
            break
        found.append(line.strip())
    return tuple(found)


def find_toolchain() -> Toolchain:
    """Find clang: $CLANG if set, else version 19, else the newest one from 14 on.

    Raises:
        BuildError: no clang that is new enough and can compile for BPF.
    """
    wanted = os.environ.get("CLANG")
    for name in [wanted] if wanted else _candidates("clang"):
        clang = shutil.which(name)
        if clang is None or not _works(clang):
            continue
        # Tools of one version stand beside each other, under any name.
        suffix = Path(name).name.removeprefix("clang")
        strip = shutil.which(f"llvm-strip{suffix}") or shutil.which("llvm-strip") or ""
        return Toolchain(clang, strip, _system_includes(clang))
    raise BuildError(
        f"no {wanted or 'clang'} that is version {OLDEST_CLANG} or newer and compiles for BPF: "
        "install clang (Debian: apt-get install clang-19 llvm-19 libbpf-dev)"
    )


def object_name(source: Path) -> str:
    """Return the file name of the object of a source: x.bpf.c becomes x.bpf.o."""
    return source.with_suffix(".o").name


def is_current(source: Path, target: Path) -> bool:
    """Tell whether no source that the object could depend on is newer than it."""
    if not target.exists():
        return False
    inputs = [source, Path(__file__), *source.parent.glob("*.[ch]")]
    for directory in INCLUDE_DIRS:
        inputs.extend((ROOT / directory).glob("*.h"))
    return target.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in inputs)


def compile_object(
    toolchain: Toolchain, source: Path, target: Path, defines: tuple[str, ...] = ()
) -> None:
    """Compile one source; the target appears whole or not at all.

    Args:
        toolchain: what `find_toolchain` returned.
        source: a C file, anywhere.
        target: path of the object; its directory is made.
        defines: macros as NAME or NAME=VALUE.

    Raises:
        BuildError: with the compiler's messages.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    includes = [source.parent, *(ROOT / directory for directory in INCLUDE_DIRS)]
    command = [
        toolchain.clang,
        *FLAGS,
        f"-ffile-prefix-map={ROOT}/=",
        "-fdebug-compilation-dir=.",
        *(f"-D{define}" for define in defines),
        *(f"-I{_relative(path)}" for path in includes),
        *(f"-idirafter{path}" for path in toolchain.system_includes),
        "-c",
        _relative(source),
        "-o",
        str(scratch),
    ]
    try:
        _checked(command, source)
        if toolchain.strip:
            _checked([toolchain.strip, "-g", str(scratch)], source)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _relative(path: Path) -> str:
    """Name a path as seen from the root, so that BTF's line table names no machine."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _checked(command: list[str], source: Path) -> None:
    result = _run(command)
    if result.returncode:
        hint = ""
        if "bpf/bpf_helpers.h" in result.stderr:
            hint = "\nThe headers of libbpf are missing (Debian: apt-get install libbpf-dev)."
        raise BuildError(f"{_relative(source)} does not compile:\n{result.stderr}{hint}")
    sys.stderr.write(result.stderr)


def build(
    sources: list[Path], output: Path, *, defines: tuple[str, ...] = (), force: bool = False
) -> list[Path]:
    """Compile the sources that are newer than their objects.

    Args:
        sources: C files; their names must differ.
        output: directory of the objects.
        defines: macros as NAME or NAME=VALUE.
        force: compile all of them.

    Returns:
        The objects' paths, in the order of the sources.

    Raises:
        BuildError: no compiler, or a source that does not compile.
    """
    targets = [output / object_name(source) for source in sources]
    stale = [
        (source, target)
        for source, target in zip(sources, targets, strict=True)
        if force or not is_current(source, target)
    ]
    if stale:
        toolchain = find_toolchain()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [
                pool.submit(compile_object, toolchain, source, target, defines)
                for source, target in stale
            ]
        for job in jobs:
            job.result()
    return targets


def main() -> int:
    """Run as a program; exit code 1 when something does not compile."""
    parser = argparse.ArgumentParser(description="Compile BPF sources into objects.")
    parser.add_argument("sources", nargs="*", type=Path, help="default: the shipped programs")
    parser.add_argument("--output", type=Path, default=ROOT / SHIPPED_OUTPUT)
    parser.add_argument("--define", action="append", default=[], metavar="NAME[=VALUE]")
    parser.add_argument("--force", action="store_true", help="compile what is current, too")
    args = parser.parse_args()
    sources = [path.resolve() for path in args.sources] or [ROOT / path for path in SHIPPED]
    try:
        build(sources, args.output.resolve(), defines=tuple(args.define), force=args.force)
    except BuildError as error:
        print(f"build_objects: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
