# SPDX-License-Identifier: Apache-2.0
"""Commands are killed at their steps; `check --fix` comes to a good state each time."""

from __future__ import annotations

from pathlib import Path

from lab import findings, operator, probes
from lab.faults import kill_at, some, steps
from lab.findings import Answer, check
from lab.topology import Host, Lab
from lab.traces import network_state

# Made and freed often here, and a million rows take their time.
SMALL = ("--max-endpoints", "64", "--max-mappings", "1024")


def settle(host: Host, up: list[object]) -> Answer:
    """`check --fix`, and what it leaves to the operator, by the commands it names."""
    left = check(host.ilax, "--fix")
    for found in left.findings:
        command = str(found["command"])
        if "up --uplink DEV ..." in command:
            # What the maps cannot tell, the operator knows.
            host.ilax(*up)
        else:
            findings.shell(host.ns, command)
    return check(host.ilax) if left.findings else left


def test_endpoint_add_is_killed(pair: Lab, tmp_path: Path) -> None:
    task, neighbour, peer = pair.containers[:3]
    host, add = task.host, operator.add_arguments(task)
    host.ilax("endpoint", "del", task.address)
    before = network_state(host.ns), network_state(task.ns)
    found = steps(host.ilax, tmp_path / "log", *add)
    host.ilax("endpoint", "del", task.address)
    for step in some(found, 7):
        kill_at(host.ilax, step, *add)
        assert settle(host, []).findings == [], step
        probes.must_ping(neighbour.ns, peer.address)
        # There is the whole endpoint, or nothing of it.
        done = host.ilax.try_("endpoint", "del", task.address)
        if done.returncode == 0:
            host.ilax(*add)
            probes.must_ping(task.ns, peer.address)
            host.ilax("endpoint", "del", task.address)
        assert (network_state(host.ns), network_state(task.ns)) == before, step


def test_the_first_up_is_killed(bare: Lab, tmp_path: Path) -> None:
    host = bare.hosts[0]
    up = [*operator.up_arguments(bare, host), *SMALL]
    before = network_state(host.ns)
    found = steps(host.ilax, tmp_path / "log", *up)
    host.ilax("down")
    for step in some(found, 6):
        kill_at(host.ilax, step, *up)
        assert settle(host, up).findings == [], step
        host.ilax("down")
        assert network_state(host.ns) == before, step


def test_an_upgrade_is_killed(pair: Lab, tmp_path: Path) -> None:
    host, (task, _, peer, _) = pair.hosts[0], pair.containers
    up = operator.up_arguments(pair, host)
    for step in some(steps(host.ilax, tmp_path / "log", *up), 4):
        kill_at(host.ilax, step, *up)
        assert settle(host, up).findings == [], step
        probes.must_ping(task.ns, peer.address)
