# SPDX-License-Identifier: Apache-2.0
"""The exporter, as a user with one capability, and a real Prometheus that scrapes it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab import operator
from lab.cgroups import own_cgroups
from lab.cleanup import PREFIX
from lab.ilax import Ilax, environment
from lab.netns import run
from lab.prometheus import (
    EXPORTER_PORT,
    NOBODY,
    ONE_CAPABILITY,
    Prometheus,
    dashboard,
    exporting,
    get,
    tool,
)
from lab.topology import UPLINK, Host, Lab, Plan
from lab.wait import until

PRIVILEGE = 5
PORT = 4711
ECT = 2
# A limit of each kind, whose packets cost 25 ms.
LIMITS: dict[str, tuple[str, ...]] = {
    "drop": (),
    "mark": ("--mark-at", "1ms"),
    "tag": ("--mark-at", "1ms", "--tag-mark", "1"),
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts; each container of the first has a limit."""
    with Lab.make(f"{PREFIX}watch", Plan(hosts=2, containers=3)) as made:
        operator.bring_up(made)
        with own_cgroups(made.tag) as own:
            host = made.hosts[0]
            for (action, more), task in zip(LIMITS.items(), host.containers, strict=True):
                cgroup = own.make(action)
                host.ilax("endpoint", "set", task.address, "--cgroup", cgroup)
                host.ilax(
                    *("limit", "set", cgroup, "--pps", "40", "--rate", "1mbit"),
                    *("--action", action, "--drop-at", "100ms", *more),
                )
            yield made


@pytest.fixture
def host(lab: Lab) -> Host:
    return lab.hosts[0]


@contextlib.contextmanager
def traffic(lab: Lab) -> Iterator[None]:
    """Packets to each task of the first host, to the host itself, and to nobody."""
    stop = threading.Event()
    host, other = lab.hosts
    tasks = [task.address for task in host.containers]
    pairs = [(other.containers[0].ns, address) for address in tasks]
    pairs += [(other.ns, str(host.address)), (host.containers[0].ns, str(lab.plan.sir(99)))]
    sockets = []
    for ns, address in pairs:
        with ns.entered():
            made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, ECT)
        sockets.append((made, address))

    def send() -> None:
        while not stop.wait(0.005):
            for made, address in sockets:
                with contextlib.suppress(OSError):  # errors of earlier packets
                    made.sendto(bytes(200), (address, PORT))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()
        for made, _ in sockets:
            made.close()


@pytest.fixture
def statistics() -> Iterator[None]:
    """The kernel counts runs of programs."""
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    switch.write_text("1\n")
    try:
        yield
    finally:
        switch.write_text(before)


def once(host: Host, *wrapper: str) -> subprocess.CompletedProcess[str]:
    return Ilax(host.ns, host.ilax.instance, wrapper).try_("exporter", "--once")


def test_one_capability_is_enough(host: Host) -> None:
    """And it sees what root sees, but for one thing that root asks in another way."""
    root, weak = once(host), once(host, *ONE_CAPABILITY)
    assert root.returncode == weak.returncode == 0, weak.stderr
    expected, found = samples(root.stdout), samples(weak.stdout)
    asked = ("ilax_links_asked", frozenset[tuple[str, str]]())
    assert (expected.pop(asked), found.pop(asked)) == (1, 0)
    assert expected.keys() == found.keys()
    changing = ("ilax_scrape_duration", "ilax_limit_backlog")
    for key, value in expected.items():
        if not key[0].startswith(changing) and not key[0].endswith("_total"):
            assert found[key] == value, key
    links = {labels for name, labels in found if name == "ilax_link_attached"}
    assert len(links) == 3


def test_that_capability_allows_no_writing(host: Host) -> None:
    """Not by the exporter's descriptors, and not by others."""
    program = (
        "import sys, ilax.instances.instance as i\n"
        "from ilax.errors import IlaxError\n"
        "from ilax.contract.tables import index_key\n"
        "with i.Instance.open(sys.argv[1], read_only=True) as opened:\n"
        "    row = opened.config.get(index_key(0))\n"
        "    try: opened.config.put(index_key(0), row)\n"
        "    except IlaxError as error: print(error)\n"
        "try: i.Instance.open(sys.argv[1])\n"
        "except IlaxError as error: print(error)\n"
    )
    done = host.ns.run(
        *(*ONE_CAPABILITY, sys.executable, "-c", program, host.ilax.instance), env=environment()
    )
    write, reopen = done.stdout.splitlines()
    assert write.startswith("cannot write")
    assert reopen.startswith("cannot open pinned map")


