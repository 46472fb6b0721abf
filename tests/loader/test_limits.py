# SPDX-License-Identifier: Apache-2.0
"""Limits by the command line: what is set, what is refused, and what else changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ilax.contract.tables import index_key
from ilax.hooks import cgroup_attach
from ilax.instances.instance import Instance
from ilax.limiting import limit_book, limits
from ilax.limiting.limit_book import Book
from lab.cgroups import Cgroups, own_cgroups
from lab.wait import until

from .conftest import TAG, Lab, sir
from .limit_state import State, assert_safe, assert_tidy, read

# Several runs may be at work at the same time.
OWN = f"{TAG}limits"
USAGE, NOT_FOUND, FULL = 2, 3, 8
DIED = 42


@pytest.fixture
def own() -> Iterator[Cgroups]:
    """a/b/c, a/d and e."""
    with own_cgroups(OWN) as made:
        for path in ("a/b/c", "a/d", "e"):
            made.make(path)
        yield made


def ok(lab: Lab, *arguments: str) -> Any:
    """Run a command that has to succeed; returns its JSON."""
    result = lab.ilax("--json", *arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return json.loads(result.output)


def limit_set(lab: Lab, cgroup: str, *arguments: str) -> Any:
    return ok(lab, "limit", "set", cgroup, *(arguments or ("--rate", "100mbit")))


def parents(lab: Lab) -> dict[str, list[str]]:
    """Parents of each limit, by cgroup, without the test's own folder."""
    prefix = f"{OWN}/"
    return {
        one["cgroup"].removeprefix(prefix): [p.removeprefix(prefix) for p in one["parents"]]
        for one in ok(lab, "limit", "list")
    }


# --- setting -------------------------------------------------------------------


def test_a_limit_comes_and_goes(running: Lab, own: Cgroups) -> None:
    before = read(running.instance)
    shown = limit_set(running, f"{own.name}/a", "--rate", "200mbit", "--pps", "50k")
    assert (shown["rate"], shown["packets"], shown["burst_ns"]) == (200_000_000, 50_000, 1_000_000)
    assert (shown["id"], shown["depth"], shown["attached"]) == (own.id("a"), 2, True)
    assert_tidy(read(running.instance))
    assert ok(running, "limit", "show", f"{own.name}/a")["counted"]["passed_packets"] == 0
    assert "200Mbit" in running.ilax("limit", "list").output
    assert "--rate 200Mbit --pps 50k" in running.ilax("limit", "show", f"{own.name}/a").output
    ok(running, "limit", "del", f"{own.name}/a")
    after = read(running.instance)
    assert (after.slots, after.pins) == (before.slots, before.pins) == ({}, set())
    for command in ("del", "show"):
        assert running.ilax("limit", command, f"{own.name}/a").exit_code == NOT_FOUND


def test_the_row_is_what_the_contract_says(running: Lab, own: Cgroups) -> None:
    limit_set(
        running, f"{own.name}/a", "--rate", "200mbit", "--pps", "50k", "--burst", "2ms",
        "--mark-at", "300us", "--drop-at", "3ms", "--small-extra", "7us", "--action", "tag",
        "--tag-mark", "0x10", "--tag-priority", "6",
    )  # fmt: skip
    with Instance.open(running.instance) as instance:
        row: Any = instance.limits.get(index_key(read(running.instance).slots[own.id("a")]))
    assert [int(row[name]) for name in (
        "byte_cost", "packet_cost", "burst", "mark", "drop", "small", "tag_mark", "tag_prio",
        "action", "flags", "depth",
    )] == [2_621_440, 1_280_000, 2_000_000, 300_000, 3_000_000, 7000, 16, 6, 2, 0, 2]  # fmt: skip
    assert row["parents"].tolist() == [0] * 4


def test_only_named_options_change(running: Lab, own: Cgroups) -> None:
    first = limit_set(running, f"{own.name}/a", "--rate", "1gbit", "--pps", "9k", "--burst", "3ms")
    second = limit_set(running, f"{own.name}/a", "--rate", "2gbit")
    assert second["generation"] == first["generation"] + 1
    changed = {name for name in first if first[name] != second[name]}
    assert changed <= {"rate", "generation"}
    assert limit_set(running, f"{own.name}/a", "--pps", "none")["packets"] is None


