# SPDX-License-Identifier: Apache-2.0
"""The arithmetic behind docs/scale.md, and that the page has its results."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilax_perf import quantities, report, scale, scale_model
from ilax_perf.rows import Rows
from ilax_perf.scale_assumptions import CONSTANTS, Assumptions
from ilax_perf.scale_model import Model
from perf.results import result

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale.md"
RESULT = ROOT / "docs" / "perf" / "bench.json"


def model(assumed: Assumptions | None = None, **values: float) -> Model:
    rows = Rows()
    for name in CONSTANTS:
        rows.add(name, values.get(name.replace(".", "_"), 1.0), "unit")
    return scale.model(result(rows), assumed)


def test_the_page_has_the_numbers_of_the_committed_result() -> None:
    page = PAGE.read_text()
    made = scale.blocks(report.read_json(RESULT))
    assert scale.renewed(page, made) == page, "`ilax-perf scale --write docs/scale.md`"
    named = re.findall(r"<!-- numbers: (\w+) -->", page)
    assert sorted(named) == sorted(made)
    assert page.count("<!-- end of numbers -->") == len(made)


def test_the_page_says_what_to_do_about_whatever_may_break_first() -> None:
    page = PAGE.read_text()
    for name, *_ in scale.model(report.read_json(RESULT)).first()[1:]:
        assert f"\n**{name}**" in page


def test_memory_grows_with_rows_and_cpus() -> None:
    assumed = Assumptions(hosts=10, tasks=1000, cpus=12, limited=0.5)
    made = model(
        assumed,
        memory_mapping_1m=100,
        memory_endpoint_64k=300,
        memory_endpoint_64k_each_cpu=50,
        memory_limit_64k=200,
    )
    # 100 endpoints on a host; the machine that measured has 2 CPUs.
    mappings = 1024 * 100
    assert made.table_bytes(1024) == mappings + 100 * (300 + 10 * 50) + 50 * 200


def test_a_table_that_is_no_power_of_two_has_more_buckets_than_rows() -> None:
    made = model(memory_mapping_1m=112)
    assert made.mapping_bytes(1 << 20) == 112 << 20
    # As memory.mapping_10m was measured on Linux 6.18.
    assert made.mapping_bytes(10 << 20) / (10 << 20) == pytest.approx(121.6)


def test_a_loader_needs_its_base_and_so_much_for_each_row() -> None:
    made = model(memory_status_rss=30, memory_put_1m_rss=130)
    assert made.loader_bytes(0) == 30 * 2**20
    assert made.loader_bytes(1 << 21) == 230 * 2**20


def test_every_change_reaches_every_host() -> None:
    assumed = Assumptions(hosts=1000, entry=100, relays=2, relay_rate=4e5)
    assert model(assumed).spread_seconds(5) == 5 * 1000 * 100 * 8 / 8e5


def test_what_breaks_first_comes_first() -> None:
    table = model(Assumptions(series=1)).first()
    assert table[1][0] == "series"
    factors = [float(row[3]) for row in table[1:]]
    assert factors == sorted(factors, reverse=True)


def test_more_uneven_traffic_is_cheaper() -> None:
    made = model(cost_tc_egress_1k=80, cost_tc_egress_64k=320, cost_tc_egress_1m=480)
    costs = [float(row[3]) for row in made.cache()[1:5]]
    assert costs == sorted(costs, reverse=True)
    assert 80 <= costs[-1] < costs[0] <= 480


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([0.0, 0.8, 1.0, 1.2]))
@settings(deadline=None)
def test_zipf_is_summed_exactly_enough(top: int, count: int, power: float) -> None:
    weights = [n**-power for n in range(1, count + 1)]
    exact = sum(weights[:top]) / sum(weights)
    assert scale_model.zipf_share(top, count, power) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (quantities.short(0), "0"),
        (quantities.short(999.4), "999"),
        (quantities.short(12345), "12.3 k"),
        (quantities.short(1e7), "10 M"),
        (quantities.size(1.5 * 2**30), "1.5 GiB"),
        (quantities.rate(64e9), "64 Gbit/s"),
        (quantities.percent(0.01234), "1.23 %"),
        (quantities.duration(5400), "1.5 h"),
        (quantities.duration(0.0005), "500 us"),
        (quantities.duration(0.25), "250 ms"),
    ],
)
def test_numbers_for_people(made: str, expected: str) -> None:
    assert made == expected


def test_the_command_assumes_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scale.main([str(RESULT), "--set", "hosts=1234"]) == 0
    assert "| `hosts` | 1.23 k |" in capsys.readouterr().out
    for wrong in ("nobody=1", "hosts=0", "hosts=x", "hosts=nan"):
        with pytest.raises(SystemExit) as stopped:
            scale.main([str(RESULT), "--set", wrong])
        assert stopped.value.code == 2
    poor = tmp_path / "poor.json"
    report.write_json(poor, result(Rows()))
    assert scale.main([str(poor)]) == 2
    assert "lacks memory.mapping_1m" in capsys.readouterr().err


def test_the_page_names_all_assumptions() -> None:
    page = PAGE.read_text()
    for each in fields(Assumptions):
        assert f"| `{each.name}` |" in page
