# SPDX-License-Identifier: Apache-2.0
"""Metrics of ingress limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ilax.exporter.families import Labels, Rows, gauge
from ilax.limiting import limit_readings
from ilax.limiting.limit_book import slots_by_cgroup
from ilax.limiting.limit_rules import Rules
from ilax.system import cgroups

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ilax.exporter.choice import Choice
    from ilax.exporter.families import Family
    from ilax.instances.instance import Instance

_OUTCOMES = {
    "passed": "let pass, marked and tagged ones included",
    "dropped": "dropped (by a dry run: that would have been)",
    "marked": "marked with ECN CE",
    "tagged": "given a mark and a priority for later stages",
}
_UNITS = {"packets": "Packets", "bytes": "Charged bytes (24 for each frame included)"}
_NS = 1e-9


def by_limit(instance: Instance, choice: Choice) -> Iterator[Family]:
    """Rules, counters and backlog of the chosen limits: those with the most packets."""
    import numpy as np

    book = slots_by_cgroup(instance)
    numbers, slots = (np.array(list(part), np.int64) for part in (book.keys(), book.values()))
    table = instance.limits.rows()[1]
    known = (slots > 0) & (slots < len(table))  # a daemon may have written anything
    numbers, slots = numbers[known], slots[known]
    rows = table[slots]
    # Rows without a cost stand for cgroups that an endpoint names and nobody limits.
    limited = (rows["byte_cost"] | rows["packet_cost"]) != 0
    numbers, slots, rows = numbers[limited], slots[limited], rows[limited]
    names = cgroups.names() if len(numbers) else {}
    yield gauge("ilax_limits", "Cgroups with a limit.", len(numbers))
    yield gauge(
        "ilax_limits_cgroup_missing",
        "Limits whose cgroup is gone; `ilax limit gc` removes them.",
        sum(number not in names for number in numbers.tolist()),
    )
    yield gauge(
        "ilax_limits_left_out",
        "Limits without series of their own: not among the chosen.",
        choice.left_out(len(numbers)),
    )
    if choice.none or not len(numbers):
        return
    counted = limit_readings.policed(instance)[slots]
    chosen = choice.pick(counted["passed_packets"] + counted["dropped_packets"])
    labels = Labels("cgroup", [names.get(n, str(n)) for n in numbers[chosen].tolist()])
    yield from _outcomes(labels, counted[chosen])
    yield from _rules(labels, rows[chosen])
    # One by one: by the time that all rows are copied, the first has drained.
    backlogs = [limit_readings.backlog(instance, slot)[0] for slot in slots[chosen].tolist()]
    yield Rows(
        "ilax_limit_backlog_seconds",
        "How long the virtual queue of the limit takes to drain; 0 = idle.",
        "gauge", labels, np.array(backlogs) * _NS,
    )  # fmt: skip


def _outcomes(labels: Labels, counted: NDArray[Any]) -> Iterator[Family]:
    for outcome, text in _OUTCOMES.items():
        for unit, what in _UNITS.items():
            yield Rows(
                f"ilax_limit_{outcome}_{unit}", f"{what} that were {text}.",
                "counter", labels, counted[f"{outcome}_{unit}"],
            )  # fmt: skip


def _rules(labels: Labels, rows: NDArray[Any]) -> Iterator[Family]:
    yield Rows(
        "ilax_limit_drop_threshold_seconds", "Backlog beyond which packets are dropped.",
        "gauge", labels, rows["drop"] * _NS,
    )  # fmt: skip
    yield Rows(
        "ilax_limit_rate_bytes_per_second",
        "Configured rate, on the wire; absent where bytes are free.",
        "gauge", labels,
        _each(rows["byte_cost"], lambda cost: (Rules(byte_cost=cost).rate or 0) / 8),
        rows["byte_cost"] != 0,
    )  # fmt: skip
    yield Rows(
        "ilax_limit_rate_packets_per_second",
        "Configured packets per second; absent where packets are free.",
        "gauge", labels,
        _each(rows["packet_cost"], lambda cost: Rules(packet_cost=cost).packets or 0),
        rows["packet_cost"] != 0,
    )  # fmt: skip


def _each(costs: NDArray[Any], rate: Callable[[int], float]) -> NDArray[Any]:
    """The rate of each cost; few of many limits differ."""
    import numpy as np

    different, which = np.unique(costs, return_inverse=True)
    rates: NDArray[np.float64] = np.array([rate(cost) for cost in different.tolist()])
    return rates[which]
