# SPDX-License-Identifier: Apache-2.0
"""The packet table through the shipped programs, and through the model."""

from __future__ import annotations

from collections import Counter

import pytest

from datapath import rows_egress, rows_icmp6, rows_ingress, rows_limits, rows_vlan
from datapath.row import Row
from datapath.world import World, verdict_code
from ilax.contract import schema
from model import process

ROWS = [*rows_ingress.ROWS, *rows_vlan.ROWS, *rows_icmp6.ROWS, *rows_egress.ROWS, *rows_limits.ROWS]

each_row = pytest.mark.parametrize("row", ROWS, ids=str)


def test_sentences_name_rows() -> None:
    doubles = [sentence for sentence, n in Counter(map(str, ROWS)).items() if n > 1]
    assert not doubles


@each_row
def test_program(world: World, row: Row) -> None:
    world.use(row.tables)
    world.drain()
    drop = row.reason.startswith("DROP")
    expected = process(row.hook, row.tables, row.packet.frame(row.hook))
    if drop or expected.noted:
        world.expect_event(row.hook, row.reason)
    result = world.run(row.hook, row.packet)

    assert result.counted == {(row.hook, row.reason): (1, expected.length)}
    assert result.code == verdict_code(row.hook, row.reason)
    assert result.traffic == expected.traffic
    if not drop:
        assert result.handover == row.handover
        assert result.tag == row.tag
        assert result.data.hex() == (row.out or b"").hex()
    if not drop and not expected.noted:
        assert not world.drain()
        return

    # What is dropped, and what a limit marks or tags, is told.
    (event,) = world.drain()
    captured = min(len(result.data), schema.enum("ilax_size")["ILAX_EVENT_DATA_BYTES"])
    assert (event["hook"], event["reason"]) == (
        row.hook,
        schema.enum("ilax_reason")[f"ILAX_{row.reason}"],
    )
    assert event["ifindex"] == row.packet.frame(row.hook).ifindex
    assert event["slot"] == (expected.sent_by or expected.received_by)
    assert event["len"] == len(result.data)
    assert event["captured"] == captured
    assert bytes(event["data"][:captured]) == result.data[:captured]


@each_row
def test_model(row: Row) -> None:
    outcome = process(row.hook, row.tables, row.packet.frame(row.hook))
    assert outcome.reason == row.reason
    if row.out is not None:
        assert outcome.handover == row.handover
        assert outcome.tag == row.tag
        assert outcome.data.hex() == row.out.hex()


def test_each_reason_has_a_row() -> None:
    """Except those of test_metadata.py and test_live.py, and one that nothing reaches."""
    known = {name.removeprefix("ILAX_") for name in schema.enum("ilax_reason")}
    not_reasons = {"DROP_USER", "REASON_COUNT"}
    elsewhere = {"PASS_NO_METADATA", "SEND_HANDOVER", "PASS_HANDOVER"}
    unreachable = {"DROP_REWRITE"}  # the kernel would have to refuse a checked store
    assert known - {row.reason for row in ROWS} == not_reasons | elsewhere | unreachable
