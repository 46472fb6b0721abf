# SPDX-License-Identifier: Apache-2.0
"""Limits of real tasks: each packet is counted once, and no more pass than may.

Counts only: how fast this machine is does not matter. Packets are sent in small
blocks, each when the one before has been counted, so that no queue in between loses
any. No process of ilax runs meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ilax.bpf import possible_cpus
from lab import operator
from lab.cgroups import Cgroups, own_cgroups, udp_socket
from lab.cleanup import PREFIX
from lab.ilax import environment
from lab.limits import BLOCK, Meter, received, send
from lab.netns import Namespace
from lab.topology import UPLINK, Host, Lab, Plan
from lab.traces import Traces

PORT = 4711
# The most that a CPU borrows at a time.
CHUNK_NS = 1 << 14


@pytest.fixture(scope="module", params=["native", "off"], ids=["native", "tc-only"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts that are up, the first with a SIR address of its own processes."""
    with Lab.make(f"{PREFIX}limit{request.param}", Plan(hosts=2, containers=1)) as made:
        operator.bring_up(made, operator.Options(xdp=request.param))
        yield made


@pytest.fixture
def host(lab: Lab) -> Host:
    return lab.hosts[0]


@pytest.fixture
def own(lab: Lab) -> Iterator[Cgroups]:
    with own_cgroups(lab.tag) as made:
        for path in ("a/b", "a/c", "a/x", "e"):
            made.make(path)
        try:
            yield made
        finally:
            ilax = lab.hosts[0].ilax
            for endpoint in ilax.json("endpoint", "list"):
                if endpoint["delivery"] == "host":
                    ilax("endpoint", "del", endpoint["sir"])
            for limit in ilax.json("limit", "list"):
                if limit["rate"] or limit["packets"]:
                    ilax("limit", "del", limit["id"])


@contextlib.contextmanager
def task(
    own: Cgroups, path: str, host: Host, address: object, port: int = PORT
) -> Iterator[socket.socket]:
    """A socket of a task in the host's namespace."""
    bound = udp_socket(own.top / path, host.ns.path, (str(address), port))
    with bound:
        yield bound


# --- one limit -------------------------------------------------------------------


@pytest.mark.parametrize("family", ["IPv6", "IPv4"])
def test_a_task_of_the_host_is_policed(lab: Lab, host: Host, own: Cgroups, family: str) -> None:
    meter = Meter(host, own)
    source, address = lab.hosts[1].ns, str(host.address)
    if family == "IPv4":
        source, address = lab.router, "192.0.2.1"
        host.ns.ip("address", "add", f"{address}/24", "dev", UPLINK)
        lab.router.ip("address", "add", "192.0.2.2/24", "dev", host.router_port)
    try:
        host.ilax(
            *("limit", "set", f"{own.name}/a", "--pps", "500", "--burst", "20ms"),
            *("--drop-at", "10ms", "--small-extra", "0"),
        )
        before = host.ilax.counters().get(("cgroup", "drop_limit"), 0)
        with task(own, "a", host, address) as bound:
            elapsed = send(source, (address, PORT), 1000, lambda: meter.judged("a"))
            found = meter("a")
            assert found.passed_packets + found.dropped_packets == 1000
            # 30 ms of the rate are 15 packets, and one that the last room lets in; then one
            # every 2 ms.
            assert 15 <= found.passed_packets <= 15 + 1 + 1 + elapsed // 2_000_000
            assert found.passed_bytes == found.passed_packets * (
                200 + 8 + (40 if family == "IPv6" else 20) + 14 + 24
            )
            assert received(bound, found.passed_packets) == found.passed_packets
        dropped = host.ilax.counters()["cgroup", "drop_limit"] - before
        assert dropped == found.dropped_packets > 0
    finally:
        if family == "IPv4":
            host.ns.ip("address", "del", f"{address}/24", "dev", UPLINK)
            lab.router.ip("address", "del", "192.0.2.2/24", "dev", host.router_port)


