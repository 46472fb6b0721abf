# SPDX-License-Identifier: Apache-2.0
"""Rows that only a daemon can have written: each is named, and what is safe is mended."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from ilax.address import Address, parse
from ilax.bpf.map import ANY
from ilax.contract.tables import index_key
from ilax.instances.instance import Instance
from ilax.limiting.limit_book import Book
from lab.cgroups import Cgroups, own_cgroups

from .conftest import OTHER_LOCATOR, TAG, Lab, sir
from .hostile import wire
from .test_check import check, ids

FAR = "2001:db8:99::5"
NO_SLOT = 99999


@pytest.fixture
def own() -> Iterator[Cgroups]:
    """a, b and c, side by side."""
    with own_cgroups(f"{TAG}rows") as made:
        for path in ("a", "b", "c"):
            made.make(path)
        yield made


def _obey(lab: Lab, finding: dict[str, Any]) -> None:
    """Run the command that a finding names."""
    program, _, _, *arguments = shlex.split(finding["command"])
    assert program == "ilax"
    done = lab.ilax(*arguments)
    assert done.exit_code == 0, done.exception


def _endpoint(lab: Lab, key: Address, **fields: object) -> None:
    """A row like that of a host's address."""
    with Instance.open(lab.instance) as instance:
        row = instance.endpoints.new()[0]
        row["wire"] = (key.prefix, key.identifier)
        row["sir"] = (parse(sir(5)).prefix, parse(sir(5)).identifier)
        row["delivery"] = 2
        for name, value in fields.items():
            row[name] = value
        instance.endpoints.put(key.packed, row, ANY)


STRANGE: dict[str, tuple[str, dict[str, object]]] = {
    "under another key": (str(wire(5)), {"wire": (1, 2)}),
    "no way of delivery": (str(wire(5)), {"delivery": 200}),
    "no such slot": (str(wire(5)), {"slot": 0xFFFFFFFF, "generation": 0xFFFFFFFF}),
    "no such device": (str(wire(5)), {"delivery": 200, "ifindex": 0xFFFFFFFF}),
}


@pytest.mark.parametrize(("key", "fields"), STRANGE.values(), ids=STRANGE.keys())
def test_endpoints(running: Lab, key: str, fields: dict[str, object]) -> None:
    _endpoint(running, parse(key), **fields)
    found = {one["id"]: one for one in check(running, "--fix")}
    bad = found["endpoint.bad-row"]
    assert bad["object"] == sir(5)
    for command in (["endpoint", "show", sir(5)], ["endpoint", "list"], ["export"]):
        done = running.ilax(*command)
        assert done.exit_code == 0, (command, done.exception)
    set_ = running.ilax("endpoint", "set", sir(5), "--cgroup", "none")
    assert set_.exit_code == 0, set_.exception
    _obey(running, bad)
    # Its local mapping was made by --fix, and went with it where it led there.
    for one in check(running):
        _obey(running, one)
    assert check(running) == []


def test_an_endpoint_of_no_task_can_be_deleted(running: Lab) -> None:
    """Of an address below no SIR prefix: there is no other way to get rid of it."""
    _endpoint(running, wire(5), sir=(parse(FAR).prefix, parse(FAR).identifier))
    (found,) = [one for one in check(running) if one["id"] == "endpoint.outside"]
    _obey(running, found)
    assert "endpoint.outside" not in ids(running)


def test_numbers_that_cannot_rise(running: Lab) -> None:
    assert running.ilax("mapping", "add", sir(5), "--locator", OTHER_LOCATOR).exit_code == 0
    with Instance.open(running.instance) as instance:
        row = instance.mappings.get(parse(sir(5)).packed)
        assert row is not None
        row = row.copy()
        row["generation"] = 2**64 - 1
        instance.mappings.put(parse(sir(5)).packed, row)
    text = f"sir,locator\n{sir(5)},2001:db8:42:9::/64\n"
    assert running.ilax("mapping", "import", "-", text=text).exit_code == 0
    assert running.ilax("mapping", "add", sir(5), "--locator", OTHER_LOCATOR).exit_code == 0
    with Instance.open(running.instance) as instance:
        row = instance.mappings.get(parse(sir(5)).packed)
        assert row is not None and int(row["generation"]) == 2**64 - 1


