# SPDX-License-Identifier: Apache-2.0
"""The numbers of docs/scale.md: what follows from assumptions and measured rows.

Pure arithmetic. Every table is a list of rows of text; `scale` puts them into the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ilax.contract import schema
from ilax_perf.quantities import IN_UNITS, duration, percent, rate, short, size
from ilax_perf.scale_assumptions import CONSTANTS, Assumptions

Table = list[tuple[str, ...]]

# Bytes of a bucket of the kernel's hash tables: a list and a lock.
_BUCKET = 16


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
        """Of all tables of a host that has room for its tasks and so many mappings."""
        tasks = self.assumed.tasks_each_host
        return self.room_bytes(mappings, tasks, tasks * self.assumed.limited)

    def room_bytes(self, mappings: float, endpoints: float, limits: float) -> float:
        """Of all tables with room for so many rows, used or not."""
        return (
            self.mapping_bytes(mappings)
            + endpoints * self.endpoint_bytes
            + limits * self.value("memory.limit_64k")
        )

    def mapping_bytes(self, count: float) -> float:
        """Of the table of mappings: its rows, and its buckets, a power of two."""
        row = self.value("memory.mapping_1m") - _BUCKET
        return count * row + _BUCKET * float(1 << math.ceil(math.log2(count)))

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
            text = IN_UNITS[each.metadata["unit"]](getattr(self.assumed, each.name))
            table.append((f"`{each.name}`", text, each.metadata["why"]))
        return table

    def memory(self) -> Table:
        """Of one host, by how many mappings it holds."""
        table: Table = [("a host knows", "mappings", "tables", "loader, all at once")]
        for name, count in self._ways():
            tables, loader = self.table_bytes(count), self.loader_bytes(count)
            table.append((name, short(count), size(tables), size(loader)))
        sizes = schema.enum("ilax_size")
        mappings = sizes["ILAX_DEFAULT_MAPPINGS"]
        room = self.room_bytes(
            mappings, sizes["ILAX_DEFAULT_ENDPOINTS"], sizes["ILAX_DEFAULT_LIMITS"]
        )
        table.append(("nothing, as `up` makes it by default", short(mappings), size(room), ""))
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
        packet = 1000 / self.value("rate.forward")
        colder = self.value("cost.tc_egress_1m") - self.value("cost.tc_egress_1k")
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
            ("caches", (packet + colder) / 1e9, packet / 1e9, duration),
        ]  # fmt: skip
        needs.sort(key=lambda need: need[2] / need[1])
        table: Table = [("what", "needed", "there is", "needed / there is")]
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
