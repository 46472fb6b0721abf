# SPDX-License-Identifier: Apache-2.0
"""`--skip-missing`: a host comes up before its containers are there, and is completed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.cgroups import Cgroups
from lab.prometheus import PACKAGING

from .conftest import TAG, UPLINK, Lab, ip, sir
from .declared_host import UP, Host, limited, row, task
from .limit_state import assert_tidy, read

USAGE, NOT_FOUND = 2, 3

SKIP = "--skip-missing"


@pytest.fixture
def host(lab: Lab, tmp_path: Path) -> Host:
    """Of three tasks, the namespace of the first is not there."""
    for number in (2, 3):
        _start(number)
    return Host(lab, tmp_path / "host.toml")


def _start(number: int) -> None:
    ip("netns", "add", f"{TAG}-n{number}")  # the lab removes them


def _stop(number: int) -> None:
    ip("netns", "del", f"{TAG}-n{number}")


def _sirs(host: Host) -> list[str]:
    listed = json.loads(host.lab.ilax("--json", "endpoint", "list").output)
    return sorted(one["sir"] for one in listed)


def _skipped(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in told["skipped"]]


def _line(host: Host, text: str) -> int:
    """The only line of the file with a text."""
    (found,) = (n for n, one in enumerate(host.file.read_text().splitlines(), 1) if text in one)
    return found


def _apply(host: Host, *options: str) -> dict[str, Any]:
    """What `apply` tells programs; afterwards nothing is left to do that can be done."""
    done = host.lab.ilax("--json", "apply", SKIP, *options, str(host.file))
    assert done.exit_code == 0, (done.output, done.exception)
    told: dict[str, Any] = json.loads(done.output)
    again = host.plan(SKIP, *options)
    assert not again["changes"], again
    assert again["skipped"] == told["skipped"]
    return told


def test_a_namespace_that_is_not_there_yet(host: Host) -> None:
    host.write(task(1), task(2), row(7))
    assert host.lab.ilax("plan", str(host.file)).exit_code == USAGE
    assert host.lab.ilax("apply", str(host.file)).exit_code == USAGE
    assert host.lab.ilax("status").exit_code == NOT_FOUND

    name, line = f"{TAG}-n1", _line(host, f"{TAG}-n1")
    missing = f"no network namespace {name} (/run/netns/{name})"
    planned = host.plan(SKIP)
    assert planned["skipped"] == [
        {"kind": "endpoint", "name": sir(1), "line": line, "missing": [missing]}
    ]
    assert [one["sir"] for one in planned["endpoints"]] == [sir(2)]
    note = f"note: {host.file}:{line}: endpoint.netns: {missing}; endpoint {sir(1)} is left out"
    assert note in host.lab.ilax("plan", SKIP, str(host.file)).output.splitlines()
    assert host.lab.ilax("status").exit_code == NOT_FOUND

    assert note in host.apply(SKIP).splitlines()
    assert _sirs(host) == [sir(2)]
    assert host.wire(7) is not None
    assert host.wire(1) is None
    assert host.lab.ilax("apply", str(host.file)).exit_code == USAGE

    # Whoever comes next completes it, with the option or without.
    kept = host.endpoint(2)
    _start(1)
    assert not _skipped(_apply(host))
    assert _sirs(host) == [sir(1), sir(2)]
    assert host.apply() == "nothing to do\n"
    assert host.endpoint(2) == kept


def test_a_file_that_is_to_become_a_namespace(host: Host) -> None:
    """`ip netns add` makes a plain file and mounts the namespace over it."""
    plain = Path(f"/run/netns/{TAG}-n1")
    host.write(task(1))
    plain.touch()
    try:
        told = _apply(host)
    finally:
        plain.unlink()
    assert told["skipped"][0]["missing"] == [f"{plain} is no network namespace"]


def test_the_process_of_a_namespace_is_gone(host: Host) -> None:
    with Path("/proc/sys/kernel/pid_max").open() as most:
        beyond = int(most.read()) + 1
    host.write(task(1).replace(f"{TAG}-n1", str(beyond)))
    assert _skipped(_apply(host)) == [("endpoint", sir(1))]


def test_an_endpoint_waits_for_its_cgroup(host: Host, folder: Cgroups) -> None:
    """Without it, it would not be limited. So does what the host has for its own."""
    late = f"{folder.name}/late"
    own = f'[[endpoint]]\nsir = "{sir(8)}"\nhost = true\ncgroup = "{late}"'
    host.write(task(1, f'cgroup = "{late}/1"'), task(2, f'cgroup = "{late}"'), task(3), own)
    told = _apply(host)
    assert _skipped(told) == [("endpoint", sir(n)) for n in (1, 2, 8)]
    # One note for one endpoint, with all that it lacks.
    assert [len(one["missing"]) for one in told["skipped"]] == [2, 1, 1]
    assert told["skipped"][0]["line"] == _line(host, f"{TAG}-n1")
    assert "there is no cgroup" in told["skipped"][0]["missing"][1]
    assert _sirs(host) == [sir(3)]
    folder.make("late/1")
    _start(1)
    host.apply()
    state = read(host.lab.instance)
    assert_tidy(state)
    assert set(state.users) == {sir(n) for n in (1, 2, 8)}


def test_the_address_of_the_host_is_there_before_its_cgroup(host: Host, folder: Cgroups) -> None:
    late = f"{folder.name}/late"
    own = f'[[endpoint]]\nsir = "{sir(9)}"\nhost = true\ncgroup = "{late}"'
    host.write(own, limited(late, "pps = 5000"), up=f'{UP}host-address = "{sir(9)}"\n')
    assert _skipped(_apply(host)) == [("endpoint", sir(9)), ("limit", late)]
    assert _sirs(host) == [sir(9)]
    folder.make("late")
    host.apply()
    slot = read(host.lab.instance).slots[folder.id("late")]
    assert host.endpoint(9).limit == slot
    # It goes, and the address keeps what it has.
    folder.remove("late")
    _apply(host)
    assert host.endpoint(9).limit == slot


def test_a_limit_waits_for_its_cgroup(host: Host, folder: Cgroups) -> None:
    here, late = folder.make("here"), f"{folder.name}/late"
    rate = 'rate = "1gbit"'
    host.write(task(2, f'cgroup = "{here}"'), limited(late, rate), limited(here, rate))
    told = _apply(host)
    assert _skipped(told) == [("limit", late)]
    assert told["skipped"][0]["line"] == _line(host, late)
    assert [one["cgroup"] for one in told["limits"]] == [here]
    assert list(read(host.lab.instance).slots) == [folder.id("here")]
    folder.make("late")
    host.apply()
    state = read(host.lab.instance)
    assert_tidy(state)
    assert set(state.slots) == {folder.id("here"), folder.id("late")}


def test_a_limit_is_set_before_its_parent(host: Host, folder: Cgroups) -> None:
    """Its own rules hold meanwhile; what is below it by itself stays below it."""
    child, below = folder.make("child"), folder.make("child/below")
    late, rate = f"{folder.name}/late", 'rate = "1gbit"'
    host.write(
        limited(below, rate), limited(late, rate),
        # Written otherwise, and the same.
        limited(child, 'rate = "5mbit"', f'parent = "{folder.name}//late"'),
    )  # fmt: skip
    told = _apply(host)
    assert _skipped(told) == [("limit", late), ("parent", child)]
    text = host.lab.ilax("plan", SKIP, str(host.file)).output
    line = _line(host, "parent")
    assert f":{line}: limit.parent: the limit of {folder.name}//late is left out; that of " in text

    def chains() -> list[tuple[int, ...]]:
        state = read(host.lab.instance)
        assert_tidy(state)
        owners = {slot: cgroup for cgroup, slot in state.slots.items()}
        slots = [state.slots[folder.id(name)] for name in ("child", "child/below")]
        return [tuple(owners[above] for above in state.chains[slot]) for slot in slots]

    assert chains() == [(), (folder.id("child"),)]
    folder.make("late")
    changed = json.loads(host.lab.ilax("--json", "plan", str(host.file)).output)["limits"]
    assert {one["cgroup"]: one["new"] for one in changed} == {late: True, child: False}
    host.apply()
    assert chains() == [(folder.id("late"),), (folder.id("child"), folder.id("late"))]


def test_a_parent_called_auto_is_no_cgroup(host: Host, folder: Cgroups) -> None:
    """A cgroup may have that name, and its limit may be left out."""
    upper, lower = folder.make("upper"), folder.make("upper/lower")
    rate = 'rate = "1gbit"'
    host.write(limited(f"{TAG}/../auto", rate), limited(upper, rate), limited(lower, rate))
    assert [kind for kind, _ in _skipped(_apply(host))] == ["limit"]
    state = read(host.lab.instance)
    assert state.chains[state.slots[folder.id("upper/lower")]] == (state.slots[folder.id("upper")],)


def test_what_is_left_out_is_declared(host: Host, folder: Cgroups) -> None:
    """So --prune leaves it alone, and removes what nobody declares."""
    _start(1)
    late, other = folder.make("late"), folder.make("other")
    host.write(
        task(1), task(2, f'cgroup = "{late}"'), task(3), row(7), limited(other, "pps = 5000")
    )
    host.apply()
    before = {n: host.endpoint(n) for n in (1, 2)}
    wires = {n: host.wire(n) for n in (1, 2)}
    _stop(1)
    folder.remove("late")
    host.write(task(1), task(2, f'cgroup = "{late}"', 'delivery = "xdp"'))
    told = _apply(host, "--prune")
    assert _skipped(told) == [("endpoint", sir(1)), ("endpoint", sir(2))]
    assert told["surplus"]["endpoints"] == [sir(3)]
    assert told["surplus"]["limits"] == [other]
    assert _sirs(host) == [sir(1), sir(2)]
    assert {n: host.endpoint(n) for n in (1, 2)} == before
    assert {n: host.wire(n) for n in (1, 2)} == wires
    assert host.wire(7) is None
    assert folder.id("other") not in read(host.lab.instance).slots
    # They come back: one is made anew, one is changed while it is there.
    _start(1)
    folder.make("late")
    host.apply("--prune")
    assert host.endpoint(1).ifindex != before[1].ifindex
    assert host.endpoint(2).ifindex == before[2].ifindex
    assert host.endpoint(2).delivery == "xdp"
    assert_tidy(read(host.lab.instance))


def test_a_task_moves_in_when_its_namespace_is_there(host: Host) -> None:
    """Until then packets for it go where they went before."""
    host.write(row(1), row(7))
    host.apply()
    elsewhere = host.wire(1)
    host.write(task(1))
    _apply(host, "--prune")
    assert host.wire(1) == elsewhere
    assert host.wire(7) is None
    _start(1)
    host.apply("--prune")
    found = host.wire(1)
    assert found is not None
    assert found.action == "local"


def test_what_is_wrong_is_refused_as_a_whole(host: Host, folder: Cgroups) -> None:
    """A namespace may come later; a contradiction stays one."""
    file = folder.top / "cgroup.procs"
    good = (task(1), task(2), limited(f"{folder.name}/late", "pps = 5"))
    for tables, up, words in (
        (good, UP.replace(UPLINK, "nodev"), "up.uplink"),
        ((*good, limited(str(file), "pps = 5")), UP, "not its folder"),
        ((*good, task(3).replace(f"{TAG}-n3", f"/run/netns/{TAG}-n2")), UP, "is that of"),
        ((*good, task(3, "speed = 3")), UP, "unknown key"),
    ):
        host.write(*tables, up=up)
        for command in ("plan", "apply"):
            done = host.lab.ilax(command, SKIP, str(host.file))
            assert done.exit_code == USAGE
            assert words in str(done.exception)
            # What is not there is not among what is wrong.
            assert str(done.exception).startswith(("1 problem;", "1 problem\n"))
    assert host.lab.ilax("status").exit_code == NOT_FOUND


@pytest.mark.parametrize(
    ("unit", "command"),
    [("ilax", "ExecStart"), ("ilax", "ExecReload"), ("ilax-apply", "ExecStart")],
)
def test_the_units_bring_a_host_up_without_its_containers(
    host: Host, unit: str, command: str
) -> None:
    lines = (PACKAGING / "systemd" / f"{unit}.service").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{command}="))
    program, *arguments, file = line.partition("=")[2].split()
    assert (program, file) == ("ilax", "/etc/ilax/host.toml")
    host.write(task(1), task(2), row(7))
    done = host.lab.ilax(*arguments, str(host.file))
    assert done.exit_code == 0, done.output
    assert _sirs(host) == [sir(2)]
    assert host.wire(7) is not None
