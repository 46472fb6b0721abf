# SPDX-License-Identifier: Apache-2.0
"""What docs/scale.md stands on: assumptions, and the rows that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def _assumed(value: float, unit: str, why: str) -> Any:
    return field(default=value, metadata={"unit": unit, "why": why})


@dataclass(frozen=True)
class Assumptions:
    """What nobody has measured here; `ilax-perf scale --set NAME=VALUE` changes it."""

    hosts: float = _assumed(1e5, "", "the question")
    tasks: float = _assumed(1e7, "", "the question")
    lifetime: float = _assumed(3600, "s", "mean life of a task: a mix of services and batch jobs")
    moves: float = _assumed(0.1, "", "moves of a task in its life")
    peers: float = _assumed(200, "", "other tasks that a task talks to within a lifetime")
    limited: float = _assumed(1, "", "limits for each task")
    cpus: float = _assumed(64, "", "of a host; per-CPU tables grow with them")
    memory: float = _assumed(256 * 2**30, "B", "of a host")
    memory_share: float = _assumed(0.005, "%", "of a host's memory that may go into tables")
    core_share: float = _assumed(0.01, "%", "of one core that may go into updates")
    entry: float = _assumed(64, "B", "of one update on the wire, with what is around it")
    relays: float = _assumed(100, "", "machines that spread updates")
    relay_rate: float = _assumed(10e9, "bit/s", "that one of them may send")
    batch: float = _assumed(0.01, "s", "for which a host collects updates before it writes them")
    network: float = _assumed(0.005, "s", "for an update from its origin to a relay and to a host")
    wave: float = _assumed(0.01, "%", "of all tasks that move at once: a row of racks fails")
    patience: float = _assumed(1.0, "s", "that a moved task may be out of reach")
    cold: float = _assumed(60.0, "s", "that a host may take to load its mappings after a reboot")
    scrape: float = _assumed(15, "s", "between two readings of the counters")
    series: float = _assumed(1e7, "", "time series that a monitoring system holds at ease")
    series_each_task: float = _assumed(4, "", "packets and bytes, each received and sent")
    series_each_limit: float = _assumed(6, "", "packets and bytes, passed, marked and dropped")
    series_each_host: float = _assumed(60, "", "hooks and reasons that occur")

    @property
    def tasks_each_host(self) -> float:
        """Endpoints of one host."""
        return self.tasks / self.hosts

    @property
    def active(self) -> float:
        """Mappings that a host needs for what its tasks talk to, at most."""
        return min(self.tasks, self.tasks_each_host * self.peers)

    @property
    def changes(self) -> float:
        """Births, deaths and moves in the whole fleet, each second."""
        return self.tasks * (2 + self.moves) / self.lifetime


# Rows of bench.json that the model stands on, and what they are to it.
CONSTANTS: Mapping[str, str] = {
    "memory.mapping_1m": "kernel memory of a mapping",
    "memory.endpoint_64k": "of an endpoint, on the machine that measured",
    "memory.endpoint_64k_each_cpu": "of that for each CPU",
    "memory.limit_64k": "of a limit",
    "memory.status_rss": "most memory of a short command",
    "memory.put_1m_rss": "of a program that loads 1 Mi mappings from arrays",
    "control.load_1m": "mappings written into an empty table",
    "control.update_1m": "mappings moved, all of a table at once",
    "control.update_1k": "mappings moved, a thousand of a large table at once",
    "control.add_single": "mappings moved one by one",
    "control.dump_1m": "mappings read",
    "cli.endpoint_add_wall": "one endpoint made by a command",
    "cli.endpoint_del_wall": "and removed",
    "cost.tc_egress_1k": "a packet to one of 1000 mappings",
    "cost.tc_egress_64k": "to one of 64 Ki",
    "cost.tc_egress_1m": "to one of 1 Mi",
    "rate.forward": "packets to other hosts, to one mapping",
}