def test_without_it_nothing_is_read_and_that_is_said(host: Host) -> None:
    done = once(host, *NOBODY)
    if not done.stdout:
        pytest.skip("the environment cannot be read by others")
    assert done.returncode == PRIVILEGE
    assert samples(done.stdout)["ilax_up", frozenset()] == 0
    assert "Traceback" not in done.stderr


def test_prometheus_draws_every_panel(
    lab: Lab, host: Host, statistics: None, tmp_path: Path
) -> None:
    ilax = (*ONE_CAPABILITY, sys.executable, "-m", "ilax", "--instance", host.ilax.instance)
    report = tmp_path / "check.json"
    assert not host.ilax.try_("check", "--fail-on", "error", "--report", report).returncode
    options = ("--check-report", str(report))
    with (
        exporting(host.ns, *ilax, environment=environment(), options=options),
        Prometheus.running(host.ns, tmp_path, "200ms") as prometheus,
        traffic(lab),
    ):
        for query in dashboard():
            until(lambda q=query: prometheus.query(q.over("2s")), f"data of {query}")  # type: ignore[misc]

        def evaluated() -> bool:
            (group,) = prometheus.api("rules")["groups"]
            health = {rule["name"]: rule["health"] for rule in group["rules"]}
            assert "err" not in health.values(), group
            return set(health.values()) == {"ok"}

        until(evaluated, "an evaluation of all alerts")
        page = get(host.ns, EXPORTER_PORT, "/metrics").decode()
        linted = run(tool("promtool"), "check", "metrics", text_in=page)
        assert not linted.stdout + linted.stderr

        # What a check finds is seen when it has run, and not before.
        found = 'sum by (severity) (ilax_check_findings{severity="error"})'
        ran = prometheus.value("ilax_check_last_run_timestamp_seconds") or 0
        assert prometheus.value(found) == 0
        assert prometheus.value('ilax_check_checks{result!="made"} > 0') is None
        host.ns.ip("-6", "route", "del", str(lab.plan.sir_prefix), "dev", UPLINK)
        host.ilax.try_("check", "--report", report)
        until(lambda: prometheus.value(found) == 1, "a finding")
        assert (prometheus.value("ilax_check_last_run_timestamp_seconds") or 0) > ran > 0
        (one,) = prometheus.query('ilax_check_findings{severity="error"} > 0')
        assert one["metric"]["id"] == "route.sir-missing"
        host.ilax.try_("check", "--fix", "--report", report)
        until(lambda: prometheus.value(found) == 0, "the end of the finding")

        # The instance goes, and comes again, and is upgraded; the exporter stays.
        counted = prometheus.value('sum(ilax_packets_total{reason="send_meta"})')
        host.ilax(*operator.up_arguments(lab, host))
        until(
            lambda: (prometheus.value('sum(ilax_packets_total{reason="send_meta"})') or 0)
            > (counted or 0) > 0,
            "packets after an upgrade",
        )  # fmt: skip
        host.ilax("down")
        until(lambda: prometheus.value("ilax_up") == 0, "the end of the instance")
        until(lambda: not prometheus.query("ilax_endpoints"), "the end of its series")
        host.ilax(*operator.up_arguments(lab, host))
        until(lambda: prometheus.value("ilax_up") == 1, "another instance")
        assert prometheus.value("sum(ilax_scrape_errors_total)") == 0


def test_json_has_the_same_samples(host: Host) -> None:
    rows = json.loads(
        Ilax(host.ns, host.ilax.instance).try_("exporter", "--once", as_json=True).stdout
    )
    assert {(row["name"], frozenset(row["labels"].items())) for row in rows} == samples(
        once(host).stdout
    ).keys()
