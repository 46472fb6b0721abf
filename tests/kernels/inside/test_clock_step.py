# SPDX-License-Identifier: Apache-2.0
"""The wall clock is set by hours, forwards, backwards and to before boot, under traffic.

Two limited tasks receive all the time, one UDP and one TCP, more than they may. What is
asserted compares clocks and counters, never how fast this machine is.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ilax.exporter import choice
from ilax.exporter.collector import Collector, Options
from ilax.frames import pcap
from ilax.limiting.limit_readings import Counted
from kernels.wall_clock import WallClock, may_be_set, steppable
from lab import operator
from lab.cgroups import Cgroups, own_cgroups
from lab.cleanup import PREFIX
from lab.ilax import quick_commands
from lab.limits import Meter
from lab.tcp import Transfer
from lab.topology import Container, Host, Lab, Plan
from lab.udp import NumberedStream
from lab.wait import until

pytestmark = pytest.mark.skipif(not may_be_set(), reason="sets the clock: emulated machines only")

HOUR = 3600.0
# From the right time, or seconds since 1970 where it is less than a day's.
STEPS = {
    "three hours ahead": 3 * HOUR,
    "six hours back": -6 * HOUR,
    "ten years ahead": 10 * 365 * 24 * HOUR,
    "before boot": None,
}
# The kernel refuses a wall clock that says less than the time since boot.
YEAR_1971 = 365 * 24 * HOUR

NS = 1_000_000_000
BURST, DROP = 2 * NS, NS
UDP_RATE, UDP_PAYLOAD = 100_000, 200
TCP_RATE = 2_000_000
FRAME_OVERHEAD = 24
# What is charged at once: a super-packet.
LARGEST = 66_000
PATIENCE = 120.0
# A rate in whole units of the contract.
ROUNDING = 1.001


@dataclass(frozen=True)
class Reading:
    """A limit at a moment: what stands in a line was read in that order.

    Attributes:
        before, after: CLOCK_MONOTONIC, ns.
        until, until_after: end of the virtual queue, ns.
    """

    before: int
    until: int
    counted: Counted
    until_after: int
    after: int


@dataclass(frozen=True)
class Flow:
    """Traffic to a task of host 1 that exceeds its limit."""

    name: str
    rate: int
    task: Container
    meter: Meter

    def read(self) -> Reading:
        before, until_ = time.monotonic_ns(), self.meter.until_(self.name) >> 6
        counted = self.meter(self.name)
        return Reading(
            before, until_, counted, self.meter.until_(self.name) >> 6, time.monotonic_ns()
        )

    def ns(self, charged: int) -> int:
        """How long that many charged bytes take."""
        return charged * 8 * NS // self.rate

    def until_refused(self) -> int:
        """Wait for a drop; returns a time before it."""
        dropped = self.meter(self.name).dropped_packets

        def look() -> int:
            at = time.monotonic_ns()
            return at if self.meter(self.name).dropped_packets > dropped else 0

        return until(look, f"drop by {self.name}", timeout=PATIENCE)

    def until_passed(self, more: int) -> None:
        first = self.meter(self.name).passed_packets
        until(
            lambda: self.meter(self.name).passed_packets >= first + more,
            f"{more} packets through {self.name}",
            timeout=PATIENCE,
        )


@dataclass(frozen=True)
class Running:
    """All of it, while packets flow."""

    lab: Lab
    own: Cgroups
    clock: WallClock
    stream: NumberedStream
    transfer: Transfer
    udp: Flow
    tcp: Flow
    traffic: ExitStack
    began: list[tuple[Flow, Reading]]

    @property
    def host(self) -> Host:
        return self.lab.hosts[0]

    def step(self, name: str) -> float:
        by = STEPS[name]
        return self.clock.set(YEAR_1971 if by is None else self.clock.right() + by)

    def stepping(self, done: Callable[[], bool]) -> int:
        """Step this way and that until something is done; returns how often."""
        count, names = 0, itertools.cycle(STEPS)
        while not done():
            self.step(next(names))
            count += 1
            time.sleep(0.25)
        return count


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    tag = f"{PREFIX}{os.getpid():x}c"
    with ExitStack() as stack:
        stack.enter_context(quick_commands())
        clock = stack.enter_context(steppable())
        lab = stack.enter_context(Lab.make(tag, Plan(hosts=2)))
        own = stack.enter_context(own_cgroups(tag))
        operator.bring_up(lab)
        host, (udp, tcp, udp_source, tcp_source) = lab.hosts[0], lab.containers
        for name, task, rate in (("udp", udp, UDP_RATE), ("tcp", tcp, TCP_RATE)):
            cgroup = own.make(name)
            host.ilax(
                *("limit", "set", cgroup, "--rate", f"{rate}bit", "--burst", f"{BURST}ns"),
                *("--drop-at", f"{DROP}ns", "--small-extra", "0"),
            )
            host.ilax("endpoint", "set", task.address, "--cgroup", cgroup)
        meter = Meter(host, own)
        transfer = Transfer(tcp_source.ns, tcp.ns, tcp.address, timeout=PATIENCE)
        stream = NumberedStream(udp_source.ns, udp.ns, udp.address, rate=150, size=UDP_PAYLOAD)
        traffic = stack.enter_context(ExitStack())
        traffic.enter_context(stream)
        traffic.enter_context(transfer)
        flows = Flow("udp", UDP_RATE, udp, meter), Flow("tcp", TCP_RATE, tcp, meter)
        flows[0].until_refused()
        began = [(flow, flow.read()) for flow in flows]
        yield Running(lab, own, clock, stream, transfer, *flows, traffic, began)


@pytest.fixture(autouse=True)
def _right_again(running: Running) -> Iterator[None]:
    yield
    running.clock.set(running.clock.right())


# --- the limit itself ---------------------------------------------------------------


def holds(flow: Flow, first: Reading, last: Reading) -> float:
    """Never more than has been paid for, nor paid for more than a threshold ahead.

    Returns:
        What passed, as a share of the rate.
    """
    passed = last.counted.passed_bytes - first.counted.passed_bytes
    paid = last.until_after - max(first.until, first.before - BURST)
    assert flow.ns(passed) <= paid * ROUNDING
    assert last.until_after - last.after <= DROP + flow.ns(LARGEST)
    for field, count in asdict(last.counted).items():
        assert count >= getattr(first.counted, field)
    return round(flow.ns(passed) / (last.before - first.before), 3)


def had_its_due(flow: Flow, first: Reading, refused: int, last: Reading) -> None:
    """Over its limit all the time, so that no time was lost between two full queues."""
    passed = last.counted.passed_bytes - first.counted.passed_bytes
    packet = flow.ns(14 + 40 + 8 + UDP_PAYLOAD + FRAME_OVERHEAD)
    assert flow.ns(passed) * ROUNDING >= refused - first.after - packet


@pytest.mark.parametrize("name", STEPS)
def test_a_limit_holds(
    running: Running, name: str, record_property: Callable[[str, object], None]
) -> None:
    udp, tcp = running.udp, running.tcp
    udp.until_refused()
    first, first_tcp = udp.read(), tcp.read()
    record_property("moved by s", round(running.step(name)))
    udp.until_passed(30)
    tcp.until_passed(60)
    refused = udp.until_refused()
    last, last_tcp = udp.read(), tcp.read()
    record_property("udp: share of the rate", holds(udp, first, last))
    record_property("tcp: share of the rate", holds(tcp, first_tcp, last_tcp))
    had_its_due(udp, first, refused, last)


@pytest.mark.parametrize("name", STEPS)
def test_show_top_and_counters(running: Running, name: str) -> None:
    ilax, udp = running.host.ilax, running.udp
    first = udp.read()
    refused = ilax.counters()
    running.step(name)
    udp.until_passed(5)
    shown = ilax.json("limit", "show", f"{running.own.name}/udp")
    last = udp.read()
    assert 0 <= shown["backlog_ns"] <= DROP + udp.ns(LARGEST)
    assert 0 <= shown["idle_ns"] <= last.after - first.before
    assert first.counted.passed_packets < shown["counted"]["passed_packets"]
    assert shown["counted"]["passed_packets"] <= last.counted.passed_packets
    found = ilax.counters()
    assert all(found[key] >= count for key, count in refused.items())

    before, wall = time.monotonic(), time.time()
    done = ilax.try_("top", "--count", "2", "--interval", "0.5", as_json=True)
    elapsed = time.monotonic() - before
    assert done.returncode == 0, done.stderr
    for view in map(json.loads, done.stdout.splitlines()):
        assert 0 < view["seconds"] <= elapsed
        assert wall <= view["time"] <= time.time()
        assert view["rx_bps"] > 0
        for row in view["limits"]:
            assert 0 <= row["backlog_ns"] <= DROP + running.tcp.ns(LARGEST)


def test_watch_goes_on(running: Running) -> None:
    """It ends after so many readings, and its rates times its seconds are what has passed."""
    arguments = ("limit", "watch", f"{running.own.name}/udp", "--interval", "300ms", "--count", "8")
    with ThreadPoolExecutor(1) as pool:
        first = running.udp.read()
        watching = pool.submit(running.host.ilax.try_, *arguments, as_json=True, timeout=PATIENCE)
        assert running.stepping(watching.done) >= 2
        done, last = watching.result(), running.udp.read()
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    times = [line["time_ns"] for line in lines]
    assert len(lines) == 8
    assert first.before < times[0] and times[-1] < last.after
    assert all(b - a >= 300_000_000 for a, b in itertools.pairwise(times))
    passed = 0.0
    for before, line in zip(times, lines[1:], strict=False):
        (row,) = line["limits"]
        assert row["passed_bps"] >= 0 and row["dropped_bps"] >= 0
        assert 0 <= row["backlog_ns"] <= DROP + running.udp.ns(LARGEST)
        passed += row["passed_bps"] / 8 * (line["time_ns"] - before) / NS
    assert 0 < passed <= last.counted.passed_bytes - first.counted.passed_bytes + 0.5


# --- times that people are shown ------------------------------------------------------


def test_monitor_tells_the_time_of_the_clock_as_it_is(running: Running, tmp_path: Path) -> None:
    """A drop has a time between the monitor's start and now, by the clock that was set last."""
    file, began = tmp_path / "drops.pcap", time.monotonic()
    arguments = ("--no-marks", "--reason", "drop_limit", "--dst", running.udp.task.address,
                 "--pcap", str(file))  # fmt: skip
    told: list[float] = []

    def fits(process: subprocess.Popen[str]) -> bool:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert (line["kind"], line["reason"]) == ("drop", "drop_limit")
        told.append(line["time"])
        wall = time.time()
        return wall - (time.monotonic() - began) <= told[-1] <= wall

    with running.host.ilax.monitoring(*arguments) as process:
        assert fits(process)
        for name in STEPS:
            running.step(name)
            # Behind those that were told before it was set.
            until(lambda: fits(process), f"drop of {name}", timeout=PATIENCE)
            assert all(fits(process) for _ in range(5)), name
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    *drops, summary = map(json.loads, text.splitlines())
    told += [drop["time"] for drop in drops]
    assert 0 < summary["seconds"] <= time.monotonic() - began
    (dropped,) = summary["dropped"]
    assert dropped["packets"] >= dropped["sampled"] >= summary["shown"]
    # The last one may have been interrupted between the file and the output.
    assert len(told) <= summary["shown"] <= len(told) + 1
    with file.open("rb") as stream:
        records = list(pcap.read(stream))
    assert [record.time / 1e9 for record in records][: len(told)] == pytest.approx(told, abs=1e-5)


