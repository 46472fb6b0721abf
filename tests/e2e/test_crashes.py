# SPDX-License-Identifier: Apache-2.0
"""The loader is killed at every step it takes; a second try comes to a good state."""

from __future__ import annotations

from pathlib import Path

from lab import operator, probes
from lab.faults import kill_at, some, steps
from lab.ilax import Ilax
from lab.topology import Container, Host, Lab
from lab.traces import Traces, network_state
from lab.udp import NumberedStream, assert_unharmed, still_flowing
from lab.wait import until

NOT_FOUND, CONFLICT = 3, 4

# Made and freed often here, and a million rows take their time.
SMALL = ("--max-endpoints", "64", "--max-mappings", "1024")


def add_again(task: Container) -> None:
    """What an operator does after a crash: add; if that is refused, del and add."""
    done = task.host.ilax.try_(*operator.add_arguments(task))
    if done.returncode == CONFLICT:
        assert f"ilax endpoint del {task.address}" in done.stderr
        task.host.ilax("endpoint", "del", task.address)
        task.host.ilax(*operator.add_arguments(task))
    else:
        assert done.returncode == 0, done


def test_endpoint_add_is_killed(pair: Lab) -> None:
    task, neighbour, peer = pair.containers[:3]
    ilax = task.host.ilax
    ilax("endpoint", "del", task.address)
    before = network_state(task.host.ns), network_state(task.ns)
    rows = ilax("mapping", "export", "-", "--format", "csv")
    found = steps(ilax, *operator.add_arguments(task))
    assert len(found) > 10
    ilax("endpoint", "del", task.address)
    for step in found:
        kill_at(ilax, step, *operator.add_arguments(task))
        # Others have not noticed.
        probes.must_ping(neighbour.ns, peer.address)
        add_again(task)
        probes.must_ping(task.ns, peer.address)
        probes.must_ping(peer.ns, task.address)
        ilax("endpoint", "del", task.address)
        assert (network_state(task.host.ns), network_state(task.ns)) == before, step
        assert ilax("mapping", "export", "-", "--format", "csv") == rows, step
        assert len(list((ilax.pins / "v1" / "links").glob("port_*"))) == 1, step


def test_endpoint_del_is_killed(pair: Lab) -> None:
    task, neighbour, peer = pair.containers[:3]
    ilax = task.host.ilax
    found = steps(ilax, "endpoint", "del", task.address)
    before = network_state(task.host.ns), network_state(task.ns)
    for number, step in enumerate(found):
        ilax(*operator.add_arguments(task))
        kill_at(ilax, step, "endpoint", "del", task.address)
        probes.must_ping(neighbour.ns, peer.address)
        if number % 2:
            # Again: done now, or its row was gone and the rest is swept up by the next add.
            again = ilax.try_("endpoint", "del", task.address)
            assert again.returncode in (0, NOT_FOUND)
        add_again(task)
        probes.must_ping(task.ns, peer.address)
        ilax("endpoint", "del", task.address)
        assert (network_state(task.host.ns), network_state(task.ns)) == before, step
        assert len(list((ilax.pins / "v1" / "links").glob("port_*"))) == 1, step


def test_an_address_of_the_host_is_killed(pair: Lab) -> None:
    host, far = pair.hosts[0], pair.containers[2]
    ilax, sir = host.ilax, str(pair.plan.sir(77))
    add, delete = ("endpoint", "add", sir, "--host"), ("endpoint", "del", sir)
    far.host.ilax("mapping", "add", sir, "--locator", host.locator)
    before = network_state(host.ns)
    adding = steps(ilax, *add)
    deleting = steps(ilax, *delete)
    assert len(adding) >= 3 <= len(deleting)
    for step in adding:
        kill_at(ilax, step, *add)
        ilax(*add)
        probes.must_ping(far.ns, sir)
        ilax(*delete)
        assert network_state(host.ns) == before, step
    for step in deleting:
        ilax(*add)
        kill_at(ilax, step, *delete)
        ilax(*add)
        probes.must_ping(far.ns, sir)
        ilax(*delete)
        assert network_state(host.ns) == before, step