REFUSED = {
    "nothing": ([], "needs a rate"),
    "zero rate": (["--rate", "0mbit"], "not above zero"),
    "negative rate": (["--rate", "-1mbit"], "not above zero"),
    "no rate": (["--rate", "fast"], "no rate"),
    "too fast": (["--rate", "9tbit"], "too high"),
    "too slow": (["--rate", "1kbit"], "does not hold one"),
    "zero packets": (["--pps", "0"], "not above zero"),
    "short burst": (["--rate", "1mbit", "--burst", "1ms"], "does not hold one"),
    "long burst": (["--rate", "1gbit", "--burst", "5s"], "does not fit"),
    "long threshold": (["--rate", "1gbit", "--drop-at", "4.3s"], "does not fit"),
    "no unit": (["--rate", "1gbit", "--burst", "5"], "no unit"),
    "marks behind drops": (
        ["--rate", "1gbit", "--action", "mark", "--mark-at", "2ms", "--drop-at", "1ms"],
        "never be reached",
    ),
    "unknown action": (["--rate", "1gbit", "--action", "police"], "is no action"),
    "marks of drops": (["--rate", "1gbit", "--mark-at", "5us"], "--mark-at has no meaning"),
    "tag without the action": (["--rate", "1gbit", "--tag-mark", "1"], "--action tag"),
    "no number": (["--rate", "1gbit", "--action", "tag", "--tag-mark", "x"], "no number"),
    "parent without a limit": (["--rate", "1gbit", "--parent", f"{OWN}/a/d"], "has no limit"),
    "parent with an empty row": (["--rate", "1gbit", "--parent", f"{OWN}/e"], "has no limit"),
    "unknown parent": (["--rate", "1gbit", "--parent", f"{OWN}/x"], "does not exist"),
    "its own parent": (["--rate", "1gbit", "--parent", f"{OWN}/a"], "its own parent"),
    "a cycle": (["--rate", "1gbit", "--parent", f"{OWN}/a/b"], "its own parent"),
}


# Naming no option of a limit in force is fine, and changes nothing.
@pytest.mark.parametrize(
    ("name", "fresh"),
    [*((name, True) for name in REFUSED), *((n, False) for n in REFUSED if n != "nothing")],
)
def test_nonsense_is_refused_and_changes_nothing(
    running: Lab, own: Cgroups, name: str, fresh: bool
) -> None:
    arguments, words = REFUSED[name]
    if not fresh:
        limit_set(running, f"{own.name}/a")
    elif name in ("its own parent", "a cycle"):
        words = "its own parent|has no limit"
    limit_set(running, f"{own.name}/a/b")
    ok(running, "endpoint", "add", sir(5), "--netns", running.container, "--cgroup",
       f"{own.name}/e")  # fmt: skip
    before = read(running.instance)
    result = running.ilax("limit", "set", f"{own.name}/a", *arguments)
    assert result.exit_code in (USAGE, NOT_FOUND), result.output
    import re

    told = f"{result.exception} {getattr(result.exception, 'hint', '')}"
    assert re.search(words, told), told
    assert read(running.instance) == before


def test_what_is_no_cgroup_is_refused(running: Lab, own: Cgroups) -> None:
    for text, code in (("/tmp", USAGE), ("no/such", NOT_FOUND), ("999999999", NOT_FOUND)):
        for command in (["limit", "set", text, "--rate", "1mbit"], ["limit", "del", text],
                        ["limit", "show", text]):  # fmt: skip
            assert running.ilax(*command).exit_code == code
    result = running.ilax(
        "endpoint", "add", sir(5), "--netns", running.container, "--cgroup", "no/such"
    )
    assert result.exit_code == NOT_FOUND
    assert ok(running, "endpoint", "list") == []


# --- parents -------------------------------------------------------------------


def test_parents_follow_the_tree_in_any_order(running: Lab, own: Cgroups) -> None:
    limit_set(running, f"{own.name}/a/b/c")
    moved = limit_set(running, f"{own.name}/a")["moved"]
    assert moved == [f"{own.name}/a/b/c"]
    limit_set(running, f"{own.name}/a/b")
    assert parents(running) == {"a": [], "a/b": ["a"], "a/b/c": ["a/b", "a"]}
    assert_tidy(read(running.instance))
    ok(running, "limit", "del", f"{own.name}/a/b")
    assert parents(running) == {"a": [], "a/b/c": ["a"]}
    ok(running, "limit", "del", f"{own.name}/a")
    assert parents(running) == {"a/b/c": []}
    assert_tidy(read(running.instance))


