# SPDX-License-Identifier: Apache-2.0
"""From an older major of the contract, populated and at work, to ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ilax.bpf import Link, Map, Program
from ilax.errors import ConflictError, SystemCallError
from ilax.hooks import cgroup_attach
from ilax.instances.instance import Instance
from ilax.limiting.limit_book import slots_by_cgroup
from ilax.upgrades import major_migration, upgrade
from ilax.upgrades.major_migration import OlderMajor
from lab import operator, probes
from lab.cgroups import Cgroups, own_cgroups
from lab.contract_0 import CONVERTER, turn_back
from lab.topology import Host, Lab
from lab.udp import NumberedStream, assert_unharmed
from lab.wait import until

AT_ONCE = upgrade.UpgradeOptions(soak=0)
SIZES = ("--max-endpoints", "64", "--max-mappings", "1024", "--max-limits", "32")


@pytest.fixture
def own(bare: Lab) -> Iterator[Cgroups]:
    with own_cgroups(bare.tag) as made:
        made.make("a/b")
        made.make("c")
        yield made


@pytest.fixture
def host(bare: Lab, own: Cgroups) -> Host:
    """A host with rows of all kinds."""
    operator.bring_up(bare, operator.Options(extra=SIZES))
    host = bare.hosts[0]
    ilax, task = host.ilax, host.containers[0]
    ilax("limit", "set", f"{own.name}/a", "--rate", "900mbit", "--burst", "2ms")
    ilax("limit", "set", f"{own.name}/a/b", "--pps", "100k", "--drop-at", "7ms")
    ilax("limit", "set", f"{own.name}/c", "--pps", "1k")
    ilax("endpoint", "set", task.address, "--cgroup", f"{own.name}/a/b")
    probes.must_ping(bare.hosts[1].containers[0].ns, task.address, count=3)
    return host


def known(host: Host) -> dict[str, Any]:
    """Everything that an operator and the datapath know of an instance."""
    with Instance.open(host.ilax.instance) as opened:
        backlogs = opened.backlogs.rows()[1]
        return {
            "endpoints": sorted(row.tobytes() for row in opened.endpoints.rows()[1]),
            "mappings": sorted(row.tobytes() for row in opened.mappings.rows()[1]),
            "limits": opened.limits.rows()[1].tobytes(),
            "cgroups": sorted(k.tobytes() for k in opened.cgroups.lookup_batch()[0]),
            "prefixes": opened.prefixes.rows()[1].tobytes(),
            "config": opened.config.rows()[1].tobytes(),
            "until": backlogs["until"].tolist(),
            "totals": backlogs["total"]["passed_packets"].tolist(),
            "counters": opened.counters.per_cpu()["packets"].sum(axis=1).tolist(),
        }


def migrate(host: Host) -> upgrade.UpgradeResult:
    with host.ns.entered():
        return upgrade.upgrade(host.ilax.instance, AT_ONCE, print)


def test_rows_state_and_traffic_go_on(
    bare: Lab, own: Cgroups, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ilax, task, peer = host.ilax, host.containers[0], bare.hosts[1].containers[0]
    before = known(host)
    limits = ilax.json("limit", "list")
    turn_back(ilax.instance, tmp_path)
    probes.must_ping(peer.ns, task.address)

    # Nobody knows the way, so nothing happens.
    for command in (("upgrade",), ("status",), ("rollback",)):
        done = ilax.try_(*command)
        assert done.returncode == 6, done
        assert "pinned: v0" in done.stderr
    monkeypatch.setitem(major_migration.CONVERTERS, 0, CONVERTER)

    with NumberedStream(peer.ns, task.ns, task.address, rate=500) as stream:
        until(lambda: stream.received > 50, "packets before the upgrade")
        # Interrupted when it has changed half of the hooks: all of it is undone.
        _fail_at_the_third_link(host, monkeypatch)
        result = migrate(host)
        then = stream.received
        until(lambda: stream.received > then + 50, "packets after the upgrade")
    assert_unharmed(stream)
    assert result.hooks == len(_in_links(host)) == 8

    assert [path.name for path in ilax.pins.iterdir()] == ["v1"]
    after = known(host)
    for name in ("endpoints", "mappings", "limits", "cgroups", "prefixes", "config"):
        assert after[name] == before[name], name
    for name in ("until", "totals", "counters"):
        assert all(new >= old for new, old in zip(after[name], before[name], strict=True)), name
    assert any(before["until"])
    assert [row["cgroup"] for row in ilax.json("limit", "list")] == [
        row["cgroup"] for row in limits
    ]
    # The new programs work on the new maps, and limits still know whose they are.
    ilax("endpoint", "del", host.containers[1].address)
    ilax(*operator.add_arguments(host.containers[1]))
    probes.must_ping(peer.ns, host.containers[1].address)
    assert set(_in_links(host)) <= {*host.ilax.programs().values()}
    with Instance.open(ilax.instance) as opened:
        slots = slots_by_cgroup(opened)
        attached = cgroup_attach.pinned(opened.pins)
        assert len(attached) == 3
        assert all(cgroup_attach.holds(opened, cgroup, slots[cgroup]) for cgroup in attached)
    refused = ilax.try_("rollback")
    assert refused.returncode == 3
    ilax("upgrade", "--soak", "0")
    ilax("rollback")
    probes.must_ping(peer.ns, task.address)


def _fail_at_the_third_link(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _in_links(host)
    updates: list[str] = []
    real = Link.update

    def update(link: Link, program: Program) -> None:
        updates.append(link.name)
        if len(updates) == 3:
            raise SystemCallError("do it", 5)
        real(link, program)

    with monkeypatch.context() as patch:
        patch.setattr(Link, "update", update)
        with pytest.raises(SystemCallError):
            migrate(host)
    assert _in_links(host) == before
    assert not (host.ilax.pins / "v1" / "maps").exists()
    assert not (host.ilax.pins / "v1" / "maps_new").exists()


def _links(host: Host) -> Path:
    found = [path for path in host.ilax.pins.glob("v*/links") if any(path.iterdir())]
    assert len(found) == 1
    return found[0]


def _in_links(host: Host) -> list[int]:
    numbers = []
    for pin in sorted(_links(host).iterdir()):
        with Link.open_pinned(pin) as link:
            numbers.append(link.info().program_id)
    return numbers


def test_killed_between_two_majors(
    bare: Lab, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both halves are taken up again: links moved and maps not, and nothing left but the old."""
    before = known(host)
    turn_back(host.ilax.instance, tmp_path)
    monkeypatch.setitem(major_migration.CONVERTERS, 0, CONVERTER)
    _refuse_what_does_not_fit(host)

    def move_links_and_die(older: OlderMajor, _: Instance) -> None:
        older.links.rename(older.pins.links)
        raise KeyboardInterrupt

    def die(_: OlderMajor) -> None:
        raise KeyboardInterrupt

    for step, instead in (("move_in", move_links_and_die), ("sweep", die)):
        with monkeypatch.context() as patch:
            patch.setattr(OlderMajor, step, instead)
            with pytest.raises(KeyboardInterrupt):
                migrate(host)
        assert len(list(host.ilax.pins.iterdir())) == 2, step
        probes.must_ping(bare.hosts[1].containers[0].ns, host.containers[0].address)
    host.ilax("upgrade", "--soak", "0")
    assert [path.name for path in host.ilax.pins.iterdir()] == ["v1"]
    assert known(host)["endpoints"] == before["endpoints"]
    probes.must_ping(bare.hosts[1].containers[0].ns, host.containers[0].address)


def _refuse_what_does_not_fit(host: Host) -> None:
    before = _in_links(host)
    with Map.open_pinned(host.ilax.pins / "v0/maps/ilax_tasks") as tasks:
        key = next(iter(tasks.keys()))
        row = tasks.lookup(key) or b""
        tasks.update(key, (1 << 40).to_bytes(8, "little") + row[8:])  # the generation
        with pytest.raises(ConflictError, match=r"ilax_tasks\.generation does not fit into 4"):
            migrate(host)
        tasks.update(key, row)
    assert _in_links(host) == before
    assert not (host.ilax.pins / "v1" / "maps").exists()
