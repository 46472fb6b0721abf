# SPDX-License-Identifier: Apache-2.0
"""A short soak; `make soak` runs a long one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cleanup import PREFIX, unwinding_signals
from lab.ilax import quick_commands
from soak.run import Load, soak

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture
def _warm() -> Iterator[None]:
    with unwinding_signals(), quick_commands():
        yield


@pytest.mark.usefixtures("_warm")
def test_nothing_is_lost_without_a_reason(tmp_path: Path) -> None:
    report = soak(f"{PREFIX}{os.getpid():x}soak", Load(seconds=14, between=2), tmp_path, print)
    assert report.problems == []
    # It did what it is to prove something about.
    happened = {"flap", "namespace_dies", "full_maps", "memory_pressure"}
    assert set(report.events) == happened
    assert report.daemon_changes > 20
    assert report.endpoint_changes > 20
    assert report.mapping_changes > 1000
    for reason in ("drop_unknown_identifier", "drop_no_mapping", "drop_limit"):
        assert any(name.endswith(reason) for name in report.ilax), (reason, report.ilax)
