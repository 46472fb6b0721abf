# SPDX-License-Identifier: Apache-2.0
"""From contract 1.0 to 1.1 in place: rows stay, traffic flows, crashes are harmless."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ilax.bpf import Map
from ilax.instances.instance import MAPS_BY_MINOR
from lab import operator, probes
from lab.cgroups import Cgroups, own_cgroups
from lab.contract_1_0 import turn_back
from lab.faults import kill_at, steps
from lab.ilax import Ilax
from lab.topology import Host, Lab
from lab.traces import Traces
from lab.udp import NumberedStream, assert_unharmed
from lab.wait import until

LAYOUT = 6
SMALL = ("--max-endpoints", "64", "--max-mappings", "1024")
LIMITS = ("--max-limits", "32")


@pytest.fixture
def own(bare: Lab) -> Iterator[Cgroups]:
    with own_cgroups(bare.tag) as made:
        made.make("a")
        yield made


@pytest.fixture
def old(bare: Lab) -> Host:
    """A populated host of contract 1.0, in a lab of two."""
    options = operator.Options(extra=SMALL)
    operator.bring_up(bare, options)
    turn_back(bare.hosts[0].ilax.instance)
    return bare.hosts[0]


def up(lab: Lab, host: Host) -> list[object]:
    return [*operator.up_arguments(lab, host, operator.Options(extra=SMALL)), *LIMITS]


def minor(ilax: Ilax) -> int:
    with Map.open_pinned(ilax.pins / "v1/maps/ilax_abi") as abi:
        row = abi.lookup(bytes(4))
    assert row is not None
    return int.from_bytes(row[6:8], "little")


def rows(ilax: Ilax) -> dict[str, list[tuple[bytes, bytes | None]]]:
    """All that control wrote in 1.0, whichever ilax can read it."""
    found = {}
    for name in ("ilax_endpoints", "ilax_mappings", "ilax_ports", "ilax_prefixes", "ilax_config"):
        with Map.open_pinned(ilax.pins / "v1/maps" / name) as table:
            found[name] = sorted((key, table.lookup(key)) for key in table.keys())  # noqa: SIM118
    return found


def test_other_commands_say_what_to_do(old: Host, own: Cgroups) -> None:
    before = rows(old.ilax)
    for command in (
        ("status",),
        ("limit", "list"),
        ("limit", "set", f"{own.name}/a", "--rate", "1mbit"),
        ("endpoint", "del", old.containers[0].address),
        ("mapping", "export", "-"),
    ):
        done = old.ilax.try_(*command)
        assert done.returncode == LAYOUT
        assert "minor: 0, older than 1" in done.stderr
        assert "run `ilax up` again" in done.stderr
    assert rows(old.ilax) == before
    assert minor(old.ilax) == 0


def test_up_keeps_rows_and_traffic(bare: Lab, old: Host, own: Cgroups) -> None:
    before = rows(old.ilax)
    task, peer = old.containers[0], bare.hosts[1].containers[0]
    with NumberedStream(peer.ns, task.ns, task.address, rate=500) as stream:
        until(lambda: stream.received > 50, "packets before the upgrade")
        assert "upgraded in place" in old.ilax(*up(bare, old))
        then = stream.received
        until(lambda: stream.received > then + 50, "packets after the upgrade")
    assert_unharmed(stream)
    assert rows(old.ilax) == before
    assert minor(old.ilax) == 1
    assert not (old.ilax.pins / "v1/maps_new").exists()
    pinned = {path.name for path in (old.ilax.pins / "v1/maps").iterdir()}
    assert pinned == {name for names in MAPS_BY_MINOR.values() for name in names}
    assert old.ilax.json("status")["capacities"]["ilax_limits"] == 32
    # The new programs use the new maps: a limit holds.
    old.ilax("limit", "set", f"{own.name}/a", "--pps", "1", "--burst", "1s")
    old.ilax("endpoint", "set", task.address, "--cgroup", f"{own.name}/a")
    for _ in range(5):
        probes.ping(peer.ns, task.address, wait=1)
    counted = old.ilax.json("limit", "show", f"{own.name}/a")["counted"]
    assert counted["passed_packets"] >= 1
    assert counted["passed_packets"] + counted["dropped_packets"] >= 5


def test_upgrade_does_it_as_well_and_goes_back(bare: Lab, old: Host) -> None:
    """The maps of 1.1 stay; the programs of 1.0 work beside them."""
    before = rows(old.ilax)
    task, peer = old.containers[0], bare.hosts[1].containers[0]
    with NumberedStream(peer.ns, task.ns, task.address, rate=500) as stream:
        until(lambda: stream.received > 50, "packets before the upgrade")
        old.ilax("upgrade", "--soak", "1s", "--before", "0")
        assert (minor(old.ilax), rows(old.ilax)) == (1, before)
        old.ilax("rollback")
        assert (minor(old.ilax), rows(old.ilax)) == (1, before)
        then = stream.received
        until(lambda: stream.received > then + 50, "packets after the rollback")
    assert_unharmed(stream)
    assert old.ilax.json("limit", "list") == []
    assert old.ilax("rollback")


def test_a_refused_up_leaves_it_at_1_0(bare: Lab, old: Host) -> None:
    before = rows(old.ilax)
    done = old.ilax.try_(*operator.up_arguments(bare, old), "--max-mappings", "5")
    assert done.returncode == 4
    assert (minor(old.ilax), rows(old.ilax)) == (0, before)
    pinned = {path.name for path in (old.ilax.pins / "v1/maps").iterdir()}
    assert pinned == set(MAPS_BY_MINOR[0])
    assert not (old.ilax.pins / "v1/maps_new").exists()
    probes.must_ping(bare.hosts[1].containers[0].ns, old.containers[0].address)


def test_down_leaves_nothing_of_an_old_instance(bare: Lab, old: Host) -> None:
    traces = Traces.of_pins(old.ilax.pins)
    devices = old.ns.devices()
    assert len(devices) > 1
    old.ilax("down")
    assert traces.leftovers() == []
    assert not old.ilax.pins.exists()
    assert old.ns.devices() == ["up0"]


def test_a_killed_upgrade_is_of_one_minor_or_the_other(bare: Lab, old: Host) -> None:
    task, peer = old.containers[0], bare.hosts[1].containers[0]
    # From the second `up` on there is a previous set, which takes some more steps.
    old.ilax(*up(bare, old))
    turn_back(old.ilax.instance)
    found = [step for step in steps(old.ilax, *up(bare, old)) if "maps_new" in step.text]
    assert {step.call for step in found} >= {"rename", "mkdir", "rmdir", "bpf"}
    moves = [step for step in found if step.call == "rename"]
    assert len(moves) == len(MAPS_BY_MINOR[1]) + 1
    before = rows(old.ilax)
    for step in (found[0], found[len(MAPS_BY_MINOR[1]) // 2], *moves, found[-1]):
        turn_back(old.ilax.instance)
        kill_at(old.ilax, step, *up(bare, old))
        assert minor(old.ilax) == (step is found[-1]), step
        assert rows(old.ilax) == before, step
        probes.must_ping(peer.ns, task.address)
        done = old.ilax.try_("limit", "list")
        assert done.returncode == (0 if step is found[-1] else LAYOUT), done
        old.ilax(*up(bare, old))
        assert (minor(old.ilax), rows(old.ilax)) == (1, before), step
        assert old.ilax.json("limit", "list") == []
        probes.must_ping(peer.ns, task.address)