def test_a_chosen_parent_stays(running: Lab, own: Cgroups) -> None:
    limit_set(running, f"{own.name}/e")
    limit_set(running, f"{own.name}/a/b", "--rate", "1mbit", "--parent", f"{own.name}/e")
    limit_set(running, f"{own.name}/a")
    limit_set(running, f"{own.name}/a/b", "--rate", "2mbit")
    limit_set(running, f"{own.name}/a/d", "--rate", "2mbit", "--parent", "none")
    assert parents(running) == {"a": [], "a/b": ["e"], "a/d": [], "e": []}
    limit_set(running, f"{own.name}/a/b", "--parent", "auto")
    assert parents(running)["a/b"] == ["a"]


def test_a_fifth_level_is_refused(running: Lab, own: Cgroups) -> None:
    path = "p"
    for _ in range(5):
        limit_set(running, own.make(path))
        path += "/p"
    before = read(running.instance)
    for name in (own.make(path), own.name):
        result = running.ilax("limit", "set", name, "--rate", "1mbit")
        assert result.exit_code == USAGE
        assert "5 levels of parents" in str(result.exception)
    assert read(running.instance) == before
    assert (
        limit_set(running, own.make(path), "--rate", "1mbit", "--parent", "none")["parents"] == []
    )


# --- endpoints -------------------------------------------------------------------


def add(lab: Lab, number: int, *arguments: str) -> None:
    ok(lab, "endpoint", "add", sir(number), "--netns", lab.container, "--device", f"eth{number}",
       *arguments)  # fmt: skip


def test_a_limit_that_endpoints_name_keeps_its_program(running: Lab, own: Cgroups) -> None:
    """Else what does not come by the endpoint would be charged nowhere."""
    name, number = f"{own.name}/a", own.id("a")
    limit_set(running, name)
    with Instance.open(running.instance) as instance:
        pin = instance.pins.links / f"cgroup_{number}"
    link = pin.stat().st_ino
    add(running, 5, "--cgroup", name)
    ok(running, "endpoint", "add", sir(6), "--host", "--cgroup", name)
    state = read(running.instance)
    assert set(state.users.values()) == {state.slots[number]}
    assert_tidy(state)
    assert ok(running, "endpoint", "show", sir(5))["cgroup"] == name
    assert ok(running, "limit", "show", name)["endpoints"] == [sir(5), sir(6)]
    ok(running, "endpoint", "del", sir(5))
    ok(running, "endpoint", "set", sir(6), "--cgroup", "none")
    ok(running, "endpoint", "set", sir(6), "--cgroup", name)
    ok(running, "endpoint", "del", sir(6))
    state = read(running.instance)
    assert state.attached == {number: state.slots[number]}
    assert pin.stat().st_ino == link, "it was attached anew: there was a moment without"
    assert_tidy(state)


def test_a_limit_and_not_its_row_is_what_needs_the_program(running: Lab, own: Cgroups) -> None:
    name, number = f"{own.name}/a", own.id("a")
    add(running, 5, "--cgroup", name)
    assert number not in read(running.instance).pins
    limit_set(running, name)
    assert number in read(running.instance).attached
    ok(running, "limit", "del", name)
    state = read(running.instance)
    assert number in state.slots
    assert number not in state.pins
    assert_tidy(state)


def test_a_limit_that_comes_later_takes_effect_at_once(running: Lab, own: Cgroups) -> None:
    """The endpoint's row does not change: it named the slot before there was a limit."""
    name = f"{own.name}/a/b"
    limit_set(running, f"{own.name}/a")
    add(running, 5, "--cgroup", name)
    before = read(running.instance)
    slot = before.users[sir(5)]
    assert slot not in before.limited
    assert parents(running)["a/b"] == ["a"]
    shown = limit_set(running, name)
    assert (shown["slot"], shown["attached"]) == (slot, True)
    state = read(running.instance)
    assert state.users == before.users
    assert slot in state.limited
    ok(running, "limit", "del", name)
    assert read(running.instance).users == before.users
    assert slot not in read(running.instance).limited
    assert_tidy(read(running.instance))
    ok(running, "endpoint", "del", sir(5))
    assert own.id("a/b") not in read(running.instance).slots
    assert_tidy(read(running.instance))


