# SPDX-License-Identifier: Apache-2.0
"""Whether an instance's maps say what the model says."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np

from datapath import fill
from ilax.contract.tables import index_key
from ilax.limiting.limit_book import slots_by_cgroup
from lab.cgroups import Cgroups
from model.control import Control
from model.limit import NS
from stateful.bench import Bench, strays

# Limits of a high rate may go by a clock that was read in the same tick.
_TICK_NS = 20_000_000

# Findings about a host that was never meant to route.
_HOSTS = ("sysctl.", "route.", "address.")

# What tells nothing about a row: who counts, and what was written how often.
_OPEN = ("generation", "flags", "limit")


def find(bench: Bench, states: list[Control], *, tidy: bool) -> Control:
    """The state that the maps are in.

    Args:
        tidy: there are no traces of a killed command either.

    Raises:
        AssertionError: in none of them; shows where each one differs.
    """
    assert bench.instance is not None
    assert strays(bench.instance) == {}
    differences = []
    for state in states:
        found = _differences(bench, state, tidy=tidy)
        if not found:
            return state
        differences.append(found)
    raise AssertionError(differences)


def _differences(bench: Bench, state: Control, *, tidy: bool) -> dict[str, Any]:
    tables = None
    try:
        tables = state.tables(bench.uplink, bench.devices, {})
    except KeyError as error:
        return {"device": error}
    wanted = {
        "ilax_endpoints": {
            key: _clean("ilax_endpoint", fill.endpoint_row(key, row))
            for key, row in tables.endpoints.items()
        },
        "ilax_mappings": {
            key: _clean("ilax_mapping", fill.mapping_row(row))
            for key, row in tables.mappings.items()
        },
        "ilax_ports": {index_key(key): fill.port_row(row) for key, row in tables.ports.items()},
        "ilax_devices": {index_key(key): index_key(key) for key in tables.devices},
        "ilax_prefixes": {
            index_key(number): fill.prefix_row(row) for number, row in enumerate(tables.prefixes)
        },
    }
    names = {"ilax_endpoints": "ilax_endpoint", "ilax_mappings": "ilax_mapping"}
    found: dict[str, Any] = {}
    assert bench.instance is not None
    config: Any = bench.instance.config.get(index_key(0))
    if int(config["uplink_mtu"]) != state.setup.uplink_mtu:
        found["uplink_mtu"] = config["uplink_mtu"], state.setup.uplink_mtu
    for name, rows in wanted.items():
        opened = bench.maps[name]
        seen = {key: opened.lookup(key) for key in list(opened.keys())}
        if name in names:
            seen = {key: _clean(names[name], raw) for key, raw in seen.items() if raw}
        if name == "ilax_prefixes":
            # Behind the end nobody looks.
            seen = {key: raw for key, raw in seen.items() if raw and any(raw[-4:])}
        if name in ("ilax_ports", "ilax_devices") and not tidy:
            seen = {key: raw for key, raw in seen.items() if key in rows}
        if seen != rows:
            found[name] = {
                key.hex(): (seen.get(key), rows.get(key))
                for key in seen.keys() | rows.keys()
                if seen.get(key) != rows.get(key)
            }
    return found


def _clean(struct: str, raw: bytes) -> bytes:
    """A row without what the model does not know."""
    from ilax.contract import schema

    row = np.frombuffer(bytearray(raw), schema.dtype(struct))
    for name in _OPEN:
        if name in (row.dtype.names or ()):
            row[name] = 0
    return row.tobytes()


def settle_queues(bench: Bench, control: Control, own: Cgroups, slack_ns: int) -> None:
    """The kernel's virtual queues are the model's, up to the time of reading a clock.

    Then the model goes on from the kernel's, so that the difference does not grow.

    Args:
        slack_ns: between two readings of the clock, around that of the program.
    """
    before = copy.deepcopy(control.queues)
    adopt_queues(bench, control, own)
    for path, queue in control.queues.items():
        was = before[path]
        if queue.until or was.until:
            # A chunk is spent without a look at the clock, so an idle queue may have
            # fallen behind further than its burst; the next loan ends that.
            rules = control.limits[path]
            floor = (time.monotonic_ns() - (rules.burst if rules else 0)) * NS
            apart = abs(max(queue.until, floor) - max(was.until, floor))
            assert apart < (slack_ns + _TICK_NS) * NS, (path, queue, was)


def adopt_queues(bench: Bench, control: Control, own: Cgroups) -> None:
    """Take the state of all queues over from the maps."""
    instance = bench.instance
    assert instance is not None
    slots = slots_by_cgroup(instance)
    for path, queue in control.queues.items():
        slot = slots[own.id(path)]
        backlog: Any = instance.backlogs.get(index_key(slot))
        limit: Any = instance.limits.get(index_key(slot))
        # Of all CPUs; this process stays on one.
        chunks = instance.chunks.cpus(index_key(slot))
        mine = chunks[chunks["slot"] == slot]
        current = mine[mine["generation"] == limit["generation"]]
        upper = mine["generation"] >> 16 == int(limit["generation"]) >> 16
        queue.until = int(backlog["until"]) - int(mine["left"][upper].sum())
        queue.known = bool(len(mine) or (chunks["candidate"] == slot).any())
        queue.marking = bool(len(current) and current["marking"].any())


def refuse_errors(facts: dict[str, Any], *, full: bool) -> None:
    """Raise if `check --fix` leaves an error behind.

    Args:
        full: there is no room for a mapping that is missing.
    """
    accepted = (*_HOSTS, *(["endpoint.no-mapping"] if full else []))
    errors = [
        found
        for found in (*facts["findings"], *facts["mended"])
        if (found.get("severity") == "error" or found.get("problem"))
        and not found["id"].startswith(accepted)
    ]
    assert not errors, errors
