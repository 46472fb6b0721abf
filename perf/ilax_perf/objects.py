# SPDX-License-Identifier: Apache-2.0
"""The BPF programs of this folder, and the shipped ones without an instance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ilax.bpf import Map, Object, Program
from ilax.contract import schema
from ilax.contract.tables import index_key

BUILD = Path(__file__).resolve().parents[2] / "build" / "perf"
ONLY = index_key(0)


@dataclass(frozen=True)
class Loaded:
    """Programs and maps of one object, by name."""

    programs: Mapping[str, Program]
    maps: Mapping[str, Map]


@contextlib.contextmanager
def loaded(
    file: Path, *, sizes: Mapping[str, int] | None = None, reuse: Mapping[str, Map] | None = None
) -> Iterator[Loaded]:
    """Load an object for as long as the context lasts.

    Args:
        file: of the object.
        sizes: rows of maps, where they differ from the object's.
        reuse: maps to use instead of new ones, by name.
    """
    with contextlib.ExitStack() as stack:
        with Object.open(file) as opened:
            for name, rows in (sizes or {}).items():
                opened.maps[name].set_max_entries(rows)
            opened.reuse_maps(dict(reuse or {}))
            opened.load()
            programs = {n: stack.enter_context(p.open()) for n, p in opened.programs.items()}
            maps = {n: stack.enter_context(m.open()) for n, m in opened.maps.items()}
        yield Loaded(programs, maps)


@contextlib.contextmanager
def own(name: str, *, sizes: Mapping[str, int] | None = None) -> Iterator[Loaded]:
    """Load an object of perf/bpf/ for as long as the context lasts.

    Args:
        name: of its source, such as "generator".
        sizes: rows of maps, where they differ from the object's.

    Raises:
        SystemCallError: it was not compiled (`make perf-objects`).
    """
    with loaded(path(name), sizes=sizes) as result:
        yield result


def path(name: str) -> Path:
    """Where `make perf-objects` puts an object of perf/bpf/."""
    return BUILD / f"{name}.bpf.o"


@contextlib.contextmanager
def shipped(*, sizes: Mapping[str, int] | None = None) -> Iterator[Loaded]:
    """All shipped programs over one set of fresh maps.

    Args:
        sizes: rows of maps, where they differ from the defaults.
    """
    programs: dict[str, Program] = {}
    with contextlib.ExitStack() as stack:
        abi = stack.enter_context(loaded(schema.object_path("abi"), sizes=sizes))
        for name in ("ingress", "uplink_ingress", "uplink_egress", "container"):
            part = stack.enter_context(loaded(schema.object_path(name), reuse=abi.maps))
            programs |= part.programs
        yield Loaded(programs, abi.maps)


def total(per_cpu: Map) -> int:
    """Sum over all CPUs of a per-CPU map's only value, a counter of 8 bytes."""
    raw = per_cpu.lookup(ONLY) or b""
    return sum(int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8))