@pytest.mark.parametrize("name", STEPS)
def test_a_check_is_as_old_as_it_is(running: Running, name: str, tmp_path: Path) -> None:
    """The exporter's time of the last check goes along with the clock."""
    report, ilax, where = tmp_path / "check.json", running.host.ilax, f"{running.own.name}/udp"
    collector = Collector(
        ilax.instance, Options(choice.parse("all"), choice.parse("all"), 1e6, report)
    )

    def scrape() -> dict[tuple[str, ...], float]:
        with running.host.ns.entered():
            text = collector.text().decode()
        assert collector.last_errors == {}
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    before = time.monotonic()
    ilax("check", "--fail-on", "never", "--report", str(report))
    checked = time.monotonic()
    first = scrape()
    counted = time.monotonic()
    running.step(name)
    running.udp.until_passed(5)
    asked = time.monotonic()
    found = scrape()
    wall, now = time.time(), time.monotonic()
    # A second for the clocks that are read one after the other.
    age = wall - found["ilax_check_last_run_timestamp_seconds",]
    assert now - checked - 1 <= age <= now - before + 1
    age = found["ilax_map_entries_age_seconds", "ilax_mappings"]
    assert asked - counted <= age <= now - checked
    assert 0 <= found["ilax_limit_backlog_seconds", where] <= (DROP + running.udp.ns(LARGEST)) / NS
    passed = "ilax_limit_passed_packets_total", where
    assert found[passed] > first[passed]
    for key, value in first.items():
        if key[0].endswith("_total"):
            assert found[key] >= value, key