def test_the_first_up_is_killed(bare: Lab) -> None:
    host = bare.hosts[0]
    ilax, arguments = host.ilax, [*operator.up_arguments(bare, host), *SMALL]
    before = network_state(host.ns)
    found = steps(ilax, *arguments)
    ilax("down")
    for number, step in enumerate(some(found, 14)):
        kill_at(ilax, step, *arguments)
        traces = Traces.of_pins(ilax.pins)
        if number % 2 and ilax.pins.exists():
            ilax("down")
        else:
            ilax(*arguments)
            task, same = host.containers
            for container in host.containers:
                ilax(*operator.add_arguments(container))
            probes.must_ping(task.ns, same.address)
            traces.add(ilax.pins)
            ilax("down")
        assert not ilax.pins.exists(), step
        assert network_state(host.ns) == before, step
        assert traces.leftovers() == [], step


def test_an_upgrade_is_killed_under_load(pair: Lab) -> None:
    """Old programs, new programs, or some of both: packets pass all the time."""
    host = pair.hosts[1]
    ilax, arguments = host.ilax, operator.up_arguments(pair, host)
    found = steps(ilax, *arguments)
    a, _, b, _ = pair.containers
    with (
        NumberedStream(a.ns, b.ns, b.address, rate=500, port=7001) as to,
        NumberedStream(b.ns, a.ns, a.address, rate=500, port=7002) as back,
    ):
        until(lambda: to.received > 20 and back.received > 20, "traffic")
        for step in some(found, 10):
            kill_at(ilax, step, *arguments, alike=False)
        assert "upgraded" in ilax(*arguments)
        still_flowing(to, back)
    assert_unharmed(to, back)
    links = sorted(row["link"] for row in ilax.json("status")["links"])
    assert [name.partition("_")[0] for name in links] == ["port", "port", "uplink", "uplink", "xdp"]
    assert not [path for path in ilax.pins.rglob("*") if path.name.endswith(".new")]


def test_down_is_killed(bare: Lab) -> None:
    host = bare.hosts[0]
    namespaces = [host.ns, *(task.ns for task in host.containers)]
    before = [network_state(ns) for ns in namespaces]
    _set_up(bare, host)
    found = steps(host.ilax, "down")
    assert [network_state(ns) for ns in namespaces] == before
    for number, step in enumerate(some(found, 12)):
        traces = _set_up(bare, host)
        kill_at(host.ilax, step, "down")
        if number % 2:
            done = host.ilax.try_("down")
            assert done.returncode in (0, NOT_FOUND), (step, done)
        else:
            # Or it is wanted again.
            host.ilax(*operator.up_arguments(bare, host))
            for task in host.containers:
                add_again(task)
            probes.must_ping(host.containers[0].ns, host.containers[1].address)
            traces.add(host.ilax.pins)
            host.ilax("down")
        assert not host.ilax.pins.exists(), step
        assert [network_state(ns) for ns in namespaces] == before, step
        assert traces.leftovers() == [], step


def _set_up(lab: Lab, host: Host) -> Traces:
    host.ilax(*operator.up_arguments(lab, host), *SMALL)
    for task in host.containers:
        host.ilax(*operator.add_arguments(task))
    return Traces.of_pins(host.ilax.pins)


def test_an_import_is_killed(pair: Lab, tmp_path: Path) -> None:
    """Rows that were there stay right; importing again completes the others."""
    host, other = pair.hosts
    file = tmp_path / "rows.csv"
    # More than one batch of writing; the last 16 bits of an identifier are never 0.
    numbers = [n for n in range(0x1000, 0x1000 + 70_000) if (n + 0xC0) & 0xFFFF]
    addresses = [str(pair.plan.sir(n)) for n in numbers]
    file.write_text("\n".join(["sir,locator", *(f"{a},{other.locator}" for a in addresses)]))
    before = set(host.ilax("mapping", "export", "-", "--format", "csv").splitlines())
    found = steps(host.ilax, "mapping", "import", file)
    whole = set(host.ilax("mapping", "export", "-", "--format", "csv").splitlines())
    assert len(found) > 1
    fresh = Ilax(host.ns, host.ilax.instance)
    fresh("down")
    fresh(*operator.up_arguments(pair, host))
    for task in host.containers:
        fresh(*operator.add_arguments(task))
    operator.publish(pair)
    kill_at(host.ilax, found[-1], "mapping", "import", file)
    rows = set(host.ilax("mapping", "export", "-", "--format", "csv").splitlines())
    assert _values(before) <= _values(rows) <= _values(whole)
    probes.must_ping(host.containers[0].ns, other.containers[0].address)
    host.ilax("mapping", "import", file)
    rows = set(host.ilax("mapping", "export", "-", "--format", "csv").splitlines())
    assert _values(rows) == _values(whole)


def _values(lines: set[str]) -> set[str]:
    """Rows without their generation, which counts how often they were written."""
    return {line.rpartition(",")[0] for line in lines}
