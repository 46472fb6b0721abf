# SPDX-License-Identifier: Apache-2.0
"""What a smoke run calls insane."""

from __future__ import annotations

import math

import pytest

from ilax_perf import flows, peer_flows, sanity, spray_flows
from ilax_perf.rows import Row, Rows
from ilax_perf.sampling import Median

SANE = [
    Row("cost.empty_xdp", 30, "ns", (30,)),
    Row("cost.xdp_hit_1", 45, "ns", (45,), "cost.empty_xdp", 1.5),
    Row("rate.bare_drop", 8, "Mpps", (8,)),
    Row("rate.drop_unknown", 9, "Mpps", (9,), "rate.bare_drop", 1.125),
    Row("cli.status_wall", 3600, "s", (3600,)),
    Row("memory.instance", 0.5, "MiB", (0.5,)),
    Row("control.load_1m", 1, "rows/s", (1,)),
]


def test_a_slow_and_noisy_result_is_sane() -> None:
    assert sanity.problems(SANE, [row.name for row in SANE]) == []


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (Row("rate.drop_unknown", 10.5, "Mpps", (10.5,)), "faster than rate.bare_drop"),
        (Row("rate.forward", 12, "Mpps", (12,)), "faster than rate.bare_drop"),
        (Row("rate.forward", 0, "Mpps", (0,)), "not positive"),
        (Row("rate.forward", 100, "ns", (100,)), "in ns, not in Mpps"),
        (Row("cli.up_wall", math.nan, "s", (math.nan,)), "no measurement"),
        (Row("cli.up_wall", 1, "s", (1, math.inf)), "no measurement"),
        (Row("cli.up_wall", 1, "s", ()), "no measurement"),
        (Row("cost.empty_tc", 0, "ns", (0,)), "for nothing"),
        (Row("cost.xdp_miss", -20, "ns", (-20,), "cost.empty_xdp", -0.67), "less than nothing"),
        (Row("memory.status_rss", 30, "B", (30,)), "in B, not in MiB"),
        (Row("memory.mapping_64k", 100, "MiB", (100,)), "in MiB, not in B"),
    ],
)
def test_what_cannot_be_is_found(row: Row, complaint: str) -> None:
    others = [each for each in SANE if each.name != row.name]
    (problem, *_) = sanity.problems([*others, row], [])
    assert problem.startswith(f"{row.name}: ")
    assert complaint in problem


SITES = {**flows.SITES, **peer_flows.SITES, **spray_flows.SITES}
RATES = [name for names in SITES.values() for name in names]


@pytest.mark.parametrize("name", RATES)
def test_no_rate_is_beyond_what_is_bare(name: str) -> None:
    """Also not of a peer: too good a figure of another is as wrong as one of ours."""
    limit = sanity.limit_of(name)
    assert (limit is None) == (name == "rate.bare_drop")
    if limit is None:
        return
    assert limit in RATES and limit.startswith("rate.bare_")
    base = Row(limit, 2, "Mpps", (2,))
    assert sanity.problems([base, Row(name, 2.5, "Mpps", (2.5,))], []) == []
    (problem,) = sanity.problems([base, Row(name, 2.7, "Mpps", (2.7,))], [])
    assert f"{name}: 2.7 Mpps is faster than {limit}" in problem


def test_noise_around_nothing_is_sane() -> None:
    row = Row("cost.limit_1k", -1, "ns", (-1,), "cost.no_limit_1k", -0.01)
    assert sanity.problems([row], []) == []


def test_every_row_that_is_missing_is_named() -> None:
    assert sanity.problems([], ["rate.forward", "cli.up_wall"]) == [
        "rate.forward: was not measured",
        "cli.up_wall: was not measured",
    ]


def test_rows_of_all_groups_are_expected() -> None:
    names = sanity.expected()
    assert len(names) == len(set(names))
    for group in ("cost.", "load.", "control.", "cli.", "memory.", "rate.", "tcp."):
        assert any(name.startswith(group) for name in names), group
    rows = Rows()
    rows.add(names[0], Median([30.0]), "ns")
    assert len(sanity.problems(list(rows))) == len(names) - 1