# --- upgrades -------------------------------------------------------------------------


def test_a_soak_takes_its_time_and_rollback_goes_back(
    running: Running, record_property: Callable[[str, object], None]
) -> None:
    ilax = running.host.ilax
    first = ilax.programs()
    # A share of drops that rises is nothing new to a task over its limit.
    arguments = ("upgrade", "--before", "2s", "--soak", "6s", "--max-drop-rise", "100%")
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        upgrading = pool.submit(ilax.try_, *arguments, as_json=True, timeout=10 * PATIENCE)
        steps = running.stepping(upgrading.done)
        done, elapsed = upgrading.result(), time.monotonic() - began
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    record_property("steps", steps)
    record_property("soaked", answer["soaked"])
    assert not answer["rolled_back"]
    assert 6 <= answer["soaked"] <= elapsed
    second = ilax.programs()
    assert not {*first.values()} & {*second.values()}
    assert ilax.programs("previous") == first
    for name, now in zip(STEPS, itertools.cycle((first, second)), strict=False):
        running.step(name)
        ilax("rollback")
        assert ilax.programs() == now
        running.udp.until_passed(5)
        running.tcp.until_passed(5)


# --- in the end -----------------------------------------------------------------------


def test_nothing_was_lost_but_by_the_limit(
    running: Running, record_property: Callable[[str, object], None]
) -> None:
    """Last: it ends the traffic."""
    refused = running.udp.until_refused()
    for flow, first in running.began:
        last = flow.read()
        if flow is running.udp:
            had_its_due(flow, first, refused, last)
        seconds = round((last.before - first.before) / NS)
        record_property(f"{flow.name}: share of the rate", holds(flow, first, last))
        record_property(f"{flow.name}: seconds", seconds)
    received = running.transfer.received
    until(lambda: running.transfer.received > received, "more of the transfer", timeout=PATIENCE)
    running.traffic.close()
    stream, transfer = running.stream.report(), running.transfer.report()
    assert transfer.error is None
    assert transfer.same_content and transfer.sent == transfer.received > 0
    counted = running.udp.meter("udp")
    assert (stream.duplicates, stream.corrupt, stream.refused) == (0, 0, 0)
    assert stream.received == counted.passed_packets
    assert stream.sent == counted.passed_packets + counted.dropped_packets
    record_property("udp", {"sent": stream.sent, "passed": counted.passed_packets})
    record_property("tcp bytes", transfer.received)
