# SPDX-License-Identifier: Apache-2.0
"""The shipped self test says what the packet table and the model say."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

import build_objects
from datapath import selftest_rows
from datapath.row import Row
from ilax import selftest
from ilax.contract import schema
from ilax.errors import SelfTestError, UsageError
from ilax.hooks import program_set
from ilax.selftest import runner
from model import process

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")
ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_that_of_the_tests() -> None:
    shipped = Path(selftest.__file__).parent / "table.json"
    assert shipped.read_text() == selftest_rows.text(), "run tools/selftest_table.py"


@pytest.mark.parametrize("row", selftest_rows.rows(), ids=str)
def test_the_model_agrees(row: Row) -> None:
    """Also after rows were moved to a host that has loopback only."""
    outcome = process(row.hook, row.tables, row.packet.frame(row.hook))
    assert outcome.reason == row.reason
    if row.out is not None:
        assert (outcome.data.hex(), outcome.handover) == (row.out.hex(), row.handover)


def test_each_program_and_verdict_is_there() -> None:
    rows = selftest.read().rows
    tried = [runner._PROGRAMS[hook] for hook in {row.hook for row in rows}]
    assert {name for names, _ in tried for name in names} == set(program_set.object_paths())
    assert {program for _, program in tried} == set(program_set.OBJECTS.values())
    verdicts = {(row.hook, row.reason.partition("_")[0]) for row in rows}
    hooks = {"xdp_ingress", "uplink_ingress", "uplink_egress", "container"}
    assert verdicts >= {(hook, verdict) for hook in hooks for verdict in ("pass", "send", "drop")}


@needs_root
def test_the_shipped_programs_pass() -> None:
    assert selftest.run() == len(selftest.read().rows)


@needs_root
@pytest.mark.parametrize("change", ["reason", "out", "handover"])
def test_a_wrong_row_is_named(change: str) -> None:
    table = selftest.read()
    first = table.rows[0]
    wrong = {
        "reason": dataclasses.replace(first, reason="drop_limit"),
        "out": dataclasses.replace(first, out=bytes(len(first.out or b""))),
        "handover": dataclasses.replace(first, handover=b""),
    }[change]
    with pytest.raises(SelfTestError, match=r"1 of \d+ rows failed") as failed:
        selftest.run(table=dataclasses.replace(table, rows=[wrong, *table.rows[1:]]))
    assert first.name in str(failed.value)
    assert failed.value.exit_code == 11


@needs_root
def test_objects_of_others(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has none of ingress\.bpf\.o"):
        selftest.run(tmp_path)
    shipped = schema.object_path("container")
    (tmp_path / "ingress.bpf.o").write_bytes(shipped.read_bytes())
    with pytest.raises(UsageError, match="has no program ilax_uplink_xdp"):
        selftest.run(tmp_path)
    # One that loads and does nothing.
    text = (ROOT / "tc" / "container.bpf.c").read_text()
    source = tmp_path / "container.bpf.c"
    source.write_text(text.replace("ilax_container(ctx, &pkt, &action)", "ILAX_PASS_NOT_OURS"))
    (tmp_path / "ingress.bpf.o").unlink()
    build_objects.build([source], tmp_path)
    with pytest.raises(SelfTestError) as failed:
        selftest.run(tmp_path)
    assert "container: TCP to another host: container pass_not_ours (1) was counted" in str(
        failed.value
    )
