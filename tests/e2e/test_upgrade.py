# SPDX-License-Identifier: Apache-2.0
"""`upgrade` and `rollback`: what stays, what comes back, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ilax.bpf import Link, Program
from lab import objects, operator, probes
from lab.ilax import Ilax, environment
from lab.operator import Options
from lab.topology import Host, Lab
from lab.traces import Traces, network_state
from lab.udp import NumberedStream
from lab.wait import until

NOT_FOUND, CONFLICT, GUARD, SELF_TEST = 3, 4, 10, 11
AT_ONCE = ("upgrade", "--soak", "0")


def running(host: Host) -> dict[str, int]:
    """Numbers of the programs in the links, by link; of filters of clsact by device."""
    found = {}
    for pin in (host.ilax.pins / "v1" / "links").iterdir():
        with Link.open_pinned(pin) as link:
            found[pin.name] = link.info().program_id
    for device in host.ns.devices():
        for way in ("ingress", "egress"):
            shown = host.ns.run("tc", "-json", "filter", "show", "dev", device, way).stdout
            for row in json.loads(shown or "[]"):
                if "prog" in row.get("options", {}):
                    found[f"{device} {way}"] = row["options"]["prog"]["id"]
    return found


@pytest.mark.parametrize(
    "options", [Options(), Options(xdp="off", tc="clsact")], ids=["links", "clsact"]
)
def test_there_and_back_again(bare: Lab, options: Options) -> None:
    operator.bring_up(bare, options)
    host, task, peer = bare.hosts[0], bare.containers[0], bare.containers[2]
    ilax = host.ilax
    refused = ilax.try_("rollback")
    assert refused.returncode == NOT_FOUND
    assert "no previous set" in refused.stderr

    first, state = ilax.programs(), network_state(host.ns)
    answer = ilax.json(*AT_ONCE)
    second = ilax.programs()
    assert answer["hooks"] == len(running(host)) == (5 if options.xdp == "native" else 4)
    assert answer["tests"] >= 30
    assert not answer["rolled_back"]
    assert set(running(host).values()) <= set(second.values())
    assert not set(first.values()) & set(second.values())
    assert ilax.programs("previous") == first
    # Containers that come and go meanwhile are of no concern to it.
    ilax("endpoint", "del", task.address)
    ilax(*operator.add_arguments(task, options))

    for now, other in ((first, second), (second, first)):
        ilax("rollback")
        assert (ilax.programs(), ilax.programs("previous")) == (now, other)
        assert set(running(host).values()) <= set(now.values())
        probes.must_ping(task.ns, peer.address)
        probes.must_ping(peer.ns, task.address)
    # `up` keeps the set before it as well.
    ilax(*operator.up_arguments(bare, host, options))
    assert ilax.programs("previous") == second
    ilax("rollback")
    assert ilax.programs() == second
    assert _stable(network_state(host.ns)) == _stable(state)
    traces = Traces.of_pins(ilax.pins)
    ilax("down")
    assert traces.leftovers() == []
    assert not ilax.pins.exists()


def _stable(state: object) -> int:
    """How much there is of it: an endpoint that came again has other numbers."""
    return len(str(state).splitlines())


def test_a_tripped_guard_brings_the_old_set_back(pair: Lab, tmp_path: Path) -> None:
    host, task, peer = pair.hosts[0], pair.containers[0], pair.containers[2]
    ilax = host.ilax
    ilax(*AT_ONCE)
    before = ilax.programs(), ilax.programs("previous"), running(host)
    with (
        NumberedStream(task.ns, peer.ns, peer.address, rate=500, port=7001) as victim,
        NumberedStream(peer.ns, task.ns, task.address, rate=500, port=7002) as other,
    ):
        for guard, line in (("drops", objects.DROPS), ("deliveries", objects.SWALLOWS)):
            then = victim.received, other.received
            until(
                lambda then=then: victim.received > then[0] + 50 and other.received > then[1] + 50,  # type: ignore[misc]
                "traffic",
            )
            bad = objects.build_container(tmp_path / guard, line)
            options = ("--objects", bad, "--soak", "60s", "--before", "1s")
            done = ilax.try_("upgrade", *options, as_json=True)
            assert done.returncode == GUARD, done
            answer = json.loads(done.stdout)
            assert answer["rolled_back"]
            assert answer["trip"]["guard"] == guard
            if guard == "drops":
                assert answer["trip"]["subject"] == "container drop_user"
                assert answer["trip"]["before"] == "0 % of packets"
            assert answer["soaked"] < 60
            for text in (answer["trip"]["subject"], "before", "after", "rolling back"):
                assert text in done.stderr
            assert (ilax.programs(), ilax.programs("previous"), running(host)) == before
        end = victim.received
        until(lambda: victim.received > end + 50, "traffic of the victim afterwards")
    # Only what the bad programs were made to drop is missing.
    assert victim.report().lost
    assert (other.report().lost, other.report().duplicates) == ((), 0)


def test_a_failed_self_test_and_a_quiet_soak(pair: Lab, tmp_path: Path) -> None:
    idle = objects.build_container(tmp_path / "idle", objects.DOES_NOTHING)
    host = pair.hosts[0]
    before = host.ilax.programs(), host.ilax.programs("previous"), running(host)
    counted = host.ilax.counters()
    for command in (("upgrade", "--soak", "0"), ("selftest",)):
        done = host.ilax.try_(*command, "--objects", idle)
        assert done.returncode == SELF_TEST
        assert "container: TCP to another host" in done.stdout + done.stderr
    assert (host.ilax.programs(), host.ilax.programs("previous"), running(host)) == before
    changed = {
        name for name, n in host.ilax.counters().items() if n != counted.get(name)
    }  # neighbour discovery goes on
    assert all(reason == "pass_link_scope" for _, reason in changed), changed
    # Not a single packet is no reason to go back, either; progress is told.
    done = host.ilax.try_("upgrade", "--soak", "1s", "--before", "100ms")
    assert done.returncode == 0, done
    assert "watched for 1 s" in done.stdout
    for text in ("self test: ", "switched 5 hooks", "soak 1/1 s"):
        assert text in done.stderr


def test_what_is_refused(pair: Lab, tmp_path: Path) -> None:
    first, second = pair.hosts
    for command in (("upgrade",), ("rollback",)):
        done = Ilax(first.ns, f"{first.ilax.instance}x").try_(*command)
        assert done.returncode == NOT_FOUND
        assert "is not up" in done.stderr
    stranger = Ilax(second.ns, first.ilax.instance)
    first.ilax(*AT_ONCE)
    for arguments in (AT_ONCE, ("rollback",)):
        done = stranger.try_(*arguments)
        assert done.returncode == CONFLICT
        assert "another network namespace" in done.stderr
    for option, value in (
        ("--max-drop-rise", "1"), ("--max-drop-rise", "200%"), ("--soak", "soon"),
        ("--objects", str(tmp_path)), ("--objects", str(tmp_path / "none")),
    ):  # fmt: skip
        done = first.ilax.try_("upgrade", option, value)
        assert done.returncode == 2, done
    (tmp_path / "container.bpf.o").write_text("junk")
    for loading in ("upgrade", "selftest"):
        done = first.ilax.try_(loading, "--objects", tmp_path)
        assert done.returncode == 7
        assert "container.bpf.o: the file" in done.stderr
    # A previous set over maps that were made anew since.
    pin = first.ilax.pins / "v1" / "previous"
    for path in pin.iterdir():
        with Program.open_pinned(second.ilax.pins / "v1/programs" / path.name) as other:
            path.unlink()
            other.pin(path)
    before = running(first)
    done = first.ilax.try_("rollback")
    assert done.returncode == CONFLICT
    assert "maps of the previous set" in done.stderr
    assert running(first) == before


@pytest.mark.parametrize(
    ("meanwhile", "code", "words"),
    [("rollback", CONFLICT, "changed by somebody else"), ("down", NOT_FOUND, "was taken down")],
)
def test_a_soak_of_other_programs_is_no_success(
    pair: Lab, meanwhile: str, code: int, words: str
) -> None:
    ilax = pair.hosts[0].ilax
    argv = ilax.command("upgrade", "--before", "0", "--soak", "5s")
    env = {**os.environ, **environment()}
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stderr is not None
        while "switched" not in process.stderr.readline():
            assert process.poll() is None
        ilax(meanwhile)
        told, complaint = process.communicate(timeout=60)
    assert process.returncode == code
    assert words in complaint
    assert "upgraded" not in told
