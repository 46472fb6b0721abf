# SPDX-License-Identifier: Apache-2.0
"""An instance as an ilax of a major 0 would have left it, and how to read that.

Row by row and field by field, in plain Python: nothing is shared with what migrates it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import build_objects
from ilax.bpf import Map, Object, possible_cpus
from ilax.contract import schema
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.upgrades.major_migration import Converter

_SOURCE = Path(__file__).parent / "contract_0.bpf.c"
_CHANGED = {
    "ilax_tasks": ("ilax_endpoints", "task"),
    "ilax_mappings": ("ilax_mappings", "way"),
    "ilax_limits": ("ilax_limits", "limit"),
    "ilax_backlogs": ("ilax_backlogs", "backlog"),
    "ilax_counters": ("ilax_counters", "counter"),
}
_TIMES = ("burst", "mark", "drop", "small")
# Of mappings, to what it is now and back.
_ACTIONS = {1: 2, 2: 1}


def _limits(old: Any, new: Any) -> None:
    for name in _TIMES:
        new[name] = old[f"{name}_us"].astype(np.uint32) * 1000


def _mappings(old: Any, new: Any) -> None:
    new["action"] = 3 - old["verb"]


CONVERTER = Converter(
    renamed={"ilax_endpoints": "ilax_tasks"},
    values={"ilax_limits": _limits, "ilax_mappings": _mappings},
)


def turn_back(instance: str, folder: Path) -> None:
    """Make a running instance one of major 0, with the same rows; programs run on.

    Args:
        folder: for the compiled maps.
    """
    (compiled,) = build_objects.build([_SOURCE], folder)
    pins = PinFolder(instance)
    old = pins.base / "v0"
    with Instance.open(instance) as opened, Object.open(compiled) as obj:
        btf = obj.btf()
        obj.load()
        (old / "maps").mkdir(mode=0o700, parents=True)
        for name, (now, struct) in _CHANGED.items():
            dtype = schema.dtype_of(btf, btf.by_name[struct])
            with obj.maps[name].open() as made:
                _fill(opened.maps[now], made, dtype)
                made.pin(old / "maps" / name)
        for path in pins.maps.iterdir():
            if path.name not in {now for now, _ in _CHANGED.values()} | {"ilax_abi"}:
                path.rename(old / "maps" / path.name)
            else:
                path.unlink()
    pins.programs.rename(old / "programs")
    pins.links.rename(old / "links")
    if pins.slots.is_dir():
        pins.slots.rename(old / "slots")
    pins.remove()
    assert [path.name for path in pins.base.iterdir()] == ["v0"]


def _fill(source: Map, target: Map, dtype: np.dtype[np.void]) -> None:
    now = {
        "ilax_endpoints": "ilax_endpoint",
        "ilax_mappings": "ilax_mapping",
        "ilax_limits": "ilax_limit",
        "ilax_backlogs": "ilax_backlog",
        "ilax_counters": "ilax_counter",
    }[source.name]
    count = possible_cpus() if source.per_cpu else 1
    size = source.value_bytes // count
    for key in list(source.keys()):
        value = source.lookup(key) or b""
        parts = [
            _row(np.frombuffer(value[i * size : (i + 1) * size], schema.dtype(now), 1)[0], dtype)
            for i in range(count)
        ]
        target.update(key, b"".join(parts))


def _row(now: Any, dtype: np.dtype[np.void]) -> bytes:
    special: dict[str, Callable[[], int]] = {
        "verb": lambda: _ACTIONS[int(now["action"])],
        **{f"{name}_us": lambda name=name: int(now[name]) // 1000 for name in _TIMES},  # type: ignore[misc]
    }
    row: Any = np.zeros(1, dtype)[0]
    for name in dtype.names or ():
        if name in special:
            row[name] = special[name]()
        elif name != "pad":
            row[name] = now[name]
    raw: bytes = row.tobytes()
    return raw
