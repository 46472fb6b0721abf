# SPDX-License-Identifier: Apache-2.0
"""Alert rules and dashboard, by Prometheus's own tools."""

from __future__ import annotations

import json
import re

from lab.netns import run
from lab.prometheus import DASHBOARD, PACKAGING, ROOT, RULES, dashboard, tool

CASES = ROOT / "tests" / "monitoring" / "alerts_test.yml"
METRICS = ROOT / "docs" / "monitoring.md"


def test_the_example_and_the_rules_are_valid() -> None:
    run(tool("promtool"), "check", "config", PACKAGING / "prometheus" / "prometheus.yml")
    done = run(tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert f"{len(alerts())} rules found" in done.stdout


def test_each_alert_fires_and_is_quiet() -> None:
    run(tool("promtool"), "test", "rules", CASES)
    text = CASES.read_text()
    cases = re.findall(r"alertname: (\w+)\n.*\n +exp_alerts:( \[\])?", text)
    assert sorted(cases) == sorted((name, quiet) for name in alerts() for quiet in ("", " []"))


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", RULES.read_text())


def test_each_alert_is_explained() -> None:
    text = METRICS.read_text()
    assert [name for name in alerts() if f"`{name}`" not in text] == []


def test_panels_do_not_overlap_and_have_their_place() -> None:
    content = json.loads(DASHBOARD.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in content["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in content["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_each_query_can_be_narrowed_to_hosts() -> None:
    for query in dashboard():
        assert '{instance=~"$instance"' in query.expression
        assert "[" not in query.expression.replace("[$__rate_interval]", "")
