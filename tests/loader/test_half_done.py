# SPDX-License-Identifier: Apache-2.0
"""A loader that dies in the middle: what stands then, and who clears it away."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ilax.endpoint import containers, endpoints
from ilax.instances.instance import Instance
from ilax.system import netlink

from .conftest import LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, sir

CONFLICT = 4
HOST_SIDE = "iltask0"
DIED = 42

# Where to die: an object and the name of what it is asked to do.
Step = tuple[object, str]
STEPS: list[Step] = [
    (netlink.Network, "set_alias"),
    (containers, "_guard"),
    (endpoints, "publish"),
]


def _die(*_: object) -> None:
    os._exit(DIED)


def _add_and_die_in(running: Lab, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """`endpoint add` in a process that ends at a step, as if killed: nothing is undone."""
    monkeypatch.setattr(*step, _die)
    child = os.fork()
    if not child:
        running.ilax("endpoint", "add", sir(5), "--netns", running.container)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED
    monkeypatch.undo()


def _links(lab: Lab) -> dict[str, list[str]]:
    """Flags of the namespace's devices, by name."""
    text = subprocess.run(
        ["ip", "-n", lab.namespace, "-j", "link"], check=True, capture_output=True, text=True
    ).stdout
    return {link["ifname"]: link["flags"] for link in json.loads(text)}


def _checked(lab: Lab) -> bool:
    links = json.loads(lab.ilax("--json", "status").output)["links"]
    return any(link["link"].startswith("port_") for link in links)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
def test_a_container_is_never_up_without_its_checks(
    running: Lab, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    _add_and_die_in(running, step, monkeypatch)
    assert ("UP" in _links(running)[HOST_SIDE]) <= _checked(running)
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    assert _checked(running)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
def test_down_clears_a_half_made_container_away(
    running: Lab, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    _add_and_die_in(running, step, monkeypatch)
    assert HOST_SIDE in _links(running)
    assert running.ilax("down").exit_code == 0
    assert HOST_SIDE not in _links(running)


def test_a_task_of_another_locator_is_the_same_task(running: Lab) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    again = running.ilax(
        "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX,
        "--locator", OTHER_LOCATOR, "--locator", LOCATOR,
    )  # fmt: skip
    assert again.exit_code == 0
    result = running.ilax("endpoint", "add", sir(5), "--netns", running.container)
    assert result.exit_code == CONFLICT
    assert HOST_SIDE in _links(running)
    assert len(json.loads(running.ilax("--json", "endpoint", "list").output)) == 1


def test_an_address_of_the_host_stays_one_endpoint(running: Lab) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--host").exit_code == 0
    again = running.ilax(
        "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX,
        "--locator", OTHER_LOCATOR, "--locator", LOCATOR,
    )  # fmt: skip
    assert again.exit_code == 0
    assert running.ilax("endpoint", "add", sir(5), "--host").exit_code == 0
    (found,) = json.loads(running.ilax("--json", "endpoint", "list").output)
    assert found["wire"].startswith("2001:db8:42:7:")
    assert running.ilax("endpoint", "del", sir(5)).exit_code == 0
    assert json.loads(running.ilax("--json", "endpoint", "list").output) == []
    with Instance.open(running.instance) as opened:
        assert len(opened.mappings.rows()[0]) == 0


@pytest.mark.parametrize("flag", ["--no-cbit", "--untyped"])
@pytest.mark.parametrize("row", ["endpoint", "mapping"])
def test_rows_keep_the_rules_they_were_made_by(running: Lab, flag: str, row: str) -> None:
    rest = {"endpoint": ("--netns", running.container), "mapping": ("--locator", OTHER_LOCATOR)}
    assert running.ilax(row, "add", sir(5), *rest[row]).exit_code == 0
    result = running.up(flag)
    assert result.exit_code == CONFLICT
    assert flag.removeprefix("--no-").removeprefix("--un") in str(result.exception)
    assert running.ilax(row, "del", sir(5)).exit_code == 0
    assert running.up(flag).exit_code == 0