def test_an_endpoint_changes_its_cgroup(running: Lab, own: Cgroups) -> None:
    add(running, 5)
    limit_set(running, f"{own.name}/a")
    first = ok(running, "endpoint", "show", sir(5))
    for path in ("a", "e", None, "a", "a"):
        name = f"{own.name}/{path}" if path else "none"
        ok(running, "endpoint", "set", sir(5), "--cgroup", name)
        state = read(running.instance)
        assert_tidy(state)
        assert own.id("a") in state.attached
        assert (own.id("e") in state.slots) == (path == "e")
        assert ok(running, "endpoint", "show", sir(5))["cgroup"] == (name if path else None)
    last = ok(running, "endpoint", "show", sir(5))
    kept = {"sir", "wire", "delivery", "ifindex", "mac", "host_mac", "mtu", "slot", "owns_link"}
    assert {name: last[name] for name in kept} == {name: first[name] for name in kept}
    assert last["generation"] == first["generation"] + 4
    assert running.ilax("endpoint", "set", sir(9), "--cgroup", "none").exit_code == NOT_FOUND


def test_a_host_address_keeps_its_cgroup_at_the_next_up(running: Lab, own: Cgroups) -> None:
    ok(running, "endpoint", "add", sir(6), "--host", "--cgroup", f"{own.name}/a")
    before = read(running.instance).users
    assert running.up("--host-address", sir(6)).exit_code == 0
    assert read(running.instance).users == before != {}
    ok(running, "endpoint", "add", sir(6), "--host", "--cgroup", f"{own.name}/e")
    assert set(read(running.instance).slots) == {own.id("e")}
    assert_tidy(read(running.instance))


def test_an_endpoint_that_cannot_be_made_leaves_no_row(running: Lab, own: Cgroups) -> None:
    before = read(running.instance)
    result = running.ilax(
        "endpoint", "add", sir(5), "--netns", running.container, "--device", "far",
        "--cgroup", f"{own.name}/a",
    )  # fmt: skip
    assert result.exit_code not in (0, NOT_FOUND)
    state = read(running.instance)
    assert (state.slots, state.users) == (before.slots, before.users) == ({}, {})


# --- slots -------------------------------------------------------------------------


def _leave_traces(lab: Lab, slot: int) -> None:
    """What a datapath writes: a backlog far ahead, and counters."""
    with Instance.open(lab.instance) as instance:
        row = instance.backlogs.new()[0]
        row["until"], row["refilled"] = 1 << 62, 12345
        for name in row["total"].dtype.names:
            row["total"][name] = 77
        instance.backlogs.put(index_key(slot), row)


def _traces(lab: Lab, slot: int) -> bytes:
    with Instance.open(lab.instance) as instance:
        return instance.backlogs.map.lookup(index_key(slot)) or b""


def test_only_a_new_limit_begins_at_zero(running: Lab, own: Cgroups) -> None:
    slot = limit_set(running, f"{own.name}/a")["slot"]
    _leave_traces(running, slot)
    traces = _traces(running, slot)
    limit_set(running, f"{own.name}/a", "--rate", "1mbit")
    limit_set(running, f"{own.name}/a/b")
    add(running, 5, "--cgroup", f"{own.name}/a")
    running.up()
    ok(running, "limit", "gc")
    ok(running, "limit", "del", f"{own.name}/a/b")
    assert _traces(running, slot) == traces
    shown = ok(running, "limit", "show", f"{own.name}/a")
    assert shown["backlog_ns"] > 0
    assert shown["refilled_ns"] == 12345
    ok(running, "endpoint", "del", sir(5))
    ok(running, "limit", "del", f"{own.name}/a")
    generation = read(running.instance).generations[slot]
    again = limit_set(running, f"{own.name}/e")
    assert again["slot"] == slot
    # Time that a CPU borrowed for the old limit must not fit the new one.
    assert again["generation"] >> 16 == (generation >> 16) + 1
    assert not any(_traces(running, slot))
    assert again["idle_ns"] is None


def test_a_full_table_says_so_and_loses_nothing(lab: Lab, own: Cgroups) -> None:
    assert lab.up("--max-limits", "4").exit_code == 0
    for path in ("a", "a/b", "a/b/c"):
        limit_set(lab, f"{own.name}/{path}")
    before = read(lab.instance)
    result = lab.ilax("limit", "set", f"{own.name}/e", "--rate", "1mbit")
    assert result.exit_code == FULL
    assert "max-limits" in str(getattr(result.exception, "hint", ""))
    result = lab.ilax("endpoint", "add", sir(5), "--netns", lab.container, "--cgroup",
                      f"{own.name}/e")  # fmt: skip
    assert result.exit_code == FULL
    assert read(lab.instance) == before
    assert ok(lab, "status")["capacities"]["ilax_limits"] == 4
    assert ok(lab, "status")["limits"] == 3
    ok(lab, "limit", "del", f"{own.name}/a")
    limit_set(lab, f"{own.name}/e")
    assert_tidy(read(lab.instance))


