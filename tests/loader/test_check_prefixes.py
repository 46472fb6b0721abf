# SPDX-License-Identifier: Apache-2.0
"""Rows of `ilax_prefixes` that make no sense: any daemon may write some."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest

from ilax import fabric, prefix_rows
from ilax.address import parse_prefix
from ilax.instance import Instance
from ilax.pins import PinFolder
from ilax.prefix_rows import Row

from .conftest import BLOCK, LOCATOR, SIR_PREFIX, UPLINK, Lab, ip, sir
from .test_check import check

CONFLICT = 4
SIR, LOCATOR_KIND, BLOCK_KIND = 1, 2, 3
FLAGS = 3


def _row(prefix: str, kind: int, *, domain: str | None = SIR_PREFIX, flags: int = FLAGS) -> Row:
    parsed = parse_prefix(prefix)
    upper = 0 if domain is None else parse_prefix(domain).upper
    return Row(parsed.upper, parsed.mask, upper, flags, kind)


STRANGE = {
    "a block over the SIR prefix": _row("2001:db8:5a5a::/48", BLOCK_KIND),
    "a locator that is the SIR prefix": _row(SIR_PREFIX, LOCATOR_KIND),
    "a SIR prefix over the locator": _row("2001:db8:42::/56", SIR, domain=None),
    "holes in the mask": replace(_row("2001:db8:77::/64", BLOCK_KIND), mask=0xFFFF << 48 | 0xFF),
    "bits behind the mask": replace(_row("2001:db8:77::/64", BLOCK_KIND), mask=0xFFFF << 48),
    "link-local": _row("fe80::/10", SIR, domain=None),
    "no such kind": _row("2001:db8:77::/64", 200),
    "other flags": _row("2001:db8:77::/48", BLOCK_KIND, flags=0),
    "of no SIR prefix": _row("2001:db8:77::/48", BLOCK_KIND, domain="2001:db8:99::/64"),
}


def _append(lab: Lab, row: Row) -> int:
    """As a daemon does it; returns where."""
    with Instance.open(lab.instance) as instance:
        index = len(prefix_rows.until_end(fabric.read_rows(instance)))
        fabric.write_steps(instance, [(index, row)])
    return index


def _routes(lab: Lab) -> str:
    return subprocess.run(
        ["ip", "-n", lab.namespace, "-6", "route", "show", "proto", "105"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("row", STRANGE.values(), ids=STRANGE.keys())
def test_a_row_is_named_and_stands_in_nobodys_way(running: Lab, row: Row) -> None:
    where = f"row {_append(running, row)} of ilax_prefixes"
    assert where in check(running)[0]["object"]
    (found,) = check(running, "--fix")
    assert (found["id"], found["object"]) == ("prefixes.bad", where)
    status = json.loads(running.ilax("--json", "status").output)
    assert status["sir_prefixes"] == [SIR_PREFIX]
    assert len(status["bad_prefixes"]) == 1
    add = running.ilax("endpoint", "add", sir(5), "--host")
    assert add.exit_code == CONFLICT
    assert where.partition(" of ")[0] in str(add.exception)
    assert "nothing was changed" in str(add.exception)
    # The finding's command is the one that made the instance.
    assert f"--sir-prefix {SIR_PREFIX} --locator {LOCATOR} --block {BLOCK}" in found["command"]
    assert running.up().exit_code == 0
    assert check(running) == []
    _append(running, row)
    assert SIR_PREFIX in _routes(running)
    down = running.ilax("down")
    assert down.exit_code == 0, down.exception
    assert not PinFolder(running.instance).base.exists()
    assert _routes(running) == ""


def test_rows_of_which_nothing_is_left(running: Lab) -> None:
    with Instance.open(running.instance) as instance:
        rows = [replace(row, mask=5) for row in prefix_rows.until_end(fabric.read_rows(instance))]
        fabric.write_steps(instance, enumerate(rows))
    findings = check(running, "--fix")
    assert [found["id"] for found in findings] == ["prefixes.bad"] * 3
    assert running.ilax("status").exit_code == CONFLICT
    assert running.ilax("down").exit_code == 0
    assert not PinFolder(running.instance).base.exists()
    assert _routes(running) == ""


def test_a_row_in_front_of_the_others(running: Lab) -> None:
    """The first row that matches decides: a block before our locator takes its addresses."""
    with Instance.open(running.instance) as instance:
        first, second, *_ = fabric.read_rows(instance)
        block = _row("2001:db8:42::/47", BLOCK_KIND)
        fabric.write_steps(instance, enumerate([block, first, second]))
    (found,) = check(running, "--fix")
    assert (found["id"], found["object"]) == ("prefixes.bad", "row 1 of ilax_prefixes")
    assert "2001:db8:42::/47" in found["seen"]
    assert running.up().exit_code == 0
    assert check(running) == []


def test_a_table_without_room(running: Lab) -> None:
    with Instance.open(running.instance) as instance:
        room = instance.prefixes.map.max_entries
        strange = [
            _row(f"2001:db8:{number:x}::/48", BLOCK_KIND, flags=0) for number in range(3, room)
        ]
        first, second, third, *_ = fabric.read_rows(instance)
        rows = [first, *strange[1:], second, third, strange[0]]
        fabric.write_steps(instance, enumerate(rows))
    findings = check(running)
    assert len(findings) == room - 3
    command = findings[0]["command"]
    assert f"ilax --instance {running.instance} down && " in command
    assert running.up().exit_code == CONFLICT
    assert running.ilax("down").exit_code == 0


@pytest.mark.parametrize("what", ["holes in the mask", "link-local"])
def test_another_instance_does_not_mind(running: Lab, what: str) -> None:
    ip("-n", running.namespace, "link", "add", "up1", "up", "type", "veth", "peer", "up2")
    _append(running, STRANGE[what])
    other = Lab(f"{running.instance}2", running.namespace, running.container)
    done = other.ilax(
        "up", "--uplink", "up1", "--sir-prefix", "2001:db8:5a5a:2::/64",
        "--locator", "2001:db8:43:7::/64",
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    try:
        # Neither what it says of SIR prefixes that make sense.
        again = other.ilax(
            "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", "2001:db8:43:7::/64"
        )
        assert again.exit_code == CONFLICT
    finally:
        assert other.ilax("down").exit_code == 0
