# SPDX-License-Identifier: Apache-2.0
"""Rates of all endpoints, limits and reasons at once, from two looks at the maps.

Everything is arrays over slots until the few rows are known that are shown: a look
at tens of thousands of endpoints costs what reading their maps costs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ilax.address import Address
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.limiting import limit_rules
from ilax.limiting.limit_book import slots_by_cgroup
from ilax.limiting.limit_readings import policed
from ilax.system.cgroups import Tree
from ilax.translation import domain
from ilax.watching import counters
from ilax.watching.history import History
from ilax.watching.rate_rows import ORDERS, EndpointRates, LimitRates, Order, ReasonRates, View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ilax.instances.instance import Instance

# Names and owners of slots change seldom, and are read anew after so many s.
_NAMES_S = 5.0


_Arrays = dict[str, "NDArray[np.float64]"]


@dataclass(frozen=True)
class _Look:
    """Counters at one moment: arrays over slots, and (hooks * reasons,)."""

    at: float
    traffic: dict[str, NDArray[np.uint64]]
    reasons: dict[str, NDArray[np.uint64]]
    limits: NDArray[np.void]


class _Names:
    """Whose the slots are, as it was some seconds ago."""

    def __init__(self, instance: Instance, tree: Tree | None) -> None:
        self.at = time.monotonic()
        _, rows = instance.endpoints.rows()
        self.total = len(rows)
        # A daemon may have written anything.
        rows = rows[(rows["slot"] != 0) & (rows["slot"] < instance.traffic.map.max_entries)]
        # In the order of their addresses, where they are equal in all else.
        self.rows = rows[np.lexsort((rows["sir"]["identifier"], rows["sir"]["prefix"]))]
        by_cgroup = slots_by_cgroup(instance)
        # Without limits no hierarchy is asked for: a host may have none of version 2.
        self.tree = tree
        if by_cgroup and (tree is None or not tree.by_id.keys() >= by_cgroup.keys()):
            self.tree = Tree.read()
        self.cgroups = {slot: cgroup for cgroup, slot in by_cgroup.items()}

    def limit(self, slot: int) -> str | None:
        """Path of a limit's cgroup."""
        cgroup = self.cgroups.get(slot)
        return None if cgroup is None or self.tree is None else self.tree.name(cgroup)