def test_what_was_done_before_the_table_was_full_is_told(lab: Lab, own: Cgroups) -> None:
    assert lab.up("--max-limits", "2").exit_code == 0
    limit_set(lab, f"{own.name}/a")
    ok(lab, "endpoint", "add", sir(5), "--netns", lab.container)
    wanted = ("--delivery", "xdp", "--cgroup", f"{own.name}/e")
    result = lab.ilax("endpoint", "set", sir(5), *wanted)
    assert result.exit_code == FULL
    (note,) = result.exception.__notes__  # type: ignore[union-attr]
    assert note == f"endpoint {sir(5)} has delivery xdp: this is done"
    assert ok(lab, "endpoint", "show", sir(5))["delivery"] == "xdp"
    assert_tidy(read(lab.instance))


def test_a_table_cannot_be_resized(running: Lab) -> None:
    result = running.up("--max-limits", "9")
    assert result.exit_code == 4
    assert "--max-limits" in str(getattr(result.exception, "hint", ""))


# --- removed cgroups ---------------------------------------------------------------


def _scene(running: Lab, own: Cgroups) -> None:
    limit_set(running, own.name)
    limit_set(running, f"{own.name}/a")
    limit_set(running, f"{own.name}/e", "--rate", "1mbit", "--parent", f"{own.name}/a")
    add(running, 5, "--cgroup", f"{own.name}/a/b")
    limit_set(running, f"{own.name}/a/b")
    limit_set(running, f"{own.name}/a/d")


def _let_go(lab: Lab, *numbers: int) -> None:
    """Wait until the kernel has taken the programs off removed cgroups."""
    for number in numbers:
        until(lambda: number not in read(lab.instance).attached, f"end of link {number}")  # noqa: B023


def test_gc_removes_what_belongs_to_removed_cgroups(running: Lab, own: Cgroups) -> None:
    _scene(running, own)
    numbers = {path: own.id(path) for path in ("a", "a/b", "a/d")}
    slots = read(running.instance).slots
    own.remove("a")
    _let_go(running, *numbers.values())
    before = read(running.instance)
    assert ok(running, "limit", "gc", "--dry-run")["removed"]
    assert read(running.instance) == before
    assert "(gone)" in running.ilax("limit", "list").output
    assert "(gone)" in running.ilax("limit", "show", str(numbers["a"])).output

    found = ok(running, "limit", "gc")
    assert not found["dry_run"]
    removed = {one["cgroup"]: one for one in found["removed"]}
    assert set(removed) == set(numbers.values())
    assert removed[numbers["a/b"]]["endpoints"] == [sir(5)]
    assert removed[numbers["a"]]["children"] == [f"{own.name}/e"]
    assert removed[numbers["a/d"]]["slot"] == slots[numbers["a/d"]]
    assert set(found["detached"]) == set(numbers.values())
    state = read(running.instance)
    assert_tidy(state)
    assert state.users == {}
    assert ok(running, "endpoint", "show", sir(5))["limit"] == 0
    assert parents(running) == {own.name: [], "e": [own.name]}
    assert running.ilax("limit", "gc").output == "nothing to do\n"


def test_one_that_is_gone_is_named_by_its_number(running: Lab, own: Cgroups) -> None:
    limit_set(running, f"{own.name}/e")
    number = own.id("e")
    own.remove("e")
    assert running.ilax("limit", "del", f"{own.name}/e").exit_code == NOT_FOUND
    ok(running, "limit", "del", str(number))
    assert_tidy(read(running.instance))


def test_a_new_cgroup_of_the_same_path_is_another_one(running: Lab, own: Cgroups) -> None:
    limit_set(running, f"{own.name}/e")
    own.remove("e")
    own.make("e")
    assert running.ilax("limit", "show", f"{own.name}/e").exit_code == NOT_FOUND
    limit_set(running, f"{own.name}/e", "--rate", "1mbit")
    ok(running, "limit", "gc")
    assert set(read(running.instance).slots) == {own.id("e")}
    assert_tidy(read(running.instance))


