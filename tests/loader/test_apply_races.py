# SPDX-License-Identifier: Apache-2.0
"""`apply` removes what it has compared, and not what has come into its place since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.cgroups import Cgroups
from lab.line import line

from .conftest import OTHER_LOCATOR, TAG, Lab, sir
from .declared_host import Host, row, task

NOT_FOUND, CONFLICT = 3, 4


@pytest.fixture
def host(lab: Lab, tmp_path: Path) -> Host:
    return Host.with_tasks(lab, tmp_path, 1, 2, 3)


def _told(host: Host, *command: str) -> Any:
    return json.loads(host.lab.ilax("--json", *command).output)


def test_the_mapping_of_a_container_that_has_arrived_stays(host: Host) -> None:
    host.write(row(8), row(9))
    host.apply()
    host.write()
    with line(host.lab.instance) as waiting:
        waiting.join("endpoint", "add", sir(8), "--netns", f"{TAG}-n1")
        waiting.join("apply", "--prune", str(host.file))
    assert waiting.codes() == [0, 0], waiting.ended
    found = host.wire(8)
    assert found is not None
    assert (found.action, found.wire) == ("local", host.endpoint(8).wire)
    assert host.wire(9) is None


def test_a_container_that_was_made_anew_stays(host: Host) -> None:
    host.write(task(1), task(2))
    host.apply()
    host.write()
    with line(host.lab.instance) as waiting:
        waiting.join("endpoint", "del", sir(1))
        waiting.join("endpoint", "add", sir(1), "--netns", f"{TAG}-n3")
        waiting.join("apply", "--prune", str(host.file))
    assert waiting.codes() == [0, 0, 0], waiting.ended
    assert [one["sir"] for one in _told(host, "endpoint", "list")] == [sir(1)]
    host.apply("--prune")
    assert _told(host, "endpoint", "list") == []


def test_a_container_that_is_gone_already_is_no_error(host: Host) -> None:
    host.write(task(1), task(2))
    host.apply()
    host.write()
    with line(host.lab.instance) as waiting:
        waiting.join("endpoint", "del", sir(1))
        waiting.join("apply", "--prune", str(host.file))
    assert waiting.codes() == [0, 0], waiting.ended
    assert _told(host, "endpoint", "list") == []


def test_a_limit_that_was_set_anew_stays(host: Host, folder: Cgroups) -> None:
    one, two = folder.make("one"), folder.make("two")
    host.write()
    host.apply()
    for cgroup in (one, two):
        assert host.lab.ilax("limit", "set", cgroup, "--rate", "1gbit").exit_code == 0
    with line(host.lab.instance) as waiting:
        waiting.join("limit", "set", one, "--rate", "2gbit")
        waiting.join("apply", "--prune", str(host.file))
    assert waiting.codes() == [0, 0], waiting.ended
    assert [limit["cgroup"] for limit in _told(host, "limit", "list")] == [one]


def test_no_mapping_leads_to_a_container_that_has_left(host: Host) -> None:
    host.write(task(1))
    host.apply()
    away = ("mapping", "add", sir(1), "--locator", OTHER_LOCATOR)
    assert host.lab.ilax(*away).exit_code == 0
    with line(host.lab.instance) as waiting:
        waiting.join("endpoint", "del", sir(1))
        waiting.join("apply", str(host.file))
    assert waiting.codes() == [0, NOT_FOUND], waiting.ended
    found = host.wire(1)
    assert found is not None
    assert found.action == "forward"


def test_without_an_instance_it_ends_at_once(host: Host) -> None:
    host.write()
    host.apply()
    host.write(*(f'[[endpoint]]\nsir = "{sir(number)}"\nhost = true' for number in (1, 2, 3)))
    with line(host.lab.instance) as waiting:
        waiting.join("down")
        waiting.join("apply", str(host.file))
    assert waiting.codes() == [0, CONFLICT], waiting.ended
    assert waiting.ended[1].stderr.count("taken down meanwhile; nothing was changed") == 1
    assert "not as declared" not in waiting.ended[1].stderr