def test_a_dry_run_drops_nothing(lab: Lab, host: Host, own: Cgroups) -> None:
    meter = Meter(host, own)
    host.ilax("limit", "set", f"{own.name}/a", "--pps", "10", "--burst", "100ms",
              "--action", "count")  # fmt: skip
    with task(own, "a", host, host.address) as bound:
        send(lab.hosts[1].ns, (host.address, PORT), 200, lambda: meter.judged("a"))
        found = meter("a")
        assert found.dropped_packets > 0
        assert received(bound, 200) == found.passed_packets + found.dropped_packets


def test_a_limit_that_changes_keeps_its_backlog(lab: Lab, host: Host, own: Cgroups) -> None:
    """Else each change would let a new burst in."""
    meter = Meter(host, own)
    where = f"{own.name}/a"
    # A packet each 100 ms; 2 s of them may wait in the virtual queue.
    host.ilax("limit", "set", where, "--pps", "10", "--burst", "100ms", "--drop-at", "2s",
              "--small-extra", "0")  # fmt: skip
    target, seen = (host.address, PORT), lambda: meter.judged("a")
    with task(own, "a", host, host.address):
        start = time.monotonic_ns()
        send(lab.hosts[1].ns, target, 80, seen)
        for change in (["--pps", "11"], ["--rate", "1gbit"], ["--action", "mark"], ["--pps", "10"],
                       ["--parent", "none"]):  # fmt: skip
            then = meter.until_("a")
            host.ilax("limit", "set", where, *change)
            assert meter.until_("a") == then
            send(lab.hosts[1].ns, target, BLOCK, seen)
            # What CPUs had borrowed by the old rules, they pay back.
            assert meter.until_("a") >= then - possible_cpus() * (CHUNK_NS << 6)
        # 2.1 s for burst and queue, and one packet, once; then 11 each second.
        elapsed = time.monotonic_ns() - start
        assert meter("a").passed_packets <= 24 + 1 + 1 + elapsed * 11 // 10**9


def test_limits_change_while_packets_flow(lab: Lab, host: Host, own: Cgroups) -> None:
    meter = Meter(host, own)
    host.ilax("limit", "set", f"{own.name}/a", "--pps", "100", "--burst", "50ms")
    with task(own, "a", host, host.address) as bound, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(
            send, lab.hosts[1].ns, (host.address, PORT), 1200, lambda: meter.judged("a")
        )
        changes = 0
        while not sending.done() or changes < 8:
            what = ("--rate", "1gbit") if changes % 2 else ("--rate", "none")
            host.ilax("limit", "set", f"{own.name}/a", *what, "--pps", str(100 + changes))
            changes += 1
        sending.result()
        found = meter("a")
        assert found.passed_packets + found.dropped_packets == 1200
        assert received(bound, found.passed_packets) == found.passed_packets


# --- several limits -----------------------------------------------------------------


def test_nested_cgroups_charge_a_packet_once(lab: Lab, host: Host, own: Cgroups) -> None:
    """The nearest limit and its parents, although programs of several cgroups run."""
    meter = Meter(host, own)
    for path in (own.name, f"{own.name}/a", f"{own.name}/a/b", f"{own.name}/a/c"):
        host.ilax("limit", "set", path, "--rate", "10gbit")
    sent = {"a/b": 100, "a/c": 60, "a": 40, "a/x": 20, "e": 10}
    sees = {"a/b": "a/b", "a/c": "a/c", "a": "a", "a/x": "a", "e": ""}
    for path, count in sent.items():
        with task(own, path, host, host.address) as bound:
            send(lab.hosts[1].ns, (host.address, PORT), count, lambda: meter.judged(sees[path]))  # noqa: B023
            received(bound, count)
    assert {path: meter(path).passed_packets for path in ("a/b", "a/c", "a", "")} == {
        "a/b": 100, "a/c": 60, "a": 100 + 60 + 40 + 20, "": sum(sent.values())
    }  # fmt: skip
    # Without the limit between, its children charge what lies above.
    host.ilax("limit", "del", f"{own.name}/a")
    with task(own, "a/b", host, host.address):
        send(lab.hosts[1].ns, (host.address, PORT), 30, lambda: meter.judged("a/b"))
    with task(own, "a/x", host, host.address):
        send(lab.hosts[1].ns, (host.address, PORT), 20, lambda: meter.judged(""))
    assert meter("a/b").passed_packets == 130
    assert meter("").passed_packets == sum(sent.values()) + 50


