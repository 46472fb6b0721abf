# SPDX-License-Identifier: Apache-2.0
"""The numbers of docs/scale.md: assumptions, measured rows, and what follows from both.

Pure arithmetic. Every table is a list of rows of text; `scale` puts them into the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Table = list[tuple[str, ...]]


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
    memory_share: float = _assumed(0.005, "", "of a host's memory that may go into tables")
    core_share: float = _assumed(0.01, "", "of one core that may go into updates")
    entry: float = _assumed(64, "B", "of one update on the wire, with what is around it")
    relays: float = _assumed(100, "", "machines that spread updates")
    relay_rate: float = _assumed(10e9, "bit/s", "that one of them may send")
    batch: float = _assumed(0.01, "s", "for which a host collects updates before it writes them")
    network: float = _assumed(0.005, "s", "for an update from its origin to a relay and to a host")
    wave: float = _assumed(0.01, "", "of all tasks that move at once: a row of racks fails")
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


@dataclass(frozen=True)
class Model:
    """Tables that follow from assumptions and measured rows.

    Args:
        rows: of bench.json, by name.
        cpus: of the machine that measured them.
    """

    assumed: Assumptions
    rows: Mapping[str, Mapping[str, Any]]
    cpus: int

    def value(self, name: str) -> float:
        """A measured value."""
        return float(self.rows[name]["value"])

    @property
    def endpoint_bytes(self) -> float:
        """Of an endpoint on a host with the assumed number of CPUs."""
        more = self.assumed.cpus - self.cpus
        each_cpu = self.value("memory.endpoint_64k_each_cpu")
        return self.value("memory.endpoint_64k") + more * each_cpu

    def table_bytes(self, mappings: float) -> float:
        """Of all tables of a host that knows so many mappings."""
        tasks = self.assumed.tasks_each_host
        return (
            mappings * self.value("memory.mapping_1m")
            + tasks * self.endpoint_bytes
            + tasks * self.assumed.limited * self.value("memory.limit_64k")
        )

    def loader_bytes(self, mappings: float) -> float:
        """Most memory of the program that loads so many mappings at once."""
        base = self.value("memory.status_rss")
        each = (self.value("memory.put_1m_rss") - base) / (1 << 20)
        return (base + each * mappings) * 2**20

    def constants(self) -> Table:
        """What was measured."""
        table: Table = [("row", "value", "what it is to the model")]
        for name, meaning in CONSTANTS.items():
            text = f"{short(self.value(name))} {self.rows[name]['unit']}"
            table.append((f"`{name}`", text, meaning))
        return table

    def assumptions(self) -> Table:
        """What was assumed."""
        table: Table = [("name", "value", "meaning")]
        for each in fields(self.assumed):
            text = f"{short(getattr(self.assumed, each.name))} {each.metadata['unit']}".strip()
            table.append((f"`{each.name}`", text, each.metadata["why"]))
        return table

    def memory(self) -> Table:
        """Of one host, by how many mappings it holds."""
        table: Table = [("a host knows", "mappings", "tables", "loader, all at once")]
        for name, count in self._ways():
            tables, loader = self.table_bytes(count), self.loader_bytes(count)
            table.append((name, short(count), size(tables), size(loader)))
        return table

    def _ways(self) -> list[tuple[str, float]]:
        tasks, active = self.assumed.tasks, self.assumed.active
        return [
            ("all tasks of the fleet", tasks),
            ("one of ten services", tasks / 10),
            ("what its tasks talk to", active),
        ]

    def cache(self) -> Table:
        """ns of the program that sends, by how traffic is spread over all tasks."""
        table: Table = [
            ("destinations", "to the hottest 1000", "to the hottest 64 Ki", "ns, above empty",
             "a core sends"),
        ]  # fmt: skip
        count = int(self.assumed.tasks)
        for name, power in (
            ("all alike", 0.0),
            ("Zipf, 0.8", 0.8),
            ("Zipf, 1.0", 1.0),
            ("Zipf, 1.2", 1.2),
        ):
            hot, warm = (zipf_share(top, count, power) for top in (1000, 1 << 16))
            table.append((name, percent(hot), percent(warm), *self._sending(hot, warm)))
        active = int(self.assumed.active)
        hot, warm = min(1.0, 1000 / active), min(1.0, (1 << 16) / active)
        table.append(
            ("all alike, only what its tasks talk to", percent(hot), percent(warm),
             *self._sending(hot, warm))
        )  # fmt: skip
        return table

    def _sending(self, hot: float, warm: float) -> tuple[str, str]:
        """Time of the program, and packets a second; of shares of packets to hot rows."""
        cost = (
            hot * self.value("cost.tc_egress_1k")
            + (warm - hot) * self.value("cost.tc_egress_64k")
            + (1 - warm) * self.value("cost.tc_egress_1m")
        )
        whole = 1000 / self.value("rate.forward") + cost - self.value("cost.tc_egress_1k")
        return f"{cost:.0f}", f"{1000 / whole:.2f} Mpps"

    def churn(self) -> Table:
        """Changes of the fleet, and what each host pays if it is told all of them."""
        table: Table = [
            ("mean life of a task", "changes", "to each host", "of a core, in batches",
             "of a core, one by one", "leave the relays"),
        ]  # fmt: skip
        for life in (60.0, 600.0, 3600.0, 86400.0):
            changes = self.assumed.tasks * (2 + self.assumed.moves) / life
            bits = changes * self.assumed.entry * 8
            table.append(
                (
                    duration(life),
                    f"{short(changes)} /s",
                    rate(bits),
                    percent(changes / self.value("control.update_1k")),
                    percent(changes / self.value("control.add_single")),
                    rate(bits * self.assumed.hosts),
                )
            )
        return table

    def births(self) -> Table:
        """Endpoints of one host that come and go."""
        table: Table = [("mean life of a task", "births of a host", "of a core, by commands")]
        each = self.value("cli.endpoint_add_wall") + self.value("cli.endpoint_del_wall")
        for life in (60.0, 600.0, 3600.0, 86400.0):
            births = self.assumed.tasks_each_host / life
            table.append((duration(life), f"{short(births * 3600)} /h", percent(births * each)))
        return table

    def push(self) -> Table:
        """How long it takes to tell and to write, for one move, a wave, and everything."""
        table: Table = [("what", "rows", "to all hosts", "written", "out of reach")]
        assumed = self.assumed
        for name, count, written in (
            ("one task moves", 1.0, 1 / self.value("control.add_single")),
            ("a wave", assumed.tasks * assumed.wave, self.write_seconds(assumed.wave)),
            ("all mappings, new", assumed.tasks, assumed.tasks / self.value("control.load_1m")),
        ):
            spread = self.spread_seconds(count)
            whole = assumed.network + spread + assumed.batch + written
            table.append((name, short(count), duration(spread), duration(written), duration(whole)))
        return table

    def spread_seconds(self, count: float) -> float:
        """For the relays to send so many updates to every host."""
        assumed = self.assumed
        return count * assumed.hosts * assumed.entry * 8 / (assumed.relays * assumed.relay_rate)

    def write_seconds(self, share: float) -> float:
        """For one host to write a share of all mappings that have moved."""
        return self.assumed.tasks * share / self.value("control.update_1k")

    def exporter(self) -> Table:
        """Time series of the fleet."""
        table: Table = [("what is exported", "series", "samples")]
        for name, count in (
            ("hosts only", self._series(tasks=False)),
            ("every task and limit", self._series(tasks=True)),
        ):
            table.append((name, short(count), f"{short(count / self.assumed.scrape)} /s"))
        return table

    def _series(self, *, tasks: bool) -> float:
        assumed = self.assumed
        each = assumed.series_each_task + assumed.limited * assumed.series_each_limit
        return assumed.hosts * assumed.series_each_host + tasks * assumed.tasks * each

    def first(self) -> Table:
        """What is needed over what there is, the worst first."""
        assumed = self.assumed
        budget = assumed.memory * assumed.memory_share
        bits = assumed.changes * assumed.entry * 8 * assumed.hosts
        cold = 1000 / self.value("cost.tc_egress_1m")
        warm = 1000 / self.value("cost.tc_egress_1k")
        needs: list[tuple[str, float, float, Callable[[float], str]]] = [
            ("series", self._series(tasks=True), assumed.series, short),
            ("relays", bits, assumed.relays * assumed.relay_rate, rate),
            ("memory", self.table_bytes(assumed.tasks), budget, size),
            ("updates", assumed.changes / self.value("control.update_1k"), assumed.core_share,
             percent),
            ("wave", self.spread_seconds(assumed.tasks * assumed.wave)
             + self.write_seconds(assumed.wave), assumed.patience, duration),
            ("reboot", assumed.tasks / self.value("control.load_1m"), assumed.cold, duration),
            ("births", assumed.tasks_each_host / assumed.lifetime
             * (self.value("cli.endpoint_add_wall") + self.value("cli.endpoint_del_wall")),
             assumed.core_share, percent),
            ("caches", warm, cold, lambda value: f"{value:.1f} Mpps"),
        ]  # fmt: skip
        needs.sort(key=lambda need: need[2] / need[1])
        table: Table = [("what", "needed", "there is", "times too much")]
        for name, need, have, text in needs:
            table.append((name, text(need), text(have), f"{need / have:.2g}"))
        return table

    def tables(self) -> dict[str, Table]:
        """All of them, by the name that the page has for each."""
        return {
            "constants": self.constants(),
            "assumptions": self.assumptions(),
            "first": self.first(),
            "memory": self.memory(),
            "cache": self.cache(),
            "churn": self.churn(),
            "births": self.births(),
            "push": self.push(),
            "exporter": self.exporter(),
        }


def zipf_share(top: int, count: int, power: float) -> float:
    """Share of packets that go to the `top` most asked for of `count` destinations."""
    return min(1.0, _harmonic(min(top, count), power) / _harmonic(count, power))


def _harmonic(count: int, power: float) -> float:
    """Sum of n ** -power for n up to `count`, by Euler and Maclaurin beyond the first."""
    exact = min(count, 100)
    total = sum(float(n**-power) for n in range(1, exact + 1))
    if count == exact:
        return total
    if power == 1:
        area = math.log(count / exact)
    else:
        area = float(count ** (1 - power) - exact ** (1 - power)) / (1 - power)
    return total + area + float(count**-power - exact**-power) / 2


def short(value: float) -> str:
    """Three digits, with a letter for thousands, millions, ..."""
    return _scaled(value, 1000, ("", " k", " M", " G", " T"))


def size(value: float) -> str:
    """Bytes for people."""
    return _scaled(value, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def rate(value: float) -> str:
    """Bits a second for people."""
    return _scaled(value, 1000, (" bit/s", " kbit/s", " Mbit/s", " Gbit/s", " Tbit/s"))


def percent(share: float) -> str:
    """A share of 1, in percent, with three digits."""
    return f"{_digits(100 * share)} %"


def duration(seconds: float) -> str:
    """Time for people."""
    for unit, least in ((" h", 3600.0), (" min", 60.0), (" s", 1.0), (" ms", 1e-3)):
        if seconds >= least:
            return f"{_digits(seconds / least)}{unit}"
    return f"{_digits(seconds * 1e6)} us"


def _scaled(value: float, step: int, units: Iterable[str]) -> str:
    *smaller, largest = units
    for unit in smaller:
        if abs(value) < step:
            return f"{_digits(value)}{unit}"
        value /= step
    return f"{_digits(value)}{largest}"


def _digits(value: float) -> str:
    """Three significant digits, never with an exponent."""
    if not value:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