def test_gc_repairs_what_others_broke(running: Lab, own: Cgroups) -> None:
    _scene(running, own)
    with Instance.open(running.instance) as instance:
        number = own.id("a/d")
        (instance.pins.links / f"cgroup_{number}").unlink()
        slots = read(running.instance).slots
        row = instance.limits.get(index_key(slots[own.id("a")]))
        assert row is not None
        row = row.copy()
        row["flags"] = 0
        instance.limits.put(index_key(slots[own.id("a")]), row)
        cgroup_attach.set_slot(instance, own.id("e"), 0)
        # A daemon that removed an endpoint and nothing else.
        for key in list(instance.endpoints.map.keys()):
            instance.endpoints.delete(key)
    found = ok(running, "limit", "gc")
    assert found["attached"] == [f"{own.name}/{path}" for path in ("a/d", "e")]
    assert found["rewritten"] == [f"{own.name}/a"]
    assert_tidy(read(running.instance))


def test_down_works_while_cgroups_are_gone(running: Lab, own: Cgroups) -> None:
    _scene(running, own)
    pins = Path("/sys/fs/bpf/ilax") / running.instance
    own.remove("a")
    assert running.ilax("down").exit_code == 0
    assert not pins.exists()


def test_up_again_swaps_the_programs_at_cgroups(running: Lab, own: Cgroups) -> None:
    from ilax.bpf import Link

    _scene(running, own)
    gone = own.id("a/d")
    own.remove("a/d")
    _let_go(running, gone)

    def programs() -> dict[str, tuple[int, int]]:
        found = {}
        for pin in (Path("/sys/fs/bpf/ilax") / running.instance / "v1/links").glob("cgroup_*"):
            with Link.open_pinned(pin) as link:
                info = link.info()
                found[pin.name] = (info.cgroup, info.program_id)
        return found

    before, state = programs(), read(running.instance)
    assert running.up().exit_code == 0
    after = programs()
    assert after.keys() == before.keys()
    for name, (cgroup, program) in after.items():
        assert (program != before[name][1]) == bool(cgroup)
        assert bool(cgroup) == (name != f"cgroup_{gone}")
    assert read(running.instance) == state
    status = running.ilax("status").output
    assert f"cgroup {own.name}/a" in status
    assert "gone" in status


# --- half done ---------------------------------------------------------------------

STEPS: dict[str, Callable[..., object]] = {
    "allocate": Book.allocate,
    "row": Book._write,
    "attach": cgroup_attach.attach,
    "publish": Book.publish,
    "rewrite": Book.rewrite,
    "slot": cgroup_attach.set_slot,
    "detach": cgroup_attach.detach,
    "withdraw": Book.withdraw,
    "clear": Book.clear,
    "point": Book.point,
}
OWNERS = {"attach": cgroup_attach, "slot": cgroup_attach, "detach": cgroup_attach}
COMMANDS = {
    "set new": ["limit", "set", f"{OWN}/a/b", "--rate", "1mbit"],
    "set old": ["limit", "set", f"{OWN}/a", "--rate", "1mbit", "--parent", "none"],
    "del": ["limit", "del", f"{OWN}/a"],
    "del named": ["limit", "del", f"{OWN}/a/d"],
    "endpoint set": ["endpoint", "set", sir(5), "--cgroup", f"{OWN}/e"],
    "endpoint set none": ["endpoint", "set", sir(7), "--cgroup", "none"],
    "endpoint add": ["endpoint", "add", sir(6), "--host", "--cgroup", f"{OWN}/a/b"],
    "endpoint del": ["endpoint", "del", sir(7)],
    "gc": ["limit", "gc"],
}


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_loader_leaves_nothing_that_gc_cannot_clear(
    running: Lab, own: Cgroups, monkeypatch: pytest.MonkeyPatch, command: str, late: bool
) -> None:
    """Die before or after each step that a command takes; then collect."""
    taken: list[str] = []
    _prepare(running, own, command)
    with monkeypatch.context() as patch:
        for step, function in STEPS.items():
            patch.setattr(OWNERS.get(step, Book), function.__name__, _noting(function, step, taken))
        ok(running, *COMMANDS[command])
    _clear(running)
    assert len(set(taken)) >= 2
    for step in dict.fromkeys(taken):
        _prepare(running, own, command)
        child = os.fork()
        if not child:
            owner, function = OWNERS.get(step, Book), STEPS[step]
            monkeypatch.setattr(owner, function.__name__, _dying(function, late=late))
            running.ilax(*COMMANDS[command])
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED, step
        assert_safe(read(running.instance))
        ok(running, "limit", "gc")
        assert_tidy(read(running.instance))
        _clear(running)


