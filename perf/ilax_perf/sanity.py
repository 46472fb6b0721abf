# SPDX-License-Identifier: Apache-2.0
"""`make bench-smoke`: whether every row is there and can be true.

No word about slowness: only what no machine and no noise can explain is a problem.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch

from ilax_perf.rows import (
    BYTES,
    FACTOR,
    GBITS,
    MEBIBYTES,
    MPPS,
    NS,
    ROWS_PER_SECOND,
    SECONDS,
    Row,
)

# Short enough for every change; isolation, conformance and TCP under limits have
# tests of their own.
PATTERNS = (
    *("cost.*", "load.*", "control.*", "cli.*", "apply.*"),
    *("memory.instance", "memory.*_64k", "memory.*_64k_each_cpu", "memory.mapping_1m*"),
    *("memory.status_rss", "memory.import_64k_rss"),
    *("rate.*", "tcp.kernel_route", "tcp.two_hosts"),
)

_UNITS: Mapping[str, str] = {
    "*_over.*": FACTOR,
    "cost.*": NS,
    "load.*": SECONDS,
    "control.*": ROWS_PER_SECOND,
    "cli.*": SECONDS,
    "apply.*": SECONDS,
    "memory.*_rss": MEBIBYTES,
    "memory.instance": MEBIBYTES,
    "memory.*": BYTES,
    "rate.*": MPPS,
    "tcp.*": GBITS,
}

# No program can be faster than one that does a part of the same. Measured one after
# the other on a busy machine it may look so; beyond this factor it does not.
_WIDE = 1.3
# The first pattern that fits a row decides.
_LIMITS: Mapping[str, str] = {
    "rate.bare_lookup_redirect": "rate.bare_redirect",
    "rate.bare_lookup_drop": "rate.bare_drop",
    "rate.bare_*": "rate.bare_drop",
    "rate.xdp_delivery": "rate.bare_redirect",
    # From XDP into a stack, past the program of tc that is the limit of all others.
    "rate.xdp_delivery_to_stack": "rate.bare_redirect",
    # The device is chosen by the kernel itself, before any program of tc.
    "rate.macvlan": "rate.bare_redirect",
    "rate.drop_*": "rate.bare_drop",
    # All that is left is received by a stack and ends in another one: one program of tc
    # and no second pass of a queue is the least for that.
    "rate.*": "rate.bare_redirect_peer",
}
# Whatever a row does with a packet, it is more than to drop it.
_FASTEST = "rate.bare_drop"
# How far below nothing a difference may come out, in parts of what it was taken from.
_BELOW = -0.3
# What an empty program takes, in ns, on anything that runs Linux.
_EMPTY = (1, 10_000)


def expected() -> list[str]:
    """Names of all rows of a smoke run."""
    from ilax_perf import apply, bulk, commands, costs, flows, limit_costs, memory, spray_flows

    names = [
        *dict.fromkeys(case.base for case in costs.CASES),
        *(case.name for case in costs.CASES),
        *(name for case in limit_costs.runnable() for name in (case.base, case.row)),
        *bulk.ROWS,
        *commands.ROWS,
        *apply.row_names(full=False),
        *memory.row_names(full=False),
        *(name for names in {**flows.SITES, **spray_flows.SITES}.values() for name in names),
        *("tcp.kernel_route", "tcp.two_hosts"),
    ]
    return [name for name in names if any(fnmatch(name, pattern) for pattern in PATTERNS)]


def problems(rows: Sequence[Row], names: Iterable[str] | None = None) -> list[str]:
    """What is missing or cannot be true, a line for each.

    Args:
        rows: what was measured.
        names: rows that have to be there; default: those of a smoke run.
    """
    by_name = {row.name: row for row in rows}
    wanted = expected() if names is None else names
    found = [f"{name}: was not measured" for name in wanted if name not in by_name]
    for row in rows:
        found += _of_one(row)
        for limit in dict.fromkeys(filter(None, (limit_of(row.name), _FASTEST))):
            base = by_name.get(limit)
            if base and row.unit == base.unit and row.value > _WIDE * base.value:
                found.append(
                    f"{row.name}: {row.value:g} {row.unit} is faster than {limit} "
                    f"({base.value:g}), of which it does more"
                )
    return found


def limit_of(name: str) -> str | None:
    """The row that does the least of what a row does; itself has none."""
    limit = next((limit for pattern, limit in _LIMITS.items() if fnmatch(name, pattern)), None)
    return None if limit == name else limit


def _of_one(row: Row) -> list[str]:
    """What is wrong with a row by itself."""
    unit = next((unit for pattern, unit in _UNITS.items() if fnmatch(row.name, pattern)), row.unit)
    if row.unit != unit:
        return [f"{row.name}: is in {row.unit}, not in {unit}"]
    if not row.samples or not all(map(math.isfinite, (row.value, *row.samples))):
        return [f"{row.name}: {row.value} is no measurement"]
    if row.name.startswith("cost.empty_") and not _EMPTY[0] <= row.value <= _EMPTY[1]:
        return [f"{row.name}: no program takes {row.value:g} ns for nothing"]
    # The difference of two measurements may be nothing, and less by noise.
    difference = row.unit == NS and row.of is not None
    if row.value <= 0 and not difference:
        return [f"{row.name}: {row.value:g} {row.unit} is not positive"]
    if difference and row.ratio is not None and row.ratio < _BELOW:
        return [f"{row.name}: takes {-row.value:g} ns less than nothing"]
    return []
