# SPDX-License-Identifier: Apache-2.0
"""The dashboard is one by Grafana's own types; and a broken one would not be."""

from __future__ import annotations

import pytest

from lab.prometheus import DASHBOARD

from .grafana_schema import problems


def test_the_dashboard_is_one_for_grafana() -> None:
    assert problems(DASHBOARD.read_text()) == []


# (what stands there, what is put in its place, what is said about it)
BROKEN = [
    ('"fieldConfig":', '"fieldConfg":', "fieldConfg: is not known"),
    ('"type": "stat"', '"type": "statt"', "'statt' is no kind of panel"),
    ('"type": "timeseries"', '"kind": "timeseries"', "cannot be read"),
    ('"legendFormat":', '"legend":', "legend: is not known"),
    ('"expr":', '"promql":', "promql: is not known"),
    ('"unit": "', '"units": "', "units: is not known"),
    ('"w": 4', '"w": "4"', "'4' is no int"),
    ('"steps": [', '"step": [', "step: is not known"),
    ('"mode": "absolute"', '"mode": "relative"', "mode: 'relative' is none of"),
    ('"calcs": [', '"calc": [', "calc: is not known"),
    ('"fillOpacity": 0', '"fillOpacity": "none"', "'none' is no float"),
    ('"placement": "bottom"', '"placement": "above"', "'above' is none of"),
    ('"refresh": 2', '"refresh": 7', "7 is none of"),
    ('"multi": true', '"multi": "yes"', "'yes' is no bool"),
    ('"type": "value"', '"type": "range"', "mappings"),
    ('"type": "prometheus"', '"type": "nothing"', "is no Dataquery"),
    ('"schemaVersion": 37', '"schemaVersion": "37"', "'37' is no int"),
    ('"type": "row"', '"type": []', "cannot be read"),
]


@pytest.mark.parametrize(("old", "new", "words"), BROKEN, ids=[new for _, new, _ in BROKEN])
def test_a_broken_one_is_noticed(old: str, new: str, words: str) -> None:
    text = DASHBOARD.read_text()
    assert old in text
    told = problems(text.replace(old, new))
    assert any(words in one for one in told), told