def _prepare(lab: Lab, own: Cgroups, command: str) -> None:
    for path in ("a/b/c", "a/d", "e", "f", "g"):
        own.make(path)
    for path in ("", "a", "a/b/c", "a/d", "f"):
        limit_set(lab, f"{own.name}/{path}")
    add(lab, 5, "--cgroup", f"{own.name}/a/d")
    # Its row goes with it: it limits nothing.
    ok(lab, "endpoint", "add", sir(7), "--host", "--cgroup", f"{own.name}/g")
    if command == "gc":
        own.remove("f")
        own.remove("a/d")


def _clear(lab: Lab) -> None:
    for one in ok(lab, "endpoint", "list"):
        ok(lab, "endpoint", "del", one["sir"])
    for cgroup in read(lab.instance).slots:
        ok(lab, "limit", "del", str(cgroup))
    state = read(lab.instance)
    assert (state.slots, state.pins, state.users) == ({}, set(), {})


def _noting(function: Callable[..., Any], step: str, taken: list[str]) -> Callable[..., Any]:
    def note(*arguments: object, **named: object) -> Any:
        taken.append(step)
        return function(*arguments, **named)

    return note


def _dying(function: Callable[..., object], *, late: bool) -> Callable[..., None]:
    def die(*arguments: object, **named: object) -> None:
        try:
            if late:
                function(*arguments, **named)
        finally:
            os._exit(DIED)

    return die


# --- watching ----------------------------------------------------------------------


def test_watch_tells_rates_between_readings(own: Cgroups) -> None:
    from ilax.limiting.limit_readings import Counted, Sample, rates

    def counts(factor: int) -> Counted:
        return Counted(
            passed_packets=5 * factor, passed_bytes=50 * factor, dropped_packets=7 * factor,
            dropped_bytes=70 * factor, marked_packets=factor, marked_bytes=10 * factor,
            tagged_packets=2 * factor, tagged_bytes=20 * factor,
        )  # fmt: skip

    number, use = own.id("a"), (1, 1)
    before = Sample(10**9, {number: (use, counts(100), 0)})
    (rate,) = rates(before, Sample(3 * 10**9, {number: (use, counts(300), 77)}))
    assert (rate.cgroup, rate.id, rate.backlog_ns) == (f"{own.name}/a", number, 77)
    assert (rate.passed_pps, rate.passed_bps) == (500, 8 * 5000)
    assert (rate.marked_pps, rate.marked_bps) == (300, 8 * 3000)
    assert (rate.dropped_pps, rate.dropped_bps) == (700, 8 * 7000)
    # A limit that was removed and set anew has no past, in its slot or another.
    for past in ({}, {number: ((1, 2), counts(300), 0)}, {number: ((2, 1), counts(1), 0)}):
        (rate,) = rates(Sample(10**9, past), Sample(3 * 10**9, {number: (use, counts(100), 0)}))
        assert rate.passed_pps == 250


def test_list_says_where_a_limit_is_charged_and_of_an_empty_row_nothing(
    running: Lab, own: Cgroups
) -> None:
    added = running.ilax(
        "endpoint", "add", sir(5), "--netns", running.container, "--cgroup", f"{own.name}/e"
    )
    assert added.exit_code == 0, added.output

    def cells() -> list[str]:
        (line,) = [
            line for line in running.ilax("limit", "list").output.splitlines() if "/e " in line
        ]
        return line.split()

    # cgroup, rate, pps, action, parent, charged at
    assert cells()[1:7] == ["-", "-", "-", "-", "1", "endpoint"]
    limit_set(running, f"{own.name}/e", "--rate", "1gbit")
    assert cells()[1:8] == ["1Gbit", "-", "drop", "-", "cgroup,", "1", "endpoint"]


def test_watch_prints_a_table_or_a_line_for_each_reading(running: Lab, own: Cgroups) -> None:
    for path in ("a", "e"):
        limit_set(running, f"{own.name}/{path}")
    result = running.ilax("limit", "watch", "--interval", "10ms", "--count", "2")
    assert result.exit_code == 0
    assert result.output.count("pass bit/s") == 2
    assert result.output.count(f"{own.name}/a") == 2
    assert "\x1b" not in result.output
    result = running.ilax(
        "--json", "limit", "watch", f"{own.name}/e", "--interval", "10ms", "--count", "3"
    )
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert len(lines) == 3
    assert [line["time_ns"] for line in lines] == sorted(line["time_ns"] for line in lines)
    assert all([one["cgroup"] for one in line["limits"]] == [f"{own.name}/e"] for line in lines)
    assert running.ilax("limit", "watch", "--interval", "0").exit_code == USAGE
    assert running.ilax("limit", "watch", "no/such", "--count", "1").exit_code == NOT_FOUND


