# SPDX-License-Identifier: Apache-2.0
"""Pins of another layout are refused, field by field, and nothing is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ilax.bpf import Map, Object
from ilax.contract.tables import index_key
from ilax.errors import LayoutError
from ilax.instances.instance import Instance

from .conftest import LOCATOR, SIR_PREFIX, UPLINK, Lab

TOP = Path(__file__).parents[2]


def _object_with(tmp_path: Path, old: str, new: str) -> Path:
    """The contract's object, compiled from a header with one change."""
    schema_dir = tmp_path / "maps_schema"
    schema_dir.mkdir()
    for path in (TOP / "maps_schema").glob("*.[ch]"):
        text = path.read_text()
        if path.name == "ilax_abi.h":
            assert old in text
            text = text.replace(old, new)
        (schema_dir / path.name).write_text(text)
    subprocess.run(
        [sys.executable, TOP / "tools/build_objects.py", "--output", tmp_path,
         schema_dir / "abi.bpf.c"],
        check=True, capture_output=True,
    )  # fmt: skip
    return tmp_path / "abi.bpf.o"


def _replace_pin(lab: Lab, name: str, other: Path) -> int:
    """Pin `name` of another object in place of ours; returns the new map's number."""
    pin = Path("/sys/fs/bpf/ilax") / lab.instance / "v1" / "maps" / name
    with Object.open(other) as obj:
        obj.maps[name].set_max_entries(64)
        obj.load()
        with obj.maps[name].open() as made:
            pin.unlink()
            made.pin(pin)
            return made.id


def test_swapped_fields_of_one_size_are_found(running: Lab, tmp_path: Path) -> None:
    other = _object_with(
        tmp_path,
        "	struct ilax_addr wire; /* rewritten destination",
        "	struct ilax_addr next; /* rewritten destination",
    )
    _replace_pin(running, "ilax_mappings", other)
    with pytest.raises(LayoutError) as caught:
        Instance.open(running.instance)
    text = "\n".join(caught.value.differences)
    assert "ilax_mappings: pinned has   value next.prefix@0:be+8" in text
    assert "ilax_mappings: ilax expects value wire.prefix@0:be+8" in text
    assert running.ilax("mapping", "list").exit_code == LayoutError.exit_code


def test_up_writes_nothing_over_another_layout(running: Lab, tmp_path: Path) -> None:
    other = _object_with(
        tmp_path,
        "	__u32 uplink_ifindex;	  /* where FORWARD leaves */",
        "	__u32 uplink_number;",
    )
    _replace_pin(running, "ilax_config", other)
    assert running.up().exit_code == LayoutError.exit_code
    for command in ("upgrade", "rollback"):
        assert running.ilax(command).exit_code == LayoutError.exit_code
    pin = Path("/sys/fs/bpf/ilax") / running.instance / "v1/maps/ilax_config"
    with Map.open_pinned(pin) as config:
        assert config.lookup(index_key(0)) == bytes(config.value_size)


def test_another_capacity_is_no_other_layout(running: Lab, tmp_path: Path) -> None:
    other = _object_with(tmp_path, "ILAX_DEFAULT_MAPPINGS = 1048576,", "ILAX_DEFAULT_MAPPINGS = 8,")
    _replace_pin(running, "ilax_mappings", other)
    assert running.ilax("mapping", "list").exit_code == 0


def test_another_major_is_refused(lab: Lab) -> None:
    folder = Path("/sys/fs/bpf/ilax") / lab.instance / "v2"
    folder.mkdir(parents=True)
    try:
        result = lab.ilax(
            "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR
        )
        assert result.exit_code == LayoutError.exit_code
        assert "v2" in str(result.exception)
        for command in ("upgrade", "rollback"):
            assert lab.ilax(command).exit_code == LayoutError.exit_code
        assert [p.name for p in folder.parent.iterdir()] == ["v2"]
    finally:
        folder.rmdir()
