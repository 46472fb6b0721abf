# SPDX-License-Identifier: Apache-2.0
"""What `make demo` shows holds on this kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ilax_demo.story import tell
from lab.ilax import Ilax, environment
from lab.warm import WarmRunner

# First parts of the facts' names: an early end must not pass for a short demo.
_PARTS = {"up", "ping", "tcp", "wire", "spoof", "pmtu", "move", "counters", "down", "cleanup"}


def test_all_facts_hold(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    runner = WarmRunner(environment())
    monkeypatch.setattr(Ilax, "runner", runner)
    try:
        code = tell(tmp_path / "demo.json")
    finally:
        runner.close()
    facts = json.loads((tmp_path / "demo.json").read_text())
    record_property("facts", {fact["name"]: fact["value"] for fact in facts})
    assert not [fact for fact in facts if not fact["ok"]]
    assert {fact["name"].partition(".")[0] for fact in facts} >= _PARTS
    assert code == 0