def test_a_parent_that_refuses_charges_nobody(lab: Lab, host: Host, own: Cgroups) -> None:
    meter = Meter(host, own)
    host.ilax("limit", "set", f"{own.name}/a", "--pps", "100", "--burst", "100ms")
    host.ilax("limit", "set", f"{own.name}/a/b", "--rate", "10gbit")
    with task(own, "a/b", host, host.address) as bound:
        send(lab.hosts[1].ns, (host.address, PORT), 400, lambda: meter.judged("a/b"))
        leaf, parent = meter("a/b"), meter("a")
        assert leaf == parent
        assert leaf.passed_packets + leaf.dropped_packets == 400
        assert leaf.dropped_packets > 0
        received(bound, leaf.passed_packets)


def own_address(lab: Lab) -> str:
    return str(lab.plan.sir_prefix.network_address + (0x2000 << 48) + 0x11)


def test_an_endpoint_and_a_cgroup_with_one_parent(lab: Lab, host: Host, own: Cgroups) -> None:
    """What was charged where the packet arrived is left out at the cgroup."""
    meter = Meter(host, own)
    sir, peer = own_address(lab), lab.hosts[1]
    for path in (own.name, f"{own.name}/a", f"{own.name}/a/b", f"{own.name}/e"):
        host.ilax("limit", "set", path, "--rate", "10gbit")
    host.ilax("endpoint", "add", sir, "--host", "--cgroup", f"{own.name}/a")
    peer.ilax("mapping", "add", sir, "--locator", host.locator)
    source = peer.containers[0].ns
    try:
        for path, count in (("e", 100), ("a/b", 60), ("a", 40), ("a/x", 20)):
            with task(own, path, host, sir) as bound:
                send(source, (sir, PORT), count, lambda: meter.judged("a"))
                received(bound, count)
        assert {path: meter(path).passed_packets for path in ("", "a", "a/b", "e")} == {
            "": 220, "a": 220, "a/b": 60, "e": 100
        }  # fmt: skip
        # The endpoint goes: now each cgroup stands for itself.
        host.ilax("endpoint", "set", sir, "--cgroup", "none")
        for path, seen, count in (("e", "e", 10), ("a/b", "a/b", 20), ("a/x", "a", 30)):
            with task(own, path, host, sir) as bound:
                send(source, (sir, PORT), count, lambda: meter.judged(seen))  # noqa: B023
                received(bound, count)
        assert {path: meter(path).passed_packets for path in ("", "a", "a/b", "e")} == {
            "": 280, "a": 270, "a/b": 80, "e": 110
        }  # fmt: skip
    finally:
        peer.ilax("mapping", "del", sir)


