# SPDX-License-Identifier: Apache-2.0
"""The systemd units: valid, and the exporter's is as closed as its comments say."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from lab.netns import run
from lab.prometheus import PACKAGING

UNITS = PACKAGING / "systemd"


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, with the command where this environment has it; systemd looks in /usr only."""
    folder = tmp_path_factory.mktemp("units")
    command = Path(sys.executable).with_name("ilax")
    assert command.is_file()
    shutil.copytree(UNITS, folder, dirs_exist_ok=True)
    for file in (*folder.glob("*.service"), *folder.glob("*/*.conf")):
        text = file.read_text()
        assert "=ilax " in text
        file.write_text(text.replace("=ilax ", f"={command} "))
    return folder


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_units_are_valid(unit: str, units: Path) -> None:
    timer = units / unit.replace(".service", ".timer")
    done = run(
        *("systemd-analyze", "verify", "--man=no", units / unit),
        *([timer] if timer.is_file() else []),
    )
    assert not done.stdout + done.stderr


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*@.*") if path.is_file()))
def test_a_template_is_the_unit_of_one_instance(unit: str) -> None:
    """And says nothing of the one that has no template."""
    assert (UNITS / unit).readlink() == Path(unit.replace("@", ""))
    if unit.endswith(".timer"):
        return
    settings = (UNITS / f"{unit}.d/instance.conf").read_text()
    plain = (UNITS / unit).read_text()
    for key in ("ConditionPathExists", "EnvironmentFile", "ExecStart", "ExecReload"):
        # An empty line takes back what the unit says.
        assert (f"\n{key}=\n" in settings) == (f"\n{key}=" in plain)
    for line in settings.splitlines():
        if "=" in line and not line.startswith("#") and not line.endswith("="):
            assert "%i" in line or line == "After=ilax.service"


def test_the_exporter_is_closed() -> None:
    """systemd's own measure: 0 is all closed, 100 all open."""
    unit = UNITS / "ilax-exporter.service"
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    lines = unit.read_text().splitlines()
    for setting in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert f"{setting}=CAP_DAC_READ_SEARCH" in lines