def test_counters_are_what_was_handed_in_and_what_cpus_still_hold(
    running: Lab, own: Cgroups
) -> None:
    """Rows of CPUs that belong to another limit, or to an earlier use, do not count."""
    from ilax.bpf import possible_cpus
    from ilax.limiting import limit_readings

    slots = [limit_set(running, f"{own.name}/{path}")["slot"] for path in ("a", "e")]
    cpus = possible_cpus()
    with Instance.open(running.instance) as instance:
        for slot in slots:
            row: Any = instance.limits.get(index_key(slot))
            backlog = instance.backlogs.new()[0]
            backlog["total"]["dropped_packets"] = 1000 * slot
            instance.backlogs.put(index_key(slot), backlog)
            held = instance.chunks.new(cpus)
            held["slot"], held["generation"] = slot, row["generation"] ^ 1
            held["policed"]["dropped_packets"] = range(1, cpus + 1)
            instance.chunks.map.update(index_key(slot), held.tobytes())
        expected = {slot: 1000 * slot + sum(range(1, cpus + 1)) for slot in slots}
        everything = limit_readings.policed(instance)
        assert everything.shape == (instance.limits.map.max_entries,)
        for slot, drops in expected.items():
            assert everything["dropped_packets"][slot] == drops
            assert limit_readings.counted(instance, slot).dropped_packets == drops
        assert everything["dropped_packets"].sum() == sum(expected.values())
        assert not everything["passed_packets"].any()

        first, second = slots
        held["slot"][0] = first
        held["generation"][1:] += 1 << 16
        instance.chunks.map.update(index_key(second), held.tobytes())
        assert limit_readings.counted(instance, second).dropped_packets == 1000 * second
        assert limit_readings.policed(instance)["dropped_packets"][second] == 1000 * second


def test_time_that_was_paid_back_is_no_backlog(running: Lab, own: Cgroups) -> None:
    """A fresh row that a CPU pays an old loan back to falls a little below 0."""
    from ilax.limiting import limit_readings

    slot = limit_set(running, f"{own.name}/a")["slot"]
    with Instance.open(running.instance) as instance:
        row = instance.backlogs.new()[0]
        row["until"] = 2**64 - 1000
        instance.backlogs.put(index_key(slot), row)
        assert limit_readings.backlog(instance, slot) == (0, 0)


def test_names(running: Lab, own: Cgroups) -> None:
    slot = limit_set(running, f"{own.name}/a")["slot"]
    with Instance.open(running.instance) as instance:
        assert limits.cgroup_name(instance, slot) == f"{own.name}/a"
        assert limits.cgroup_name(instance, slot + 1) is None
        assert limit_book.slots_by_cgroup(instance) == {own.id("a"): slot}


def test_states_differ_when_something_does(running: Lab, own: Cgroups) -> None:
    """The comparison that the other tests rest on sees every kind of change."""
    states: list[State] = [read(running.instance)]
    for command in (
        ["limit", "set", f"{own.name}/a", "--rate", "1mbit"],
        ["limit", "set", f"{own.name}/a", "--rate", "2mbit"],
        ["limit", "set", f"{own.name}/a/b", "--rate", "2mbit"],
        ["endpoint", "add", sir(6), "--host", "--cgroup", f"{own.name}/a"],
        ["limit", "del", f"{own.name}/a"],
    ):
        ok(running, *command)
        states.append(read(running.instance))
        assert states[-1] not in states[:-1]


def test_a_cgroup_that_finds_no_room_leaves_no_row(running: Lab, own: Cgroups) -> None:
    """Of two maps the second one is full: the row in the first is free again."""
    with Instance.open(running.instance) as instance:
        found = instance.cgroups
        for number in range(found.max_entries):
            found.update((1 << 60 | number).to_bytes(8, "little"), index_key(1))
        name = own.make("a")
        refused = running.ilax("limit", "set", name, "--rate", "1mbit")
        assert refused.exit_code != 0
        assert "map ilax_cgroups" in str(refused.exception)
        assert not getattr(refused.exception, "__notes__", [])
        rows = instance.limits.rows()[1]
        assert not (rows["byte_cost"] | rows["packet_cost"]).any()
