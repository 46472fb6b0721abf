# SPDX-License-Identifier: Apache-2.0
"""What `make demo` shows holds on this kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ilax_demo.story import tell
from lab.ilax import quick_commands

# First parts of the facts' names: an early end must not pass for a short demo.
_PARTS = {"up", "ping", "tcp", "wire", "spoof", "pmtu", "move", "counters", "down", "cleanup"}


def test_all_facts_hold(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with quick_commands():
        code = tell(tmp_path / "demo.json")
    facts = json.loads((tmp_path / "demo.json").read_text())
    record_property("facts", {fact["name"]: fact["value"] for fact in facts})
    assert not [fact for fact in facts if not fact["ok"]]
    assert {fact["name"].partition(".")[0] for fact in facts} >= _PARTS
    assert code == 0
