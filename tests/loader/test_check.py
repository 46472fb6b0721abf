# SPDX-License-Identifier: Apache-2.0
"""`ilax check` of instances that are not whole, of limits, and its own options."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ilax.address import parse, parse_prefix
from ilax.bpf import Map, Program
from ilax.check import KINDS
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.hooks import cgroup_attach
from ilax.instances import pins
from ilax.instances.instance import Instance
from ilax.limiting.limit_book import Book
from ilax.system import namespaces, netlink
from ilax.translation import fabric, prefix_rows
from lab.cgroups import Cgroups, own_cgroups
from lab.contract_1_0 import turn_back
from lab.wait import until

from .conftest import OTHER_LOCATOR, UPLINK, Lab, sir

WARNINGS, ERRORS, USAGE, CONFLICT = 10, 11, 2, 4
TESTS = Path(__file__).resolve().parents[1]


def check(lab: Lab, *options: str) -> list[dict[str, Any]]:
    """Findings, but for those that the bare uplink of this lab always gives."""
    result = lab.ilax("--json", "check", "--ignore", "sysctl.forwarding", *options)
    findings: list[dict[str, Any]] = json.loads(result.output)["findings"]
    worst = {found["severity"] for found in findings}
    expected = ERRORS if "error" in worst else WARNINGS if "warning" in worst else 0
    assert result.exit_code == expected, result.output
    return findings


def ids(lab: Lab, *options: str) -> set[str]:
    return {found["id"] for found in check(lab, *options)}


def test_every_kind_is_provoked_by_a_test() -> None:
    sources = [
        *(TESTS / "loader").glob("test_check*.py"),
        *(TESTS / "e2e").glob("test_check*.py"),
        TESTS / "loader/test_refusals.py",
        TESTS / "loader/test_several_instances.py",
        *(TESTS / "e2e").glob("test_xdp_chain*.py"),
    ]
    text = "\n".join(path.read_text() for path in sources)
    assert [name for name in KINDS if f'"{name}"' not in text] == []


def test_the_list_says_all(lab: Lab) -> None:
    text = lab.ilax("check", "--list").output
    assert all(name in text for name in KINDS)
    rows = json.loads(lab.ilax("--json", "check", "--list").output)
    assert {row["id"]: row["severity"] for row in rows} == {
        kind.id: kind.severity for kind in KINDS.values()
    }


def test_a_map_that_is_none(running: Lab) -> None:
    folder = pins.PinFolder(running.instance)
    (folder.maps / "ilax_traffic").unlink()
    with Program.open_pinned(folder.programs / "ilax_uplink_in") as program:
        program.pin(folder.maps / "ilax_traffic")
    (found,) = check(running, "--fix")
    assert found["id"] == "instance.incomplete"
    assert f"no map is pinned at {folder.maps / 'ilax_traffic'}, but a program" in found["seen"]
    assert running.ilax("down").exit_code == 0
    assert running.up().exit_code == 0
    assert check(running) == []


def test_maps_that_may_not_be_opened(running: Lab) -> None:
    folder = pins.PinFolder(running.instance)
    for path in (folder.root, folder.base, folder.version, folder.maps):
        path.chmod(0o755)
    try:
        os.seteuid(65534)
        assert "instance.unreadable" in ids(running)
    finally:
        os.seteuid(0)
        folder.root.chmod(0o700)


def test_an_unknown_kind_cannot_be_ignored(lab: Lab) -> None:
    assert lab.ilax("check", "--ignore", "endpoint.nonsense").exit_code == USAGE


def test_no_instance(lab: Lab) -> None:
    assert ids(lab) == {"instance.not-up"}
    assert ids(lab, "--fix") == {"instance.not-up"}
    assert not pins.PinFolder(lab.instance).base.exists()


def test_a_clean_instance(running: Lab) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    assert check(running) == []
    text = running.ilax("check", "--ignore", "sysctl.forwarding").output
    assert text.endswith("clean\n")


def test_folders_without_maps(lab: Lab) -> None:
    folder = pins.PinFolder(lab.instance)
    with folder.lock():
        folder.create()
    (found,) = check(lab)
    assert found["id"] == "instance.remains"
    assert found["command"] == f"ilax --instance {lab.instance} down"
    assert ids(lab, "--fix") == {"instance.not-up"}
    assert not folder.base.exists()
    with folder.lock():
        folder.create()
    assert lab.up().exit_code == 0
    assert check(lab) == []


def test_half_of_a_down_is_ended(running: Lab) -> None:
    folder = pins.PinFolder(running.instance)
    folder.doomed.mkdir(mode=0o700)
    assert ids(running) == {"instance.remains"}
    # Nobody begins what is going to be taken away; who wants it back says so.
    add = ("endpoint", "add", sir(5), "--netns", running.container)
    done = running.ilax(*add)
    assert done.exit_code == CONFLICT
    assert running.up().exit_code == 0
    assert check(running) == []
    assert running.ilax(*add).exit_code == 0
    folder.doomed.mkdir(mode=0o700)
    assert ids(running, "--fix") == {"instance.not-up"}
    assert not folder.base.exists()


def test_what_the_first_up_was_asked_for_is_not_known(running: Lab) -> None:
    folder = pins.PinFolder(running.instance)
    for pin in folder.programs.iterdir():
        pin.unlink()
    (found,) = check(running, "--fix")
    assert (found["id"], found["seen"]) == ("instance.unfinished", "maps without programs")
    assert found["command"].startswith(f"ilax --instance {running.instance} down")
    assert running.up().exit_code == 0
    assert check(running) == []


def test_two_tables_of_prefixes(running: Lab) -> None:
    """At each of its steps, an `up` that replaces prefixes is killed."""
    with Instance.open(running.instance) as instance:
        before = fabric.read(instance)
        after = replace(before, locators=(parse_prefix(OTHER_LOCATOR),))
        first = fabric.read_rows(instance)
        fabric.write(instance, after)
        last = fabric.read_rows(instance)
        count = len(list(prefix_rows.writes(first, prefix_rows.until_end(last))))
        for number in range(1, count):
            fabric.write(instance, before)
            steps = prefix_rows.writes(first, prefix_rows.until_end(last))
            fabric.write_steps(instance, itertools.islice(steps, number))
            assert ids(running) == {"prefixes.unfinished"}, number
            assert ids(running, "--fix") == set(), number
            assert fabric.read_rows(instance) in (first, last), number


def test_maps_without_an_uplink(running: Lab) -> None:
    running.set_config(uplink_ifindex=0)
    (found,) = check(running)
    assert (found["id"], found["seen"]) == ("instance.unfinished", "maps without uplink")
    assert running.up().exit_code == 0
    assert check(running) == []


def test_a_map_is_missing(running: Lab) -> None:
    (pins.PinFolder(running.instance).maps / "ilax_ports").unlink()
    (found,) = check(running, "--fix")
    assert found["id"] == "instance.incomplete"
    assert "ilax_ports" in found["seen"]
    assert found["command"].startswith(f"ilax --instance {running.instance} down && ")
    assert running.ilax("down").exit_code == 0
    assert running.up().exit_code == 0
    assert check(running) == []


def test_an_older_contract(running: Lab) -> None:
    turn_back(running.instance)
    (found,) = check(running, "--fix")
    assert found["id"] == "instance.older"
    assert found["command"] == f"ilax --instance {running.instance} upgrade"
    assert running.ilax("upgrade", "--before", "0", "--soak", "0").exit_code == 0
    assert check(running) == []


def test_another_contract(running: Lab) -> None:
    maps = pins.PinFolder(running.instance).maps
    (maps / "ilax_abi").unlink()
    # A map that is none of ours stands where the version should.
    with Map.open_pinned(maps / "ilax_config") as other:
        other.pin(maps / "ilax_abi")
    (found,) = check(running, "--fix")
    assert found["id"] == "instance.layout"
    assert "ilax_abi" in found["seen"]


def test_another_namespace(running: Lab) -> None:
    with (
        Path(f"/run/netns/{running.container}").open() as other,
        netlink.inside(other.fileno()),
    ):
        (found,) = check(running)
    assert found["id"] == "instance.elsewhere"
    assert f"nsenter --net=/run/netns/{running.namespace} ilax" in found["command"]


def test_its_namespace_is_gone(running: Lab) -> None:
    running.set_config(netns=1)
    (found,) = check(running, "--fix")
    assert found["id"] == "instance.no-namespace"
    assert found["command"].endswith("down --force")
    assert running.ilax("down", "--force").exit_code == 0
    assert ids(running) == {"instance.not-up"}


def test_the_uplink_is_gone(running: Lab) -> None:
    with netlink.Network() as network:
        network.delete_interface(network.interface(UPLINK).index)
    assert ids(running, "--fix") == {"uplink.gone"}


def test_no_command_names_an_interface_that_has_no_name(running: Lab) -> None:
    """What leads out of an uplink that is gone leads nowhere: one finding says all of it."""
    add = ("mapping", "add", sir(8), "--locator", OTHER_LOCATOR)
    assert running.ilax(*add).exit_code == 0
    assert ids(running) == {"route.locator-unreachable"}
    with netlink.Network() as network:
        network.delete_interface(network.interface(UPLINK).index)
    (found,) = check(running)
    assert found["id"] == "uplink.gone"
    assert found["command"] == f"ilax --instance {running.instance} up --uplink DEV ..."


# --- limits --------------------------------------------------------------------


@pytest.fixture
def own() -> Iterator[Cgroups]:
    """a/b, c and d."""
    with own_cgroups(f"ilxcheck{os.getpid():x}") as made:
        for path in ("a/b", "c", "d"):
            made.make(path)
        yield made


def test_limits_that_serve_nobody(running: Lab, own: Cgroups) -> None:
    for path in ("a", "a/b", "c", "d"):
        done = running.ilax("limit", "set", f"{own.name}/{path}", "--rate", "100mbit")
        assert done.exit_code == 0, done.output
    add = ("endpoint", "add", sir(5), "--netns", running.container)
    assert running.ilax(*add, "--cgroup", f"{own.name}/c").exit_code == 0
    assert check(running) == []
    with Instance.open(running.instance) as instance, instance.locked():
        book = Book(instance)
        # A program where there is no limit; none where it belongs;
        # a parent too many; an endpoint that names a slot of nobody.
        cgroup_attach.attach(instance, book.cgroups.by_id[own.id("")])
        cgroup_attach.detach(instance, own.id("a"))
        slot = book.slots[own.id("a/b")]
        row = book.rows[slot].copy()
        row["parents"][1] = book.slots[own.id("c")]
        instance.limits.put(index_key(slot), row)
        endpoint = endpoints.find(instance, parse(sir(5)))
    number = own.id("d")
    own.remove("d")
    (pins.PinFolder(running.instance).links / f"cgroup_{number}").unlink()
    assert ids(running) == {
        "limit.dead-cgroup",
        "limit.needless-program",
        "limit.no-program",
        "limit.parents",
    }
    assert ids(running, "--fix") == set()
    with Instance.open(running.instance) as instance, instance.locked():
        Book(instance).point(endpoint, 999)
    assert ids(running) == {"limit.lost-endpoint"}
    assert ids(running, "--fix") == set()
    again = ("endpoint", "set", sir(5), "--cgroup", f"{own.name}")
    assert running.ilax(*again).exit_code == 0
    with Instance.open(running.instance) as instance, instance.locked():
        Book(instance).point(endpoints.find(instance, parse(sir(5))), 0)
    assert ids(running) == {"limit.unused"}
    result = running.ilax("limit", "gc")
    assert result.exit_code == 0
    until(lambda: check(running) == [], "end of the links")


def test_files_among_the_names_of_namespaces(
    running: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed `ip netns add` leaves a plain file, for ever."""
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    (tmp_path / "a-file").touch()
    (tmp_path / "b-folder").mkdir()
    for name in (running.container, running.namespace):
        (tmp_path / name).symlink_to(Path("/run/netns") / name)
    monkeypatch.setattr(namespaces, "NAMED", tmp_path)
    assert check(running) == []
    exported = running.ilax("export")
    assert exported.exit_code == 0, exported.exception
    assert f'netns = "{running.container}"' in exported.output
