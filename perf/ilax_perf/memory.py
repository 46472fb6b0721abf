# SPDX-License-Identifier: Apache-2.0
"""memory.*: bytes of each row of the tables, and the most that a loader needs at once.

The kernel's part is here, twice: what it accounts for a map, and how much memory it has
taken once the map is there and full. `loader_memory` has the loader's part.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ilax import address_bulk
from ilax.bpf import Map, possible_cpus
from ilax.contract import schema
from ilax_perf import loader_memory, objects
from ilax_perf.bulk import addresses
from ilax_perf.loader_memory import LONG, SIZES
from ilax_perf.rows import BYTES, MEBIBYTES, Rows
from ilax_perf.sampling import Median, Settings

# Smaller tables drown in what the rest of the machine takes and gives meanwhile.
_MEASURABLE = ("1m", LONG)

# A map goes some time after its last user. So many readings that differ by less than this,
# in bytes, mean that it is gone; other programs may keep it from ever being so.
_QUIET, _STILL = 5, 1 << 20
_PATIENCE = 25

# Maps that grow with a kind of row; the rest is the same for every instance.
_MAPS: Mapping[str, tuple[str, ...]] = {
    "mapping": ("ilax_mappings",),
    "endpoint": ("ilax_endpoints", "ilax_ports", "ilax_devices", "ilax_traffic"),
    "limit": ("ilax_limits", "ilax_backlogs"),
}
_KINDS = {"mapping": tuple(SIZES), "endpoint": ("1k", "64k"), "limit": ("1k", "64k")}
_PER_CPU = "ilax_traffic"
_GROWING = {name for names in _MAPS.values() for name in names} | {"ilax_cgroups"}


def row_names(*, full: bool) -> list[str]:
    """All rows of this module."""
    names = ["memory.instance", "memory.endpoint_64k_each_cpu"]
    names += [f"memory.{kind}_{size}" for kind, sizes in _KINDS.items() for size in sizes]
    names += [f"memory.mapping_{size}_measured" for size in _MEASURABLE]
    names = [name for name in names if full or f"_{LONG}" not in name]
    return names + loader_memory.row_names(full=full)


def measure(rows: Rows, settings: Settings) -> None:
    """Measure all memory rows that are asked for."""
    wanted = {name for name in row_names(full=settings.full) if settings.wanted(name)}
    if wanted:
        settings.progress("memory.*")
        _accounted(rows, wanted)
        _measured(rows, wanted, settings)
        loader_memory.measure(rows, wanted, settings)


def _accounted(rows: Rows, wanted: set[str]) -> None:
    """What the kernel says of each map, divided by its rows."""
    for kind, sizes in _KINDS.items():
        for size in sizes:
            name = f"memory.{kind}_{size}"
            each_cpu = f"{name}_each_cpu"
            if not wanted & {name, each_cpu}:
                continue
            with _maps(kind, SIZES[size]) as maps:
                used = {n: charged(maps[n]) / SIZES[size] for n in _MAPS[kind]}
            if name in wanted:
                rows.add(name, sum(used.values()), BYTES)
            if each_cpu in wanted:
                rows.add(each_cpu, used[_PER_CPU] / possible_cpus(), BYTES)
    if "memory.instance" in wanted:
        with objects.loaded(schema.object_path("abi")) as loaded:
            fixed = sum(charged(m) for n, m in loaded.maps.items() if n not in _GROWING)
        rows.add("memory.instance", fixed / (1 << 20), MEBIBYTES)


def _measured(rows: Rows, wanted: set[str], settings: Settings) -> None:
    """What the kernel has taken before and after a table is made and filled."""
    for size in _MEASURABLE:
        name = f"memory.mapping_{size}_measured"
        if name not in wanted:
            continue
        sir = addresses(0x20010DB8_5A5A0001, SIZES[size])
        keys = np.ascontiguousarray(sir.astype(">u8")).view(np.uint8)
        values = np.zeros((len(sir), schema.dtype("ilax_mapping").itemsize), np.uint8)
        values[:, :16] = address_bulk.to_wire(sir, 0x20010DB8_00420002).view(np.uint8)
        samples = []
        for _ in range(settings.runs):
            before = _settled()
            with _maps("mapping", len(sir)) as maps:
                maps["ilax_mappings"].update_batch(keys, values)
                samples.append((_taken() - before) / len(sir))
        rows.add(name, Median(samples), BYTES, f"memory.mapping_{size}")


def _settled() -> int:
    """What is taken once the kernel has freed the maps of those before us."""
    readings = [_taken()]
    for _ in range(_PATIENCE):
        time.sleep(0.2)
        readings.append(_taken())
        latest = readings[-_QUIET:]
        if len(latest) == _QUIET and max(latest) - min(latest) < _STILL:
            break
    return readings[-1]


@contextmanager
def _maps(kind: str, count: int) -> Iterator[Mapping[str, Map]]:
    """All maps of the contract, those of `kind` with `count` rows and the others small."""
    sizes = {name: count if name in _MAPS[kind] else 1 for name in _GROWING}
    with objects.loaded(schema.object_path("abi"), sizes=sizes) as loaded:
        yield loaded.maps


def charged(opened: Map) -> int:
    """Bytes that the kernel accounts for a map.

    Raises:
        RuntimeError: it does not say.
    """
    for line in Path(f"/proc/self/fdinfo/{opened.fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    raise RuntimeError(f"memory.*: the kernel does not say what {opened.name} takes")


def _taken() -> int:
    """Bytes of the kernel's large allocations, which such tables are.

    Raises:
        RuntimeError: the kernel does not say.
    """
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmallocUsed":
            return int(value.split()[0]) << 10
    raise RuntimeError("memory.*: /proc/meminfo has no VmallocUsed")
