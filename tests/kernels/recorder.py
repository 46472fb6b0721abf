# SPDX-License-Identifier: Apache-2.0
"""Plugin of pytest: writes the outcome of each test to the file that the runner names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kernels.outcome import FAILED, PASSED, SKIPPED, Outcome, append

_REASON_LENGTH = 2000


def _reason(report: pytest.TestReport) -> str:
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext[-_REASON_LENGTH:]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # What fails or skips in a fixture never comes to be called.
    if report.when != "call" and report.passed:
        return
    kind = PASSED if report.passed else FAILED if report.failed else SKIPPED
    append(
        Path(os.environ["ILAX_KERNEL_OUTCOMES"]),
        Outcome(
            job=os.environ["ILAX_KERNEL_JOB"],
            test=report.nodeid,
            outcome=kind,
            reason=_reason(report),
            seconds=round(report.duration, 2),
            figures=dict(report.user_properties),
        ),
    )