class Rates:
    """Looks at an instance again and again.

    Args:
        instance: open.
        history: values that a row's history has at most.
    """

    def __init__(self, instance: Instance, history: int = 30) -> None:
        self._instance = instance
        self._device = domain.Devices(instance).label
        self._names = _Names(instance, None)
        self._now = _look(instance)
        self._seconds = 0.0
        self._traffic: _Arrays = {}
        self._policed: _Arrays = {}
        self._decided: _Arrays = {}
        slots, limits = len(self._now.traffic["rx_bytes"]), len(self._now.limits)
        self._endpoints = {order: History(history, slots) for order in ORDERS}
        self._limits = {order: History(history, limits) for order in ORDERS}
        self._reasons = History(history, len(self._now.reasons["packets"]))
        self._totals = History(history, 2)

    def look(self) -> None:
        """Read the maps; rates are those since the last look."""
        if time.monotonic() - self._names.at > _NAMES_S:
            self._names = _Names(self._instance, self._names.tree)
        before, now = self._now, _look(self._instance)
        self._now, self._seconds = now, max(now.at - before.at, 1e-3)
        self._traffic = _rates(before.traffic, now.traffic, list(now.traffic), self._seconds)
        names = list(now.limits.dtype.names or ())
        self._policed = _rates(before.limits, now.limits, names, self._seconds)
        self._decided = _rates(before.reasons, now.reasons, list(now.reasons), self._seconds)
        for order in ORDERS:
            self._endpoints[order].add(self._endpoint_order(order))
            self._limits[order].add(self._limit_order(order))
        self._reasons.add(self._decided["packets"])
        drops = self._endpoint_order("drops").sum()
        self._totals.add(np.array([self._traffic["rx_packets"].sum(), drops]))

    def view(self, order: Order = "rate", rows: int | None = 20) -> View:
        """What happened between the last two looks.

        Args:
            order: of endpoints and limits, most first.
            rows: of each table at most; None = all.
        """
        # Row 0 is what is not counted apart.
        total = {name: float(values.sum()) for name, values in self._traffic.items()}
        return View(
            instance=self._instance.name,
            time=time.time(),
            seconds=self._seconds,
            order=order,
            endpoint_count=self._names.total,
            limit_count=len(self._names.cgroups),
            rx_bps=8 * total["rx_bytes"],
            rx_pps=total["rx_packets"],
            tx_bps=8 * total["tx_bytes"],
            tx_pps=total["tx_packets"],
            drops_pps=total["rx_drops"] + total["tx_drops"],
            rx_history=self._totals.of(0),
            drops_history=self._totals.of(1),
            endpoints=self._endpoint_rows(order, rows),
            limits=self._limit_rows(order, rows),
            reasons=self._reason_rows(rows),
        )

    def _endpoint_order(self, order: Order) -> NDArray[np.float64]:
        rate = self._traffic
        match order:
            case "rate":
                return 8 * (rate["rx_bytes"] + rate["tx_bytes"])
            case "packets":
                return rate["rx_packets"] + rate["tx_packets"]
        return rate["rx_drops"] + rate["tx_drops"]

    def _limit_order(self, order: Order) -> NDArray[np.float64]:
        match order:
            case "rate":
                return 8 * self._policed["passed_bytes"]
            case "packets":
                return self._policed["passed_packets"]
        return self._policed["dropped_packets"]

    def _endpoint_rows(self, order: Order, rows: int | None) -> list[EndpointRates]:
        table, rate, drops = self._names.rows, self._traffic, self._endpoint_order("drops")
        found = []
        for index in _first(self._endpoint_order(order)[table["slot"]], rows):
            row: Any = table[index]
            slot = int(row["slot"])
            found.append(
                EndpointRates(
                    sir=Address(int(row["sir"]["prefix"]), int(row["sir"]["identifier"])),
                    device=self._device(int(row["ifindex"])) or "host",
                    rx_bps=8 * float(rate["rx_bytes"][slot]),
                    rx_pps=float(rate["rx_packets"][slot]),
                    tx_bps=8 * float(rate["tx_bytes"][slot]),
                    tx_pps=float(rate["tx_packets"][slot]),
                    drops_pps=float(drops[slot]),
                    limit=self._names.limit(int(row["limit"])),
                    history=self._endpoints[order].of(slot),
                )
            )
        return found

    def _limit_rows(self, order: Order, rows: int | None) -> list[LimitRates]:
        slots = np.array(sorted(self._names.cgroups), np.int64)
        if not len(slots):
            return []
        rate, backlogs = self._policed, _backlogs(self._instance)
        found = []
        for index in _first(self._limit_order(order)[slots], rows):
            slot = int(slots[index])
            rules = limit_rules.from_row(self._instance.limits.get(index_key(slot)))
            bps, pps = 8 * float(rate["passed_bytes"][slot]), float(rate["passed_packets"][slot])
            packets = None if rules.packets is None else float(rules.packets)
            found.append(
                LimitRates(
                    cgroup=self._names.limit(slot) or str(slot),
                    rate=rules.rate,
                    packets=packets,
                    use=max(bps / rules.rate if rules.rate else 0, pps / packets if packets else 0),
                    passed_bps=bps,
                    passed_pps=pps,
                    marked_pps=float(rate["marked_packets"][slot] + rate["tagged_packets"][slot]),
                    dropped_pps=float(rate["dropped_packets"][slot]),
                    backlog_ns=int(backlogs[slot]),
                    history=self._limits[order].of(slot),
                )
            )
        return found

    def _reason_rows(self, rows: int | None) -> list[ReasonRates]:
        hooks, per_hook = counters.hook_names(), schema.enum("ilax_reason")["ILAX_REASON_COUNT"]
        packets, pps = self._now.reasons["packets"], self._decided["packets"]
        counted = np.flatnonzero(packets)
        found = []
        for index in counted[_first(pps[counted], rows)].tolist():
            hook, reason = divmod(index, per_hook)
            found.append(
                ReasonRates(
                    hook=hooks.get(hook, str(hook)),
                    reason=counters.reason_name(reason),
                    verdict=counters.verdict_of(reason),
                    pps=float(pps[index]),
                    bps=8 * float(self._decided["bytes"][index]),
                    packets=int(packets[index]),
                    history=self._reasons.of(index),
                )
            )
        return found


def _look(instance: Instance) -> _Look:
    at = time.monotonic()
    reasons = instance.counters.per_cpu()
    traffic = instance.traffic.per_cpu()
    names = traffic.dtype.names or ()
    return _Look(
        at=at,
        traffic={name: traffic[name].sum(axis=1) for name in names},
        reasons={name: reasons[name].sum(axis=1) for name in ("packets", "bytes")},
        limits=policed(instance),
    )


def _rates(before: Any, now: Any, names: list[str], seconds: float) -> _Arrays:
    """Per second; a slot that has a new owner counts from 0."""
    found = {}
    for name in names:
        old, new = before[name], now[name]
        found[name] = np.where(new >= old, new - old, new) / seconds
    return found


def _first(values: NDArray[np.float64], rows: int | None) -> NDArray[np.intp]:
    """Indexes of the largest values, the largest first; equal ones stay in their order."""
    return np.argsort(-values, kind="stable")[:rows]


def _backlogs(instance: Instance) -> NDArray[np.int64]:
    """Backlog of each slot now, ns."""
    shift = schema.enum("ilax_limit_unit")["ILAX_TIME_SHIFT"]
    until = instance.backlogs.rows()[1]["until"].astype(np.int64) >> shift
    backlog: NDArray[np.int64] = np.maximum(until - time.monotonic_ns(), 0)
    return backlog
