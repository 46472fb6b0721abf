# SPDX-License-Identifier: Apache-2.0
"""Metrics of the last `ilax check`, which somebody else makes and writes to a file.

A check takes about a second and enters the namespaces of containers, for which the
exporter is not privileged. So `ilax check --report` runs from a timer, and a scrape
reads what it has left. Without that file there are no metrics of it: nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import GaugeMetricFamily

from ilax.errors import IlaxError
from ilax.exporter.families import gauge, gauges
from ilax.system.moments import Moment

if TYPE_CHECKING:
    from ilax.exporter.families import Family


def default_report(instance: str) -> Path:
    """Where the report of an instance is looked for."""
    return Path("/run/ilax") / f"check-{instance}.json"


def last_check(path: Path, instance: str) -> Iterator[Family]:
    """Findings by kind, when they were made, and how much was looked at.

    Raises:
        IlaxError: the file is no report of this instance.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    try:
        yield from _families(json.loads(text), instance)
    except (ValueError, TypeError, KeyError) as error:
        raise IlaxError(
            f"{path} is no report of `ilax check` about instance {instance}: {error!r}",
            hint=f"`ilax check --report {path}` writes it anew",
        ) from error


def _families(report: Any, instance: str) -> list[Family]:
    if report["instance"] != instance:
        raise ValueError(f"it is about {report['instance']}")
    # A clock that is put right must not hide for hours that nobody checks any more.
    ended = Moment(
        float(report["time"]), str(report.get("boot")), float(report.get("since_boot", 0))
    )
    findings = GaugeMetricFamily(
        "ilax_check_findings", "Findings of the last check, by kind.", labels=["id", "severity"]
    )
    for row in report["findings"]:
        findings.add_metric([str(row["id"]), str(row["severity"])], float(row["count"]))
    return [
        findings,
        gauges(
            "ilax_check_checks",
            "Checks of the last run: made, failed, or left out for what they need is not there.",
            "result",
            {str(name): float(count) for name, count in report["checks"].items()},
        ),
        gauge(
            "ilax_check_last_run_timestamp_seconds", "When the last check ended.",
            round(ended.as_of_now(), 3),
        ),
        gauge(
            "ilax_check_duration_seconds", "How long the last check took.",
            float(report["seconds"]),
        ),
    ]  # fmt: skip
