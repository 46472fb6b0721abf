# SPDX-License-Identifier: Apache-2.0
"""load.* and control.*: how fast the control side writes and reads a million mappings.

All by `ilax.translation.mappings` on a live instance, from arrays of addresses to rows that packets
can use: neutral wire addresses, checks and the map itself are part of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ilax import address_bulk
from ilax.address import Address, Prefix
from ilax.instances.instance import Instance
from ilax.translation import fabric, mappings
from ilax_perf.rows import ROWS_PER_SECOND, SECONDS, Rows
from ilax_perf.sampling import Median, Settings
from lab.operator import up_arguments
from lab.topology import Lab, Plan

_LOAD = "load.mappings_1m"
_CONTROL = (
    "control.load_1m",
    "control.update_1m",
    "control.update_1k",
    "control.add_single",
    "control.dump_1m",
    "control.delete_1m",
)
ROWS = (_LOAD, *_CONTROL)
_COUNT = 1 << 20
_SOME = 1000

Addresses = NDArray[np.uint64]


def measure(rows: Rows, settings: Settings) -> None:
    """Fill the table of an instance, change and read it, and empty it, again and again."""
    wanted = [name for name in ROWS if settings.wanted(name)]
    if not wanted:
        return
    settings.progress(", ".join(wanted))
    with Lab.make("ilxperfl", Plan(hosts=1, containers=0)) as lab:
        (host,) = lab.hosts
        host.ilax(*up_arguments(lab, host))
        locators = [int(lab.plan.locator(n).network_address) >> 64 for n in (2, 3)]
        with Instance.open(host.ilax.instance) as instance:
            sir = addresses(fabric.read(instance).sir_prefixes[0].upper, _COUNT)
            turns = [_turn(instance, sir, locators) for _ in range(settings.runs)]
            arithmetic = Median(_seconds(_translate, sir, locators[0]) for _ in turns)
    if _LOAD in wanted:
        rows.add(_LOAD, Median(turn["control.load_1m"] for turn in turns), SECONDS)
    for name in _CONTROL:
        if name in wanted:
            count = _COUNT if name.endswith("_1m") else _SOME
            rows.add(name, count / Median(turn[name] for turn in turns), ROWS_PER_SECOND)
    if rows.missed(_LOAD):
        rows.reasons[_LOAD] = [f"{arithmetic:.2f} s  neutral wire addresses, the rest is the map"]


def _turn(instance: Instance, sir: Addresses, locators: list[int]) -> dict[str, float]:
    """Seconds of each step; the table is empty before and after.

    Raises:
        RuntimeError: a step did not reach all rows.
    """
    first, second = locators
    some = sir[:_SOME]
    took = {
        "control.load_1m": _seconds(mappings.put_bulk, instance, sir, locator=first),
        # Every row moves, and gets a generation by the one that stands there.
        "control.update_1m": _seconds(mappings.put_bulk, instance, sir, locator=second),
        "control.update_1k": _seconds(mappings.put_bulk, instance, some, locator=first),
        "control.add_single": _seconds(_add_each, instance, some, second),
        "control.dump_1m": _seconds(mappings.read_all, instance),
    }
    keys, values = instance.mappings.rows()
    moved = int((values["generation"] >= 2).sum())
    started = time.perf_counter()
    gone = instance.mappings.delete_rows(keys)
    took["control.delete_1m"] = time.perf_counter() - started
    if not moved == gone == len(sir):
        raise RuntimeError(f"control.*: of {len(sir)} rows {moved} moved, {gone} were deleted")
    return took


def _add_each(instance: Instance, sir: Addresses, locator: int) -> None:
    """One call for each row, as `ilax mapping add` makes it."""
    where = Prefix(locator)
    for prefix, identifier in sir.tolist():
        mappings.add(instance, Address(prefix, identifier), locator=where)


def _translate(sir: Addresses, locator: int) -> None:
    address_bulk.to_wire(sir, locator)


def _seconds(call: Callable[..., object], *args: object, **named: object) -> float:
    start = time.perf_counter()
    call(*args, **named)
    return time.perf_counter() - start


def as_csv(sir: Addresses, locator: object) -> str:
    """A file for `ilax mapping import` by which all of them are at one host."""
    rows = (f"{text},{locator}\n" for text in address_bulk.format_texts(sir))
    return f"sir,locator\n{''.join(rows)}"


def addresses(prefix: int, count: int) -> Addresses:
    """Random different SIR addresses of type 1, shape (count, 2)."""
    low = np.random.default_rng(1).choice(1 << 40, count, replace=False).astype(np.uint64)
    table = np.empty((count, 2), np.uint64)
    table[:, 0] = prefix
    table[:, 1] = low << np.uint64(1) | np.uint64(0x2000 << 48 | 1)
    return table
