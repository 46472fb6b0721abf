# SPDX-License-Identifier: Apache-2.0
"""Wireshark decodes what the datapath makes of the table's packets.

`row.out` is what the shipped programs make of a packet, to the byte (test_table.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.row import Row
from datapath.test_table import ROWS
from ilax.frames.headers import Link
from ilax.frames.pcap import Writer
from ilax.frames.record import Record
from lab import tshark
from lab.tshark import Opinion
from model import checksum

PARSED = [row for row in ROWS if row.out is not None and len(row.out) >= 54]


def _judge(frames: list[bytes], file: Path) -> list[Opinion]:
    with file.open("wb") as stream:
        writer = Writer(stream, Link.ETHERNET)
        for number, frame in enumerate(frames):
            writer.write(Record(number * 1_000_000_000, len(frame), frame, Link.ETHERNET))
    opinions = tshark.read(file)
    assert len(opinions) == len(frames)
    return opinions


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Row, Opinion, Opinion]]:
    """Rows with what is said of their packets before and afterwards."""
    folder = tmp_path_factory.mktemp("tshark")
    before = _judge([row.packet.data for row in PARSED], folder / "before.pcap")
    after = _judge([row.out or b"" for row in PARSED], folder / "after.pcap")
    return list(zip(PARSED, before, after, strict=True))


def test_no_packet_gets_worse(judged: list[tuple[Row, Opinion, Opinion]]) -> None:
    """Some packets of the table are broken by intention; nothing else may be."""
    worse = {
        str(row): after.faults
        for row, before, after in judged
        if set(after.faults) - set(before.faults)
    }
    assert not worse
    sound = [after for _, before, after in judged if not before.faults]
    assert not [after for after in sound if after.faults]
    assert len(sound) > 200


def test_checksums_that_were_right_are_right(judged: list[tuple[Row, Opinion, Opinion]]) -> None:
    """With wire destinations on the way out, with SIR destinations on the way in."""
    verified = 0
    for row, before, after in judged:
        if not before.good or row.reason in ("PASS_NOT_OURS", "PASS_WIRE"):
            continue
        assert after.good == before.good, str(row)
        verified += row.reason.startswith("SEND")
    assert verified > 100


def test_wireshark_and_the_model_agree(judged: list[tuple[Row, Opinion, Opinion]]) -> None:
    """Two who know nothing of each other say the same of each checksum."""
    for row, _, after in judged:
        packet = (row.out or b"")[14:]
        if row.out is None or row.out[12:14] != b"\x86\xdd" or not after.good:
            continue
        assert checksum.is_right(packet) in (True, None), str(row)
