# SPDX-License-Identifier: Apache-2.0
"""`ilax capture` without an instance, as on somebody's laptop."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ilax.address import parse, parse_prefix, to_wire
from ilax.cli import cli
from ilax.errors import IlaxError
from ilax.frames import Link, Record, decode, pcap
from lab.packets import udp_frame

SIR_PREFIX, LOCATOR, BLOCK = "2001:db8:5a5a:1::/64", "2001:db8:42:7::/64", "2001:db8:42::/48"
SIR, OTHER = "2001:db8:5a5a:1:2000::5", "2001:db8:5a5a:1:2000::9"
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


def wire(cbit: bool = True) -> str:
    return str(to_wire(parse(SIR), parse_prefix(LOCATOR).upper, cbit=cbit))


def write(file: Path, destination: str) -> bytes:
    """A capture of one packet; returns its bytes."""
    raw = udp_frame(MACS, (IPv6Address(OTHER), IPv6Address(destination)), b"text")
    with file.open("wb") as stream:
        pcap.Writer(stream, Link.ETHERNET).write(Record(10**18 + 1, len(raw), raw, Link.ETHERNET))
    return file.read_bytes()


def destination(file: Path) -> str:
    with file.open("rb") as stream:
        (record,) = pcap.read(stream)
    return str(decode(record.data).dst)


def capture(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["capture", *map(str, arguments)], prog_name="ilax")
    if isinstance(result.exception, IlaxError):
        result.exit_code = result.exception.exit_code
    return result


@pytest.mark.parametrize("cbit", [True, False])
@pytest.mark.parametrize("known", ["--block", "--locator"])
def test_there_and_back(tmp_path: Path, cbit: bool, known: str) -> None:
    one, two, three = (tmp_path / name for name in "abc")
    before = write(one, wire(cbit))
    domain = ("--sir-prefix", SIR_PREFIX, "--cbit" if cbit else "--no-cbit")
    prefix = BLOCK if known == "--block" else LOCATOR
    assert capture("to-sir", *domain, known, prefix, one, two).exit_code == 0
    assert destination(two) == SIR
    assert capture("to-wire", *domain, "--locator", LOCATOR, two, three).exit_code == 0
    assert three.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("m.csv", f"sir,wire,action\n{SIR},{wire()},forward\n"),
     ("m.jsonl", f'{{"sir": "{SIR}", "wire": "{wire()}"}}\n'),
     # As an operator writes it for `mapping import`.
     ("l.csv", f"sir,locator\n{SIR},{LOCATOR}\n"),
     ("l.jsonl", f'{{"sir": "{SIR}", "locator": "{LOCATOR}"}}\n')],
)  # fmt: skip
def test_places_come_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    file, one, two = tmp_path / name, tmp_path / "a", tmp_path / "b"
    file.write_text(text)
    for before, after in ((SIR, wire()), (OTHER, OTHER)):
        write(one, before)
        options = ("--sir-prefix", SIR_PREFIX, "--mappings", file)
        assert capture("to-wire", *options, one, two).exit_code == 0
        assert destination(two) == after


def test_what_makes_no_sense_writes_nothing(tmp_path: Path) -> None:
    one, two, bad = tmp_path / "a", tmp_path / "b", tmp_path / "bad.csv"
    before = write(one, wire())
    bad.write_text("sir,wire\nnonsense,::1\n")
    domain = ("--sir-prefix", SIR_PREFIX)
    for arguments in (
        ("to-sir", *domain, one, two),
        ("to-sir", "--block", BLOCK, one, two),
        ("to-sir", *domain, "--block", BLOCK, one, one),
        ("to-sir", *domain, "--block", BLOCK, bad, two),
        ("to-wire", *domain, one, two),
        ("to-sir", "--no-cbit", one, two),
        ("to-wire", "--untyped", "--locator", LOCATOR, one, two),
        ("to-wire", *domain, "--mappings", bad, one, two),
        ("to-wire", *domain, "--locator", LOCATOR, "--mappings", bad, one, two),
    ):
        assert capture(*arguments).exit_code == 2
        assert one.read_bytes() == before
        assert not two.exists()
