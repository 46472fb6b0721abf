# SPDX-License-Identifier: Apache-2.0
"""load.*: seconds from a million SIR addresses to rows that packets can use."""

from __future__ import annotations

import statistics
import time

import numpy as np

from ilax import address_bulk, fabric, mappings
from ilax.instance import Instance
from ilax_perf.rows import SECONDS, Rows
from ilax_perf.sampling import Settings
from lab.operator import up_arguments
from lab.topology import Lab, Plan

_ROW = "load.mappings_1m"
_COUNT = 1 << 20


def measure(rows: Rows, settings: Settings) -> None:
    """Write a full table of an instance, each time into an empty one."""
    if not settings.wanted(_ROW):
        return
    settings.progress(_ROW)
    with Lab.make("ilxperfl", Plan(hosts=1, containers=0)) as lab:
        (host,) = lab.hosts
        host.ilax(*up_arguments(lab, host))
        with Instance.open(host.ilax.instance) as instance:
            prefix = fabric.read(instance).sir_prefixes[0].upper
            sir = _addresses(prefix)
            locator = int(lab.plan.locator(2).network_address) >> 64
            total, arithmetic = [], []
            for _ in range(settings.runs):
                start = time.perf_counter()
                mappings.put_bulk(instance, sir, locator=locator)
                total.append(time.perf_counter() - start)
                start = time.perf_counter()
                address_bulk.to_wire(sir, locator)
                arithmetic.append(time.perf_counter() - start)
                keys, _ = instance.mappings.rows()
                if instance.mappings.delete_rows(keys) != _COUNT:
                    raise RuntimeError(f"{_ROW}: not all rows were in the table")
    rows.add(_ROW, statistics.median(total), SECONDS)
    if rows.missed(_ROW):
        rows.reasons[_ROW] = [
            f"{statistics.median(arithmetic):.2f} s  neutral wire addresses, the rest is the map"
        ]


def _addresses(prefix: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """Random different SIR addresses of type 1, shape (n, 2)."""
    low = np.random.default_rng(1).choice(1 << 40, _COUNT, replace=False).astype(np.uint64)
    table = np.empty((_COUNT, 2), np.uint64)
    table[:, 0] = prefix
    table[:, 1] = low << np.uint64(1) | np.uint64(0x2000 << 48 | 1)
    return table
