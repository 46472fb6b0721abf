# SPDX-License-Identifier: Apache-2.0
"""The systemd units: valid, and the exporter's is as closed as its comments say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.netns import run
from lab.prometheus import PACKAGING

UNITS = PACKAGING / "systemd"


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_units_are_valid(unit: str, tmp_path: Path) -> None:
    """With the command where this environment has it; systemd looks in /usr only."""
    command = Path(sys.executable).with_name("ilax")
    assert command.is_file()
    text = (UNITS / unit).read_text()
    assert "=ilax " in text
    (tmp_path / unit).write_text(text.replace("=ilax ", f"={command} "))
    timer = unit.replace(".service", ".timer")
    units = [tmp_path / unit]
    if (UNITS / timer).is_file():
        units.append(tmp_path / timer)
        units[-1].write_text((UNITS / timer).read_text())
    done = run("systemd-analyze", "verify", "--man=no", *units)
    assert not done.stdout + done.stderr


def test_the_exporter_is_closed() -> None:
    """systemd's own measure: 0 is all closed, 100 all open."""
    unit = UNITS / "ilax-exporter.service"
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    lines = unit.read_text().splitlines()
    for setting in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert f"{setting}=CAP_DAC_READ_SEARCH" in lines