@pytest.mark.parametrize("outside", [True, False])
def test_mappings(running: Lab, outside: bool) -> None:
    key = parse(FAR if outside else sir(5))
    with Instance.open(running.instance) as instance:
        row = instance.mappings.new()[0]
        # Equal words, so that checksums stay right.
        row["wire"], row["action"] = (key.prefix, key.identifier), 2 if outside else 200
        instance.mappings.put(key.packed, row)
    found = {one["id"]: one for one in check(running, "--fix")}
    assert found["mapping.bad"]["object"] == str(key)
    assert ("outside" in found["mapping.bad"]["seen"]) == outside
    assert running.ilax("export").exit_code == 0
    _obey(running, found["mapping.bad"])
    assert check(running) == []


READERS = (
    ["limit", "list"],
    ["limit", "gc", "--dry-run"],
    ["limit", "watch", "--count", "1", "--interval", "10ms"],
    ["top", "--once", "--interval", "100ms"],
    ["export"],
    ["exporter", "--once"],
)


def test_a_cgroup_of_no_slot(running: Lab, own: Cgroups) -> None:
    assert running.ilax("limit", "set", f"{own.name}/a", "--rate", "100mbit").exit_code == 0
    stray = {own.id("b"): NO_SLOT, own.id("c"): 1, 2**64 - 1: 0}
    with Instance.open(running.instance) as instance:
        before = instance.limits.get(index_key(1))
        for cgroup, slot in stray.items():
            instance.cgroups.update(cgroup.to_bytes(8, "little"), index_key(slot))
    for command in READERS:
        done = running.ilax(*command)
        assert done.exit_code == 0, (command, done.exception)
    bad = [one for one in check(running) if one["id"] == "limit.bad-row"]
    assert {one["object"] for one in bad} == {f"cgroup {number}" for number in stray}
    assert len(check(running)) == len(bad)
    assert check(running, "--fix") == []
    with Instance.open(running.instance) as instance:
        # The limit whose slot was claimed by another cgroup as well is as it was.
        assert instance.limits.get(index_key(1)) == before
        assert Book(instance).slots == {own.id("a"): 1}


def test_a_cgroup_of_no_slot_gets_one(running: Lab, own: Cgroups) -> None:
    with Instance.open(running.instance) as instance:
        instance.cgroups.update(own.id("a").to_bytes(8, "little"), index_key(NO_SLOT))
    assert running.ilax("limit", "set", f"{own.name}/a", "--rate", "100mbit").exit_code == 0
    assert check(running) == []


@pytest.mark.parametrize("field", ["action", "chunk"])
def test_rules_that_are_none(running: Lab, own: Cgroups, field: str) -> None:
    assert running.ilax("limit", "set", f"{own.name}/a", "--rate", "100mbit").exit_code == 0
    with Instance.open(running.instance) as instance:
        row = instance.limits.get(index_key(1))
        assert row is not None
        row = row.copy()
        row[field] = 200
        instance.limits.put(index_key(1), row)
    for command in READERS:
        done = running.ilax(*command)
        assert done.exit_code == 0, (command, done.exception)
    (found,) = check(running, "--fix")
    assert (found["id"], found["object"]) == ("limit.bad-rules", f"cgroup {own.id('a')}")
    _obey(running, found)
    assert check(running) == []


def test_parents_in_a_circle(running: Lab, own: Cgroups) -> None:
    for path in ("a", "b", "c"):
        done = running.ilax("limit", "set", f"{own.name}/{path}", "--rate", "100mbit")
        assert done.exit_code == 0
    with Instance.open(running.instance) as instance:
        slots = Book(instance).slots
        for path, above in (("a", "b"), ("b", "a"), ("c", "c")):
            slot = slots[own.id(path)]
            row = instance.limits.get(index_key(slot))
            assert row is not None
            row = row.copy()
            row["parents"][0] = slots[own.id(above)]
            instance.limits.put(index_key(slot), row)
    for command in READERS:
        done = running.ilax(*command)
        assert done.exit_code == 0, (command, done.exception)
    findings = check(running)
    assert {one["id"] for one in findings} == {"limit.parents"}
    assert {one["object"] for one in findings} == {f"cgroup {own.name}/{n}" for n in "abc"}
    assert check(running, "--fix") == []
    assert running.ilax("limit", "del", f"{own.name}/a").exit_code == 0
