# SPDX-License-Identifier: Apache-2.0
"""Rows of the result, and the targets that some of them have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from ilax_perf.sampling import Median

MPPS, NS, SECONDS, GBITS = "Mpps", "ns", "s", "Gbit/s"
MICROSECONDS, PERCENT, FACTOR = "us", "%", "x"
ROWS_PER_SECOND, BYTES, MEBIBYTES = "rows/s", "B", "MiB"
EACH_SECOND = "1/s"

MORE, LESS = "more", "less"
_BETTER = {
    **dict.fromkeys((MPPS, GBITS, ROWS_PER_SECOND, EACH_SECOND), MORE),
    **dict.fromkeys((NS, SECONDS, MICROSECONDS, BYTES, MEBIBYTES), LESS),
}
# Where the unit does not tell.
_BETTER_BY_NAME = {
    "conformance.worst_error": LESS,
    "tcp_under_limit.*.retransmitted": LESS,
    "tcp_under_limit.*.variation": LESS,
    "tcp_under_limit.*.rtt": LESS,
    "tcp_under_limit.*": MORE,
    "isolation.goodput.*": MORE,
}
_DIGITS = 6


def better(name: str, unit: str) -> str | None:
    """Whether "more" or "less" is better for a row; None where neither is.

    A deviation of a limit (`conformance.*`) has two signs, and what a peer does
    worse than ilax (`isolation.worse_than_xdp.*`) is no merit of ilax.
    """
    known = (verdict for pattern, verdict in _BETTER_BY_NAME.items() if fnmatch(name, pattern))
    return next(known, _BETTER.get(unit))


def _rounded(value: float) -> float:
    """To six significant digits: a measurement has fewer."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class Row:
    """One measured value.

    Attributes:
        name: dotted and stable.
        value: the median of `samples`, in `unit`.
        unit: "Mpps", "ns", "us", "s", "Gbit/s", "rows/s", "B", "MiB", "%", "x"
            or "1/s".
        samples: all of them, in the order in which they were taken.
        of: name of the row that `ratio` divides by, or None.
        ratio: this value over that of row `of`, or None.
    """

    name: str
    value: float
    unit: str
    samples: tuple[float, ...] = ()
    of: str | None = None
    ratio: float | None = None

    @property
    def better(self) -> str | None:
        """Whether "more" or "less" is better; None where neither is."""
        return better(self.name, self.unit)


class Rows:
    """All rows so far, in order of measurement.

    Attributes:
        reasons: for a missed target, lines that say where time goes.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self.reasons: dict[str, list[str]] = {}

    def add(self, name: str, value: float, unit: str, of: str | None = None) -> None:
        """Append a row; `of` is left out where that row was not measured.

        Args:
            value: a `Median` brings its samples; any other number is the only one.
        """
        base = self._rows.get(of) if of else None
        ratio = round(float(value) / base.value, 4) if base and base.value else None
        samples = value.samples if isinstance(value, Median) else (value,)
        self._rows[name] = Row(
            name,
            _rounded(float(value)),
            unit,
            tuple(map(_rounded, samples)),
            of if ratio is not None else None,
            ratio,
        )

    def add_over(self, name: str, base: str) -> str | None:
        """Append how many times the value of `base` the value of `name` is, if both are here.

        Returns:
            Name of the new row.
        """
        row, other = self._rows.get(name), self._rows.get(base)
        if row is None or other is None or not other.value:
            return None
        self.add(over(name, base), row.value / other.value, FACTOR)
        return over(name, base)

    def get(self, name: str) -> Row | None:
        """A row by name."""
        return self._rows.get(name)

    def missed(self, name: str) -> bool:
        """Whether a row was measured and does not reach its target."""
        row = self._rows.get(name)
        return row is not None and name in TARGETS and TARGETS[name].met(row) is False

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())


def over(name: str, base: str) -> str:
    """Name of the row that says how many times the value of `base` that of `name` is."""
    return f"{name}_over.{base.rpartition('.')[2]}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a row should reach.

    Attributes:
        name: of the row.
        at_least: of its ratio.
        at_most: of its value.
        ratio_at_most: of its ratio.
        value_at_least: of its value.
    """

    name: str
    at_least: float | None = None
    at_most: float | None = None
    ratio_at_most: float | None = None
    value_at_least: float | None = None

    def met(self, row: Row) -> bool | None:
        """Whether `row` reaches it; None if it has no ratio."""
        if self.at_least is not None:
            return None if row.ratio is None else row.ratio >= self.at_least
        if self.ratio_at_most is not None:
            return None if row.ratio is None else row.ratio <= self.ratio_at_most
        if self.value_at_least is not None:
            return row.value >= self.value_at_least
        return self.at_most is not None and row.value <= self.at_most

    def text(self, row: Row) -> str:
        """The target in words."""
        if self.at_least is not None:
            return f"at least {self.at_least:g} x {row.of}"
        if self.ratio_at_most is not None:
            return f"at most {self.ratio_at_most:g} x {row.of}"
        if self.value_at_least is not None:
            return f"at least {self.value_at_least:g} {row.unit}"
        return f"at most {self.at_most:g} {row.unit}"


TARGETS = {
    target.name: target
    for target in (
        Target("rate.stack_delivery", at_least=1.9),
        Target("rate.stack_delivery_over.nptv6", value_at_least=2.5),
        Target("rate.stack_delivery_over.vxlan", value_at_least=3),
        Target("rate.stack_delivery_over.bare_redirect_peer", value_at_least=0.95),
        Target("rate.xdp_delivery", at_least=0.9),
        Target("rate.drop_unknown", at_least=0.9),
        Target("cost.xdp_hit_1k", at_most=40),
        Target("cost.limit_hot", at_most=15),
        Target("cost.limit_1m", at_most=60),
        Target("load.mappings_1m", at_most=1.5),
        Target("cli.status_wall", at_most=0.15),
        Target("tcp.two_hosts", at_least=1.0),
        Target("tcp.two_hosts_over.vxlan", value_at_least=1.3),
        Target("rr_p99.ilax", ratio_at_most=1),
        Target("rr_p99_tcp.ilax", ratio_at_most=1),
        Target("isolation.p99.xdp", ratio_at_most=4),
        Target("isolation.worse_than_xdp.none", value_at_least=2.5),
        *(
            Target(f"isolation.worse_than_xdp.{peer}", value_at_least=1)
            for peer in ("cgroup", "tbf", "htb", "ifb_htb", "nft")
        ),
        Target("isolation.goodput.xdp", value_at_least=95),
        Target("conformance.worst_error", at_most=0.5),
    )
}
