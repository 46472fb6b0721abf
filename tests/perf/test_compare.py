# SPDX-License-Identifier: Apache-2.0
"""What a comparison finds, and what it must not find."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilax_perf import compare, compare_cli, report
from ilax_perf.rows import Rows
from ilax_perf.sampling import Median
from ilax_perf.student import two_sided
from perf.results import noisy, of, result

NAMES = [f"cost.row_{number}" for number in range(60)]
OPPOSITE = {compare.BETTER: compare.WORSE, compare.WORSE: compare.BETTER,
            compare.ADDED: compare.REMOVED, compare.REMOVED: compare.ADDED}  # fmt: skip

positive = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=7)
anything = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=7)
results = st.dictionaries(
    st.sampled_from(NAMES[:5]), st.one_of(positive, anything), min_size=1
).map(of)


def verdicts(changes: list[compare.Change]) -> dict[str, str]:
    return {change.name: change.verdict for change in changes}


@given(results)
@settings(deadline=None)
def test_a_result_has_not_changed_against_itself(whole: dict[str, Any]) -> None:
    found = set(verdicts(compare.compare(whole, whole)).values())
    assert found <= {compare.SAME, compare.UNKNOWN}


@given(results, results)
@settings(deadline=None)
def test_what_got_better_one_way_got_worse_the_other_way(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    there = verdicts(compare.compare(first, second))
    back = verdicts(compare.compare(second, first))
    assert back == {name: OPPOSITE.get(verdict, verdict) for name, verdict in there.items()}


@given(st.integers(0, 2**32), st.floats(1.25, 20), st.integers(4, 9), st.booleans())
@settings(deadline=None)
def test_a_clear_shift_is_found_among_sixty_rows(
    seed: int, factor: float, runs: int, slower: bool
) -> None:
    before = noisy(seed, NAMES, spread=0.005, runs=runs)
    after = noisy(seed + 1, NAMES, spread=0.005, runs=runs)
    shift = factor if slower else 1 / factor
    after[NAMES[7]] = [shift * sample for sample in after[NAMES[7]]]
    found = verdicts(compare.compare(of(before), of(after)))
    assert found.pop(NAMES[7]) == (compare.WORSE if slower else compare.BETTER)
    assert set(found.values()) == {compare.SAME}


@pytest.mark.parametrize("spread", [0.001, 0.02, 0.2])
def test_noise_alone_is_rarely_called_a_change(spread: float) -> None:
    tries, wrong = 200, 0
    for seed in range(tries):
        before, after = (of(noisy(2 * seed + n, NAMES, spread=spread)) for n in (0, 1))
        found = set(verdicts(compare.compare(before, after, floor=0)).values())
        wrong += found != {compare.SAME}
    # One of twenty is promised; 20 of 200 would be five standard deviations more.
    assert wrong < 20


def test_what_hits_a_row_and_its_base_alike_is_no_change() -> None:
    def measured(slowness: float) -> dict[str, Any]:
        rows = Rows()
        drift = np.array([1, 1.1, 0.9, 1.2, 1]) * slowness
        rows.add("rate.kernel_route", Median(1 / drift), "Mpps")
        rows.add("rate.stack_delivery", Median(1.8 / drift), "Mpps", "rate.kernel_route")
        return result(rows)

    route, delivery = compare.compare(measured(1), measured(2))
    assert (route.verdict, delivery.verdict) == (compare.WORSE, compare.SAME)
    assert delivery.of == "rate.kernel_route"
    assert delivery.ratio == pytest.approx(1)


def test_a_row_without_direction_is_only_called_changed() -> None:
    name = "isolation.worse_than_xdp.nft"
    before, after = of({name: [2, 2.01, 2.02]}, "x"), of({name: [3, 3.01, 3.02]}, "x")
    assert verdicts(compare.compare(before, after)) == {name: compare.CHANGED}


def test_below_the_floor_nothing_has_changed_however_sure() -> None:
    before, after = of({"cli.x": [1.0] * 5}, "s"), of({"cli.x": [1.05] * 5}, "s")
    (change,) = compare.compare(before, after)
    assert (change.verdict, change.p) == (compare.SAME, 0)
    (change,) = compare.compare(before, after, floor=0.04)
    assert change.verdict == compare.WORSE


def test_one_step_of_the_clock_is_no_change() -> None:
    before, after = of({"cost.x": [8.0] * 5}), of({"cost.x": [9.0] * 5})
    (change,) = compare.compare(before, after)
    assert change.verdict == compare.SAME
    (change,) = compare.compare(before, of({"cost.x": [10.0] * 5}))
    assert change.verdict == compare.WORSE


def test_rows_that_wait_for_memory_must_double() -> None:
    before = of({"cost.tc_egress_64k": [250.0, 251, 252]})
    (change,) = compare.compare(before, of({"cost.tc_egress_64k": [420.0, 421, 422]}))
    assert change.verdict == compare.SAME
    (change,) = compare.compare(before, of({"cost.tc_egress_64k": [600.0, 601, 602]}))
    assert change.verdict == compare.WORSE


def test_values_that_have_no_ratio_are_compared_by_their_difference() -> None:
    name = "tcp_under_limit.cubic.1.500m.drop.retransmitted"
    before, after = of({name: [0, 0, 0.1, 0]}, "%"), of({name: [9.0, 9.1, 9.2, 9]}, "%")
    (change,) = compare.compare(before, after)
    assert (change.verdict, change.ratio) == (compare.WORSE, None)


def test_too_few_samples_say_nothing() -> None:
    (change,) = compare.compare(of({"cost.x": [1.0, 1.0]}), of({"cost.x": [50.0, 50.0]}))
    assert (change.verdict, change.p) == (compare.UNKNOWN, None)


def test_rows_that_came_and_went_are_named() -> None:
    changes = compare.compare(of({"a": [1.0], "b": [1.0]}), of({"b": [1.0], "c": [1.0]}))
    assert verdicts(changes) == {"a": compare.REMOVED, "b": compare.UNKNOWN, "c": compare.ADDED}


def test_another_unit_is_not_compared() -> None:
    (change,) = compare.compare(of({"a": [1.0] * 5}, "s"), of({"a": [900.0] * 5}, "ns"))
    assert (change.verdict, change.unit) == (compare.UNKNOWN, "")


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1), min_size=1))
@settings(deadline=None)
def test_holm_keeps_order_and_never_makes_a_chance_smaller(chances: dict[str, float]) -> None:
    made = compare.holm(chances)
    assert made.keys() == chances.keys()
    assert all(chances[name] <= made[name] <= 1 for name in chances)
    order = sorted(chances, key=lambda name: chances[name])
    assert [made[name] for name in order] == sorted(made.values())
    assert made[order[0]] == min(1.0, chances[order[0]] * len(chances))


# From any table of the distribution.
@pytest.mark.parametrize(
    ("t", "freedom", "chance"),
    [
        (0.0, 3, 1.0),
        (12.706, 1, 0.05),
        (-4.3027, 2, 0.05),
        (2.7764, 4, 0.05),
        (8.6103, 4, 0.001),
        (3.1693, 10, 0.01),
        (1.9623, 1000, 0.05),
    ],
)
def test_student(t: float, freedom: float, chance: float) -> None:
    assert two_sided(t, freedom) == pytest.approx(chance, rel=1e-3)


@given(st.floats(1, 1e5), st.floats(0, 1e3), st.floats(0, 1e3))
@settings(deadline=None)
def test_student_falls(freedom: float, first: float, second: float) -> None:
    near, far = sorted((first, second))
    assert 0 <= two_sided(far, freedom) <= two_sided(near, freedom) + 1e-12 <= 1 + 1e-12


def write(path: Path, content: dict[str, Any]) -> str:
    report.write_json(path, content)
    return str(path)


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = write(tmp_path / "slow.json", of({"cost.x": [200.0, 201, 202, 203]}))
    fast = write(tmp_path / "fast.json", of({"cost.x": [100.0, 101, 102, 103]}))
    other = write(tmp_path / "other.json", of({"cost.y": [100.0, 101, 102, 103]}))
    assert compare_cli.main([fast, fast]) == 0
    assert compare_cli.main([slow, fast]) == 0
    assert compare_cli.main([fast, slow]) == 1
    assert "cost.x" in capsys.readouterr().out
    assert compare_cli.main([fast, other]) == 2
    assert compare_cli.main([fast, str(tmp_path / "nothing.json")]) == 2
    assert "cannot read" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        compare_cli.main([fast, slow, "--floor", "-1"])
    assert stopped.value.code == 2


def test_json_says_everything_and_warnings_name_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Rows()
    rows.add("cost.x", Median([100.0, 101, 102]), "ns")
    one = write(tmp_path / "one.json", result(rows))
    two = write(tmp_path / "two.json", result(rows, kernel="6.19.0", settings={"hz": 1000}))
    assert compare_cli.main([one, two, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["warnings"] == [
        "kernel: 6.18.0 before, 6.19.0 after",
        "hz: 250 before, 1000 after",
        "mitigations: {} before, None after",
    ]
    (row,) = said["rows"]
    assert row["verdict"] == "same"
    assert math.isclose(row["ratio"], 1)
    assert compare_cli.main([one, two]) == 0
    assert "kernel: 6.18.0 before, 6.19.0 after" in capsys.readouterr().err
