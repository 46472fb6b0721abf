# SPDX-License-Identifier: Apache-2.0
"""`up` on another uplink, `endpoint add --host`: all of it, or as it was before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from ilax.bpf import Link
from ilax.endpoint import endpoints
from ilax.errors import SystemCallError
from ilax.hooks import program_set
from ilax.instances import bring_up, sir_routes
from ilax.instances.pins import PinFolder

from .conftest import BLOCK, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, sir

CONFLICT, SYSTEM_CALL, FULL = 4, 7, 8
SECOND = "up1"
DIED = 42

UP = (
    *("--sir-prefix", SIR_PREFIX, "--locator", LOCATOR, "--block", BLOCK),
    *("--max-endpoints", "64", "--max-mappings", "1024"),
)

# Where a move to another uplink may fail: an object and what it is asked to do.
Step = tuple[object, str]
STEPS: list[Step] = [
    (sir_routes, "route"),
    (sir_routes, "_put_routes"),
    (bring_up, "_write_config"),
    (endpoints, "swap_programs"),
    (program_set, "_exchange"),
    (endpoints, "put_host"),
]


def _name(step: Step) -> str:
    return step[1]


def _ip(lab: Lab, *arguments: str) -> Any:
    text = subprocess.run(
        ["ip", "-n", lab.namespace, "-j", *arguments], check=True, capture_output=True, text=True
    ).stdout
    return json.loads(text or "[]")


@pytest.fixture
def wide(lab: Lab) -> Lab:
    """The lab with a second uplink."""
    peer = ("peer", "far1", "netns", lab.container)
    _ip(lab, "link", "add", SECOND, "type", "veth", *peer)
    _ip(lab, "link", "set", SECOND, "up")
    return lab


def _tc(lab: Lab, device: str) -> str:
    return subprocess.run(
        ["bpftool", "net", "show", "dev", device], check=True, capture_output=True, text=True
    ).stdout


def _state(lab: Lab) -> dict[str, Any]:
    """What a change may touch. Numbers of programs tell old from new."""
    pins = PinFolder(lab.instance)
    links = {}
    for path in sorted(pins.links.iterdir()):
        with Link.open_pinned(path) as link:
            links[path.name] = link.info()
    return {
        "links": links,
        "hooks": [_tc(lab, device) for device in (UPLINK, SECOND)],
        "pins": sorted(str(path) for path in pins.base.rglob("*")),
        "status": json.loads(lab.ilax("--json", "status").output),
        **_network(lab),
    }


def _network(lab: Lab) -> dict[str, Any]:
    routes = _ip(lab, "-6", "route", "show", "proto", "105")
    return {
        "routes": [(row["dst"], row["dev"], row.get("prefsrc")) for row in routes],
        "neighbours": [row["dev"] for row in _ip(lab, "-6", "neigh", "show", "nud", "permanent")],
        "addresses": [
            info["local"]
            for row in _ip(lab, "-6", "addr", "show", "dev", "lo")
            for info in row["addr_info"]
        ],
    }


def _failing(*_: object, **__: object) -> NoReturn:
    raise SystemCallError("do what the test forbids", 5)


def _once(step: Callable[..., Any]) -> Callable[..., Any]:
    """Fail the first time; going back takes the same way and works."""
    calls = []

    def stub(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return _failing() if len(calls) == 1 else step(*args, **kwargs)

    return stub


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
@pytest.mark.parametrize("step", STEPS, ids=_name)
def test_a_failed_move_to_another_uplink_goes_back(
    wide: Lab, monkeypatch: pytest.MonkeyPatch, step: Step, tc: str
) -> None:
    assert wide.ilax("up", "--uplink", UPLINK, *UP, "--tc", tc).exit_code == 0
    assert wide.ilax("endpoint", "add", sir(5), "--netns", wide.container).exit_code == 0
    before = _state(wide)
    monkeypatch.setattr(*step, _once(getattr(*step)))
    move = ("up", "--uplink", SECOND, *UP, "--tc", tc, "--host-address", sir(1))
    result = wide.ilax(*move)
    assert result.exit_code == SYSTEM_CALL
    assert "__notes__" not in vars(result.exception)
    assert _state(wide) == before
    monkeypatch.undo()
    assert wide.ilax(*move).exit_code == 0


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
def test_a_move_to_another_uplink_leaves_the_old_one(wide: Lab, tc: str) -> None:
    clean = _tc(wide, UPLINK), _network(wide)
    assert wide.ilax("up", "--uplink", UPLINK, *UP, "--tc", tc).exit_code == 0
    first = _state(wide)
    assert wide.ilax("up", "--uplink", SECOND, *UP, "--tc", tc).exit_code == 0
    second = _state(wide)
    assert _tc(wide, UPLINK) == clean[0]
    assert second["links"].keys() == first["links"].keys()
    assert {route[1] for route in second["routes"]} == {SECOND}
    assert second["neighbours"] == [SECOND]
    assert wide.ilax("down").exit_code == 0
    assert _network(wide) == clean[1]


def _die(*_: object, **__: object) -> NoReturn:
    os._exit(DIED)


@pytest.mark.parametrize("then", ["down", "again", "back"])
@pytest.mark.parametrize("step", STEPS, ids=_name)
def test_a_killed_move_to_another_uplink(
    wide: Lab, monkeypatch: pytest.MonkeyPatch, step: Step, then: str
) -> None:
    clean = _network(wide), [_tc(wide, device) for device in (UPLINK, SECOND)]
    assert wide.ilax("up", "--uplink", UPLINK, *UP).exit_code == 0
    monkeypatch.setattr(*step, _die)
    child = os.fork()
    if not child:
        wide.ilax("up", "--uplink", SECOND, *UP, "--host-address", sir(1))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED
    monkeypatch.undo()
    if then != "down":
        uplink = {"again": SECOND, "back": UPLINK}[then]
        assert wide.ilax("up", "--uplink", uplink, *UP, "--host-address", sir(1)).exit_code == 0
        state = _state(wide)
        assert [name for name in state["links"] if name.endswith("_new")] == []
        assert {route[1] for route in state["routes"]} == {uplink}
        assert state["neighbours"] == [uplink]
    assert wide.ilax("down").exit_code == 0
    network = _network(wide)
    # Killed between the address and its row: nobody knows whose it is.
    network["addresses"] = [a for a in network["addresses"] if then != "down" or a != sir(1)]
    assert (network, [_tc(wide, device) for device in (UPLINK, SECOND)]) == clean


def test_new_prefixes_replace_the_routes_of_the_old(running: Lab) -> None:
    other = "2001:db8:5a5a:2::/64"
    result = running.ilax("up", "--uplink", UPLINK, "--sir-prefix", other, "--locator", LOCATOR)
    assert result.exit_code == 0
    assert [route[0] for route in _network(running)["routes"]] == [other]


def test_instances_of_one_namespace_leave_each_other_alone(wide: Lab) -> None:
    """Two domains, on two uplinks and then on one."""
    for _ in range(2):  # from the second time on there is a previous set of programs
        assert wide.ilax("up", "--uplink", UPLINK, *UP).exit_code == 0
    assert wide.ilax("endpoint", "add", sir(5), "--netns", wide.container).exit_code == 0
    first = _state(wide)
    second = Lab(f"{wide.instance}-b", wide.namespace, wide.container)
    domain = ("--sir-prefix", "2001:db8:5a5a:2::/64", "--locator", "2001:db8:43:7::/64")
    small = ("--max-endpoints", "64", "--max-mappings", "1024")
    try:
        for uplink in (SECOND, UPLINK):
            refused = second.ilax("up", "--uplink", uplink, *UP)
            assert refused.exit_code == CONFLICT
            assert wide.instance in str(refused.exception)
            assert second.ilax("up", "--uplink", uplink, *domain, *small).exit_code == 0
            # An upgrade of one with the other at work.
            assert wide.ilax("up", "--uplink", UPLINK, *UP).exit_code == 0
            assert second.ilax("down").exit_code == 0
            again = _state(wide)
            assert {name: link.id for name, link in again["links"].items()} == {
                name: link.id for name, link in first["links"].items()
            }
            for what in ("routes", "neighbours", "addresses", "pins"):
                assert again[what] == first[what]
        refused = second.ilax("up", "--uplink", UPLINK, *domain, *small, "--tc", "clsact")
        assert refused.exit_code == CONFLICT
        assert "clsact" in str(refused.exception)
    finally:
        folder = PinFolder(second.instance)
        with folder.lock():
            folder.remove()


def test_an_instance_whose_namespace_is_gone_is_in_nobodys_way(wide: Lab) -> None:
    """Its links have no device any more, whatever its numbers say."""
    dead = Lab(f"{wide.instance}-b", wide.namespace, wide.container)
    try:
        assert dead.ilax("up", "--uplink", SECOND, *UP).exit_code == 0
        index = _ip(wide, "link", "show", "dev", SECOND)[0]["ifindex"]
        _ip(wide, "link", "del", SECOND)
        _ip(wide, "link", "add", SECOND, "index", str(index), "type", "ifb")
        _ip(wide, "link", "set", SECOND, "up")
        assert wide.ilax("up", "--uplink", SECOND, *UP).exit_code == 0
        assert dead.ilax("down").exit_code == 0
        assert len(_network(wide)["routes"]) == 1
        assert _network(wide)["neighbours"] == [SECOND]
    finally:
        folder = PinFolder(dead.instance)
        with folder.lock():
            folder.remove()


def test_an_address_of_the_host_without_room_leaves_nothing(lab: Lab) -> None:
    arguments = ("--sir-prefix", SIR_PREFIX, "--locator", LOCATOR, "--max-mappings", "1")
    assert lab.ilax("up", "--uplink", UPLINK, *arguments).exit_code == 0
    number = 1
    while lab.ilax("mapping", "add", sir(number), "--locator", OTHER_LOCATOR).exit_code == 0:
        number += 1
    before = _network(lab)
    for command in (
        ("endpoint", "add", sir(number), "--host"),
        ("up", "--uplink", UPLINK, *arguments, "--host-address", sir(number)),
    ):
        result = lab.ilax(*command)
        assert result.exit_code == FULL
        assert "full" in str(result.exception)
        assert json.loads(lab.ilax("--json", "endpoint", "list").output) == []
        assert _network(lab) == before
    # An address that was the host's own before stays.
    _ip(lab, "addr", "add", f"{sir(number)}/128", "dev", "lo")
    before = _network(lab)
    assert lab.ilax("endpoint", "add", sir(number), "--host").exit_code == FULL
    assert _network(lab) == before


def test_identifiers_that_begin_differently_are_different_tasks(running: Lab) -> None:
    """Names of devices have no room for an identifier."""
    second = f"{running.container}2"
    subprocess.run(["ip", "netns", "add", second], check=True)
    try:
        twins = {sir(5): running.container, "2001:db8:5a5a:1:2001::5": second}
        for address, namespace in twins.items():
            assert running.ilax("endpoint", "add", address, "--netns", namespace).exit_code == 0
        aliases = {row["ifalias"] for row in _ip(running, "link") if "ifalias" in row}
        assert aliases == {f"ilax:{running.instance}:{address}" for address in twins}
        for address in twins:
            assert running.ilax("endpoint", "del", address).exit_code == 0
    finally:
        subprocess.run(["ip", "netns", "del", second], check=True)


def test_a_container_has_one_default_route(running: Lab) -> None:
    """A second address would take the first one's way out."""
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    second = ("endpoint", "add", sir(6), "--netns", running.container, "--device", "eth1")
    result = running.ilax(*second)
    assert result.exit_code == CONFLICT
    assert "::/0" in str(result.exception)


def test_an_instance_that_was_taken_down_meanwhile_is_not_written(running: Lab) -> None:
    from ilax.address import parse
    from ilax.endpoint import containers
    from ilax.errors import ConflictError
    from ilax.instances.instance import Instance

    with Instance.open(running.instance) as stale:
        assert running.ilax("down").exit_code == 0
        for _ in range(2):
            with pytest.raises(ConflictError, match="taken down meanwhile"):
                containers.add(stale, containers.AddOptions(parse(sir(5)), running.container))
            assert running.up().exit_code == 0
    assert json.loads(running.ilax("--json", "endpoint", "list").output) == []