@pytest.mark.parametrize("order", ["limit first", "endpoint first"])
def test_an_endpoint_leaves_other_addresses_to_the_cgroup(
    lab: Lab, host: Host, own: Cgroups, order: str
) -> None:
    """What comes by the endpoint is charged where it arrives, and all else at the socket."""
    meter = Meter(host, own)
    sir, peer = own_address(lab), lab.hosts[1]
    by_endpoint, directly = peer.containers[0].ns, peer.ns
    host.ilax("limit", "set", f"{own.name}/a", "--rate", "10gbit")
    name = f"{own.name}/a/b"
    commands = [
        ("limit", "set", name, "--rate", "10gbit"),
        ("endpoint", "add", sir, "--host", "--cgroup", name),
    ]
    for command in commands if order == "limit first" else reversed(commands):
        host.ilax(*command)
    peer.ilax("mapping", "add", sir, "--locator", host.locator)

    def passed(source: Namespace, address: object, count: int, level: str) -> tuple[int, int]:
        with task(own, "a/b", host, address) as bound:
            before = meter("a/b").passed_packets, meter("a").passed_packets
            send(source, (address, PORT), count, lambda: meter.judged(level))
            received(bound, count)
            leaf, parent = meter("a/b").passed_packets, meter("a").passed_packets
        return leaf - before[0], parent - before[1]

    try:
        assert passed(directly, host.address, 100, "a/b") == (100, 100)
        assert passed(by_endpoint, sir, 60, "a/b") == (60, 60)
        # The row that the endpoint names stays, and limits nothing.
        host.ilax("limit", "del", name)
        assert passed(directly, host.address, 40, "a") == (0, 40)
        assert passed(by_endpoint, sir, 30, "a")[1] == 30
        host.ilax("limit", "set", name, "--pps", "50", "--burst", "100ms")
        with task(own, "a/b", host, host.address) as bound:
            first = meter("a/b").passed_packets
            send(directly, (host.address, PORT), 200, lambda: meter.judged("a/b"))
            found = meter("a/b")
            assert found.dropped_packets > 0
            received(bound, found.passed_packets - first)
    finally:
        peer.ilax("mapping", "del", sir)


def test_endpoints_come_and_go_and_the_limit_stays(lab: Lab, host: Host, own: Cgroups) -> None:
    """There is no moment in which packets to another address are charged nowhere, or twice."""
    meter, sir, name = Meter(host, own), own_address(lab), f"{own.name}/a/b"
    for path in (f"{own.name}/a", name):
        host.ilax("limit", "set", path, "--rate", "10gbit")
    commands: list[tuple[str, ...]] = [
        ("endpoint", "add", sir, "--host", "--cgroup", name),
        ("endpoint", "set", sir, "--cgroup", "none"),
        ("endpoint", "set", sir, "--cgroup", name),
        ("endpoint", "del", sir),
    ]
    with task(own, "a/b", host, host.address) as bound, ThreadPoolExecutor(1) as pool:
        target, sent = (host.address, PORT), 0
        while commands:
            changing = pool.submit(host.ilax, *commands.pop(0))
            while True:
                last = changing.done()
                send(lab.hosts[1].ns, target, BLOCK, lambda: meter.judged("a/b"))
                sent += BLOCK
                received(bound, BLOCK)
                if last:
                    break
            changing.result()
        assert meter("a/b").passed_packets == meter("a").passed_packets == sent


def test_an_endpoint_of_a_container_is_policed(lab: Lab, host: Host, own: Cgroups) -> None:
    """Before its namespace; the program at its cgroup leaves it out."""
    meter = Meter(host, own)
    container = host.containers[0]
    host.ilax("limit", "set", own.name, "--rate", "10gbit")
    host.ilax("endpoint", "set", container.address, "--cgroup", f"{own.name}/a")
    try:
        bound = udp_socket(own.top / "a", container.ns.path, (container.address, PORT))
        with bound:
            source = lab.hosts[1].containers[0].ns
            send(source, (container.address, PORT), 100, lambda: meter.judged("a"))
            received(bound, 100)
            assert meter("").passed_packets == meter("a").passed_packets == 100
            host.ilax("limit", "set", f"{own.name}/a", "--pps", "50", "--burst", "100ms")
            send(source, (container.address, PORT), 200, lambda: meter.judged("a"))
            leaf, parent = meter("a"), meter("")
            assert leaf.passed_packets + leaf.dropped_packets == 300
            assert leaf.dropped_packets > 0
            assert (parent.passed_packets, parent.dropped_packets) == (leaf.passed_packets, 0)
            received(bound, leaf.passed_packets - 100)
    finally:
        host.ilax("endpoint", "set", container.address, "--cgroup", "none")


# --- commands -----------------------------------------------------------------------


