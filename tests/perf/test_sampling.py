# SPDX-License-Identifier: Apache-2.0
"""Samples, rows and the file they go into."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from ilax_perf import report, surroundings
from ilax_perf.rows import BYTES, GBITS, MPPS, NS, PERCENT, TARGETS, Row, Rows, better
from ilax_perf.sampling import Median, Settings, medians
from perf.results import ABOUT, result

SAMPLES = st.lists(st.floats(0.5, 1e6), min_size=1, max_size=9)


def settings() -> Settings:
    return Settings(3, False, False, 0, lambda name: True, lambda text: None)


@given(SAMPLES)
@cases(deadline=None)
def test_a_median_is_a_number_and_keeps_its_samples_in_order(samples: list[float]) -> None:
    value = Median(samples)
    below = sum(sample <= value for sample in samples)
    above = sum(sample >= value for sample in samples)
    assert min(below, above) * 2 >= len(samples)
    assert value.samples == tuple(samples)


@given(SAMPLES, st.floats(0.5, 1e3))
@cases(deadline=None)
def test_arithmetic_reaches_every_sample(samples: list[float], number: float) -> None:
    value = Median(samples)
    for made, expected in (
        (value + number, [s + number for s in samples]),
        (value - number, [s - number for s in samples]),
        (value * number, [s * number for s in samples]),
        (number * value, [number * s for s in samples]),
        (value / number, [s / number for s in samples]),
        (number / value, [number / s for s in samples]),
    ):
        assert made.samples == tuple(expected)
        assert made == Median(expected)


def test_samples_of_two_medians_are_paired_as_they_were_taken() -> None:
    difference = Median([10, 20, 90]) - Median([1, 2, 80])
    assert list(difference.samples) == [9, 18, 10]
    assert difference == 10.0
    with pytest.raises(ValueError, match="argument 2 is longer"):
        Median([1, 2]) - Median([1, 2, 3])


def test_candidates_take_turns_and_the_best_turn_is_the_sample() -> None:
    calls: list[str] = []
    values = {"a": iter([99, 3, 1, 5, 4]), "b": iter([99, 8, 9, 6, 7])}

    def turn(name: str) -> float:
        calls.append(name)
        return next(values[name])

    found = medians({"a": lambda: turn("a"), "b": lambda: turn("b")}, runs=2, turns=2)
    assert calls == ["a", "b"] * 5
    assert list(found["a"].samples) == [1, 4]
    assert list(found["b"].samples) == [8, 6]
    values = {"a": iter([0, 3, 1])}
    assert medians({"a": lambda: turn("a")}, 1, 2, max)["a"] == 3.0


def test_a_row_knows_its_ratio_to_a_row_that_was_measured() -> None:
    rows = Rows()
    rows.add("base", Median([4, 5, 6]), NS)
    rows.add("row", Median([10, 11, 9]), NS, "base")
    rows.add("lonely", 1.0, NS, "nobody")
    row, lonely = rows.get("row"), rows.get("lonely")
    assert row == Row("row", 10, NS, (10, 11, 9), "base", 2.0)
    assert lonely == Row("lonely", 1, NS, (1,), None, None)


def test_large_and_small_values_keep_six_digits() -> None:
    rows = Rows()
    rows.add("large", Median([1234567.89]), "rows/s")
    rows.add("small", Median([0.000123456789]), "s")
    assert [row.value for row in rows] == [1234570.0, 0.000123457]


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("rate.forward", MPPS, "more"),
        ("tcp.two_hosts", GBITS, "more"),
        ("cost.xdp_hit_1k", NS, "less"),
        ("memory.mapping_1m", BYTES, "less"),
        ("conformance.worst_error", PERCENT, "less"),
        ("conformance.1m.64.x2", PERCENT, None),
        ("isolation.goodput.xdp", PERCENT, "more"),
        ("isolation.worse_than_xdp.nft", "x", None),
        ("tcp_under_limit.cubic.1.500m.drop", PERCENT, "more"),
        ("tcp_under_limit.cubic.1.500m.drop.rtt", "us", "less"),
        ("tcp_under_limit.cubic.1.500m.drop.retransmitted", PERCENT, "less"),
    ],
)
def test_which_direction_is_good(name: str, unit: str, expected: str | None) -> None:
    assert better(name, unit) == expected


def test_a_result_survives_its_file_line_by_line(tmp_path: Path) -> None:
    rows = Rows()
    rows.add("rate.kernel_route", Median([1.0, 1.1, 0.9]), MPPS)
    rows.add("rate.stack_delivery", Median([1.5, 1.6, 1.4]), MPPS, "rate.kernel_route")
    rows.reasons["rate.stack_delivery"] = ["because"]
    whole = result(rows, machine="größer")
    path = tmp_path / "new" / "bench.json"
    report.write_json(path, whole)
    assert report.read_json(path) == whole == json.loads(path.read_text())
    assert len(path.read_text().splitlines()) == 2 + len(ABOUT) + 1 + 2 + 2 + 2 + 1
    (target,) = whole["targets"]
    assert target["met"] is False
    assert target["where"] == ["because"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "no JSON"),
        ("[]", "no result"),
        ('{"schema": 1}', "no result"),
        ('{"rows": []}', "schema none"),
        ('{"schema": 99, "rows": []}', "schema 99"),
        ('{"schema": 1, "rows": [{"name": "x"}]}', "row 0"),
        ('{"schema": 1, "rows": [7]}', "row 0"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(report.ResultError, match=complaint):
        report.read_json(path)


def test_the_table_names_units_ratios_and_missed_targets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = Rows()
    rows.add("rate.kernel_route", 1.0, MPPS)
    rows.add("rate.stack_delivery", 1.5, MPPS, "rate.kernel_route")
    rows.add("control.load_1m", 2_000_000.0, "rows/s")
    rows.reasons["rate.stack_delivery"] = ["somewhere"]
    report.print_table(ABOUT, rows)
    text = capsys.readouterr().out
    assert "a machine, 2 CPUs, Linux 6.18.0" in text
    assert "MISSED: at least 1.9 x rate.kernel_route" in text
    assert "2,000,000 rows/s" in text
    assert text.rstrip().endswith("somewhere")


def test_columns_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows()
    names = ("rate.kernel_route", "rate.stack_delivery_over.bare_redirect_peer", "cli.up_wall")
    for name in names:
        rows.add(name, 1.0, MPPS, "rate.kernel_route")
    report.print_table(ABOUT, rows)
    _, _, head, *lines = capsys.readouterr().out.splitlines()
    assert {line.index(" Mpps") for line in lines} == {head.index(" unit")}
    assert len({line.index("1.000") for line in lines}) == 1
    assert head.index("of") == lines[1].rindex("rate.kernel_route")


def test_every_target_can_be_told_and_judged() -> None:
    for name, target in TARGETS.items():
        row = Row(name, 1.0, "x", (1.0,), "base", 1.0)
        assert target.met(row) in (True, False)
        assert target.text(row).startswith(("at least", "at most"))


def test_the_surroundings_are_those_of_this_machine() -> None:
    about = surroundings.about(settings())
    assert list(about)[:5] == ["machine", "cpus", "memory_mib", "kernel", "commit"]
    assert about["cpus"] > 0
    assert about["memory_mib"] > 0
    assert about["run"]["runs"] == 3
    assert about["settings"]["net.core.dev_weight"].isdigit()
    assert {"python", "numpy"} <= about["packages"].keys()
    assert all(math.isfinite(len(name)) and version for name, version in about["packages"].items())
    assert json.loads(json.dumps(about)) == about