def test_many_commands_at_once(host: Host, own: Cgroups) -> None:
    paths = [own.make(f"many/{n}/x") for n in range(8)]
    uppers = [path.removesuffix("/x") for path in paths]

    def run(arguments: tuple[object, ...]) -> None:
        host.ilax(*arguments)

    def all_at_once(commands: list[tuple[object, ...]]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(run, commands))

    def found() -> dict[str, dict[str, Any]]:
        return {
            one["cgroup"]: one
            for one in host.ilax.json("limit", "list")
            if one["cgroup"].startswith(f"{own.name}/many")
        }

    all_at_once([("limit", "set", path, "--rate", "1gbit") for path in paths + uppers])
    limits = found()
    assert set(limits) == {*paths, *uppers}
    assert len({one["slot"] for one in limits.values()}) == 16
    assert all(
        limits[path]["parents"][0] == upper for path, upper in zip(paths, uppers, strict=True)
    )
    assert host.ilax("limit", "gc") == "nothing to do\n"
    all_at_once(
        [("limit", "del", path) for path in uppers[:4]]
        + [("limit", "set", f"{own.name}/many", "--rate", "2gbit")]
        + [("limit", "set", path, "--pps", "1k") for path in paths]
        + [("limit", "gc")]
    )
    limits = found()
    assert set(limits) == {f"{own.name}/many", *paths, *uppers[4:]}
    for path, upper in zip(paths, uppers, strict=True):
        above = [upper] if upper in limits else []
        assert limits[path]["parents"] == [*above, f"{own.name}/many"]
        assert limits[path]["packets"] == 1000
    assert host.ilax("limit", "gc") == "nothing to do\n"


def test_watch_sees_what_passes(lab: Lab, host: Host, own: Cgroups) -> None:
    meter = Meter(host, own)
    host.ilax("limit", "set", f"{own.name}/a", "--rate", "10gbit")
    arguments = ("limit", "watch", f"{own.name}/a", "--interval", "100ms", "--count")
    with task(own, "a", host, host.address), ThreadPoolExecutor(1) as pool:
        watching = pool.submit(host.ilax.try_, *arguments, 30, as_json=True)
        sent = 0
        while not watching.done():
            send(lab.hosts[1].ns, (host.address, PORT), BLOCK, lambda: meter.judged("a"))
            sent += BLOCK
        done = watching.result()
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 30
    times = [line["time_ns"] for line in lines]
    seen = 0.0
    for before, line in zip(times, lines[1:], strict=False):
        (rate,) = line["limits"]
        seen += rate["passed_pps"] * (line["time_ns"] - before) / 1e9
    assert 0 < seen <= sent + 0.5


def test_watch_draws_in_place_on_a_terminal(host: Host, own: Cgroups) -> None:
    host.ilax("limit", "set", f"{own.name}/a", "--rate", "10gbit")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    process = subprocess.Popen(
        [*host.ns.prefix(), sys.executable, "-m", "ilax", "--instance", host.ilax.instance,
         "limit", "watch", "--interval", "50ms"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, **environment()},
    )  # fmt: skip
    try:
        os.close(theirs)
        shown = b""
        while shown.count(b"\x1b[H\x1b[J") < 3:
            shown += os.read(ours, 4096)
        assert f"{own.name}/a".encode() in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_down_leaves_no_program_at_any_cgroup(own: Cgroups) -> None:
    with Lab.make(f"{PREFIX}limitdown", Plan(hosts=1, containers=1)) as made:
        operator.bring_up(made)
        (host,) = made.hosts
        for path in ("a", "a/b", "e"):
            host.ilax("limit", "set", f"{own.name}/{path}", "--rate", "1gbit")
        host.ilax("endpoint", "set", host.containers[0].address, "--cgroup", f"{own.name}/a/b")
        own.remove("e")
        traces = Traces.of_pins(host.ilax.pins)
        assert len(traces.objects["link"]) >= 5
        host.ilax("down")
        assert traces.leftovers() == []
        assert not host.ilax.pins.exists()
