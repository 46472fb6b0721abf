# SPDX-License-Identifier: Apache-2.0
"""What the exporter says, against what the commands and the maps say."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ilax.bpf import possible_cpus
from ilax.cli.check import ERRORS
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.errors import SystemCallError
from ilax.exporter import choice
from ilax.exporter.collector import Collector, Options
from ilax.exporter.server import Server, parse_listen
from ilax.instances.instance import Instance
from ilax.limiting import limit_readings
from ilax.limiting.limit_book import slots_by_cgroup
from ilax.watching import counters
from lab.cgroups import Cgroups, own_cgroups

from .conftest import OTHER_LOCATOR, Lab, sir

ALL = Options(choice.parse("all"), choice.parse("all"), count_period=0)
Found = dict[tuple[str, ...], float]


@pytest.fixture
def own(lab: Lab) -> Iterator[Cgroups]:
    with own_cgroups(f"{lab.instance}exp") as made:
        yield made


def read(text: bytes) -> Found:
    """Value by name and values of labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def scrape(lab: Lab, options: Options = ALL) -> Found:
    return read(Collector(lab.instance, options).text())


def count(instance: Instance, slot: int, **fields: int) -> None:
    """Write the traffic of a slot, different on each CPU."""
    rows = np.zeros(possible_cpus(), instance.traffic.value_dtype)
    for name, value in fields.items():
        rows[name] = np.arange(len(rows)) * 1000 + value
    instance.traffic.map.update(index_key(slot), rows.tobytes())


def test_counters_are_those_of_the_command(running: Lab) -> None:
    with Instance.open(running.instance) as instance:
        rows = instance.counters.per_cpu()
        values = np.zeros((len(rows), possible_cpus()), instance.counters.value_dtype)
        values["packets"] = np.arange(values.size).reshape(values.shape)
        values["bytes"] = values["packets"] * 7
        values["sampled"], values["lost"] = 1, 2
        keys = np.arange(len(rows), dtype="<u4").view(np.uint8).reshape(-1, 4)
        instance.counters.map.update_batch(keys, values.view(np.uint8).reshape(len(rows), -1))
        expected = counters.read(instance, zeros=True)
        found = scrape(running)
        # The kernel sends some by itself meanwhile, such as reports of listeners.
        later = counters.read(instance, zeros=True)
    for counter, then in zip(expected, later, strict=True):
        labels = counter.hook, counter.reason
        assert counter.packets <= found["ilax_packets_total", *labels] <= then.packets
        assert counter.bytes <= found["ilax_bytes_total", *labels] <= then.bytes
    assert found["ilax_events_lost_total",] == sum(counter.lost for counter in expected) > 0


def test_what_never_happened_is_there_as_zero(running: Lab) -> None:
    """A counter that begins with its first event hides that event from rate()."""
    found = scrape(running)
    assert found["ilax_packets_total", "container", "drop_no_mapping"] == 0


def test_endpoints_are_known_by_their_address(running: Lab) -> None:
    for number in (1, 2, 3):
        running.ilax("endpoint", "add", sir(number), "--host")
    with Instance.open(running.instance) as instance:
        for slot in (1, 2, 3):
            count(instance, slot, rx_packets=slot, rx_bytes=10 * slot, tx_drops=slot)
        expected = {slot: counters.traffic(instance, slot) for slot in (1, 2, 3)}
    found = scrape(running)
    for slot, traffic in expected.items():
        name = "ilax_endpoint_receive_bytes_total"
        assert found[name, sir(slot)] == traffic.rx_bytes > 0
        name = "ilax_endpoint_transmit_dropped_packets_total"
        assert found[name, sir(slot)] == traffic.tx_drops > 0
    assert found["ilax_endpoints",] == 3
    assert found["ilax_endpoints_left_out",] == found["ilax_endpoints_device_missing",] == 0


def test_choices_bound_the_number_of_series(running: Lab) -> None:
    for number in (1, 2, 3):
        running.ilax("endpoint", "add", sir(number), "--host")
    with Instance.open(running.instance) as instance:
        for slot, packets in ((1, 5), (2, 7), (3, 6)):
            count(instance, slot, rx_packets=packets)
        # One that shares slot 0 has no traffic of its own.
        keys, rows = instance.endpoints.rows()
        (third,) = np.flatnonzero(rows["slot"] == 3)
        rows["slot"][third] = 0
        instance.endpoints.put_rows(keys, rows)

    def chosen(text: str) -> tuple[set[str], float]:
        found = scrape(running, Options(endpoints=choice.parse(text)))
        return {key[1] for key in found if key[0] == "ilax_endpoint_receive_packets_total"}, found[
            "ilax_endpoints_left_out",
        ]

    assert chosen("all") == ({sir(1), sir(2)}, 1)
    assert chosen("top:2") == ({sir(1), sir(2)}, 1)
    assert chosen("top:1") == ({sir(2)}, 2)
    assert chosen("none") == (set(), 3)


def test_limits_are_those_of_the_command(running: Lab, own: Cgroups) -> None:
    odd = 'a\\x2d"b'
    for path, options in (
        (odd, ["--rate", "200mbit", "--pps", "50k"]),
        ("plain", ["--pps", "1234", "--drop-at", "7ms"]),
        ("gone", ["--rate", "1gbit"]),
    ):
        assert running.ilax("limit", "set", own.make(path), *options).exit_code == 0
    number = str(own.id("gone"))
    own.remove("gone")
    with Instance.open(running.instance) as instance:
        slot = slots_by_cgroup(instance)[own.id("plain")]
        row = instance.backlogs.new()[0]
        for value, name in enumerate(row["total"].dtype.names or (), start=1):
            row["total"][name] = value
        row["until"] = (1 << 62) - 1
        instance.backlogs.put(index_key(slot), row)
        counted = limit_readings.counted(instance, slot)
        # Rows without costs are no limits.
        assert running.ilax("endpoint", "add", sir(1), "--host").exit_code == 0
    running.ilax("endpoint", "set", sir(1), "--cgroup", own.make("empty"))
    found, plain, odd = scrape(running), f"{own.name}/plain", f"{own.name}/{odd}"
    assert found["ilax_limits",] == 3
    assert found["ilax_limits_cgroup_missing",] == 1
    for outcome in ("passed", "dropped", "marked", "tagged"):
        for unit in ("packets", "bytes"):
            name = f"{outcome}_{unit}"
            assert found[f"ilax_limit_{name}_total", plain] == getattr(counted, name) > 0
    assert found["ilax_limit_rate_bytes_per_second", odd] == 25_000_000
    assert found["ilax_limit_rate_packets_per_second", odd] == 50_000
    assert found["ilax_limit_rate_bytes_per_second", number] == 125_000_000
    assert found["ilax_limit_rate_packets_per_second", plain] == 1234
    assert ("ilax_limit_rate_bytes_per_second", plain) not in found
    assert found["ilax_limit_drop_threshold_seconds", plain] == pytest.approx(0.007)
    assert found["ilax_limit_backlog_seconds", odd] == 0
    assert found["ilax_limit_backlog_seconds", plain] > 1e6
    few = scrape(running, Options(limits=choice.parse("top:1")))
    assert ("ilax_limit_passed_bytes_total", plain) in few
    assert ("ilax_limit_passed_bytes_total", odd) not in few
    assert few["ilax_limits_left_out",] == 2


def test_rows_of_a_careless_daemon_hide_nothing_else(running: Lab, own: Cgroups) -> None:
    assert running.ilax("limit", "set", own.make("a"), "--pps", "10").exit_code == 0
    running.ilax("endpoint", "add", sir(1), "--host")
    running.ilax("endpoint", "add", sir(2), "--host")
    with Instance.open(running.instance) as instance:
        instance.cgroups.update((99).to_bytes(8, "little"), index_key(0xFFFFFFFF))
        keys, rows = instance.endpoints.rows()
        rows["slot"][0] = 0xFFFFFFFF
        instance.endpoints.put_rows(keys, rows)
    found = scrape(running)
    assert found["ilax_limits",] == 1
    assert found["ilax_endpoints",] == 2
    assert found["ilax_endpoints_left_out",] == 1
    assert all(value for key, value in found.items() if key[0] == "ilax_scrape_success")


def test_rows_are_counted_and_mappings_less_often(running: Lab) -> None:
    running.ilax("mapping", "add", sir(8), "--locator", OTHER_LOCATOR)
    collector = Collector(running.instance, Options(count_period=3600))
    always = Collector(running.instance, Options(count_period=0))
    entries = ("ilax_map_entries", "ilax_mappings")
    age = ("ilax_map_entries_age_seconds", "ilax_mappings")
    assert read(collector.text())[entries] == 1
    running.ilax("mapping", "add", sir(9), "--locator", OTHER_LOCATOR)
    later = read(collector.text())
    assert later[entries] == 1
    assert later[age] > 0
    assert read(always.text())[entries] == 2
    assert later["ilax_map_capacity_entries", "ilax_mappings"] == 1024
    running.ilax("down")
    assert ("ilax_map_entries", "ilax_mappings") not in read(collector.text())
    running.up()
    assert read(collector.text())[entries] == 0, "another map, so another count"


def test_it_survives_the_instance(lab: Lab) -> None:
    collector = Collector(lab.instance)
    assert read(collector.text())["ilax_up",] == 0
    assert lab.up().exit_code == 0
    assert read(collector.text())["ilax_up",] == 1
    assert lab.up().exit_code == 0
    found = read(collector.text())
    assert found["ilax_up",] == 1
    assert found["ilax_link_attached", "uplink_ingress"] == 1
    assert lab.ilax("down").exit_code == 0
    found = read(collector.text())
    assert found["ilax_up",] == 0
    assert not any(value for key, value in found.items() if key[0] == "ilax_scrape_errors_total")


def test_a_link_that_let_go_is_seen(running: Lab) -> None:
    from ilax.bpf import Link

    with Instance.open(running.instance) as instance:
        pin = instance.pins.links / "uplink_egress"
    with Link.open_pinned(pin) as link:
        link.detach()
    found = scrape(running)
    assert found["ilax_link_attached", "uplink_egress"] == 0
    assert found["ilax_link_attached", "uplink_ingress"] == 1


def test_a_link_without_its_pin_is_seen(running: Lab) -> None:
    with Instance.open(running.instance) as instance:
        (instance.pins.links / "uplink_ingress").unlink()
    found = scrape(running)
    assert found["ilax_link_attached", "uplink_ingress"] == 0
    assert found["ilax_link_attached", "uplink_egress"] == 1


def test_a_part_that_fails_is_named_and_hides_no_other(running: Lab) -> None:
    with Instance.open(running.instance) as instance:
        programs = instance.pins.programs
        programs.rename(programs.with_name("elsewhere"))
        instance.config.map.pin(programs)
    try:
        collector = Collector(running.instance)
        collector.text()
        found = read(collector.text())
    finally:
        programs.unlink()
        programs.with_name("elsewhere").rename(programs)
    assert found["ilax_up",] == 1
    assert found["ilax_scrape_success", "programs"] == 0
    assert found["ilax_scrape_errors_total", "programs"] == 2
    assert found["ilax_scrape_success", "links"] == 1
    assert ("ilax_packets_total", "container", "drop_no_mapping") in found
    assert list(collector.last_errors) == ["programs"]


def test_it_is_a_collector_of_the_library(running: Lab) -> None:
    """Who embeds it gets the same numbers."""
    running.ilax("endpoint", "add", sir(1), "--host")
    collector, registry = Collector(running.instance, ALL), CollectorRegistry()
    registry.register(collector)
    theirs, ours = read(generate_latest(registry)), read(collector.text())
    assert theirs.keys() == ours.keys()
    for key, value in ours.items():
        if not key[0].startswith("ilax_scrape_duration"):
            assert theirs[key] == value, key


def test_the_contract_is_named(running: Lab) -> None:
    result = running.ilax("exporter", "--once")
    version = schema.enum("ilax_version")
    assert result.exit_code == 0
    assert f'contract="{version["ILAX_ABI_MAJOR"]}.{version["ILAX_ABI_MINOR"]}"' in result.output
    assert f'layout="{schema.layout_hash().hex()[:16]}"' in result.output


def test_one_page_is_served_and_nothing_else(running: Lab) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with Server(parse_listen("[::1]:0"), Collector(running.instance)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with socket.create_connection(("::1", server.listen.port)) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
                start = connection.recv(1 << 16)
                assert start.startswith(b"HTTP/1.1 200 OK")
                assert b"text/plain; version=0.0.4" in start
            with socket.create_connection(("::1", server.listen.port)) as connection:
                connection.sendall(b"GET /etc/passwd HTTP/1.0\r\n\r\n")
                assert connection.makefile("rb").readline().split()[1] == b"404"
            with socket.create_connection(("::1", server.listen.port)) as connection:
                connection.sendall(b"POST /metrics HTTP/1.0\r\n\r\n")
                assert connection.makefile("rb").readline().split()[1] == b"501"
            with socket.create_connection(("::1", server.listen.port)) as connection:
                connection.sendall(b"HEAD /metrics HTTP/1.0\r\n\r\n")
                head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
                assert b" 200 " in head.splitlines()[0]
                assert not body
            with urllib.request.urlopen(server.url) as answer:
                assert read(answer.read())["ilax_up",] == 1
            with pytest.raises(SystemCallError, match="listen"):
                Server(server.listen, server.collector)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "9119"],
        ["--listen", ":9119"],
        ["--listen", "::1"],
        ["--listen", "::1:9119"],
        ["--listen", "[127.0.0.1]:9119"],
        ["--listen", "[::1]:65536"],
        ["--listen", "localhost:9119"],
        ["--endpoints", "top"],
        ["--limits", "top:-1", "--once"],
        ["--endpoints", "some", "--once"],
        ["--count-mappings", "-1", "--once"],
    ],
)
def test_bad_options_are_refused(lab: Lab, arguments: list[str]) -> None:
    assert lab.ilax("exporter", *arguments).exit_code == 2


def test_the_last_check_is_told_from_its_report(lab: Lab, tmp_path: Path) -> None:
    """Also of an instance that is not up; nothing is told where there is none."""
    report = tmp_path / "made" / "check.json"
    options = Options(check_report=report)
    assert not [key for key in scrape(lab, options) if key[0].startswith("ilax_check")]
    before = time.time()
    done = lab.ilax("check", "--report", str(report), "--ignore", "pin.mode")
    assert done.exit_code == ERRORS
    found = scrape(lab, options)
    assert found["ilax_up",] == 0
    assert found["ilax_check_findings", "instance.not-up", "error"] == 1
    assert found["ilax_check_findings", "uplink.down", "error"] == 0
    assert ("ilax_check_findings", "pin.mode", "warning") not in found
    assert before < found["ilax_check_last_run_timestamp_seconds",] < time.time()
    assert found["ilax_check_duration_seconds",] > 0
    assert found["ilax_check_checks", "made"] > 0 == found["ilax_check_checks", "failed"]
    assert found["ilax_check_checks", "left_out"] > 0
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert [path.name for path in report.parent.iterdir()] == [report.name]


@pytest.mark.parametrize("wrong", [-6 * 3600, 6 * 3600], ids=["late", "early"])
def test_a_check_by_a_wrong_clock_is_as_old_as_it_is(lab: Lab, tmp_path: Path, wrong: int) -> None:
    """The clock was put right after the check; of another boot only the clock is known."""
    report = tmp_path / "check.json"
    before = time.time()
    lab.ilax("check", "--report", str(report))
    fields = json.loads(report.read_text())
    fields["time"] += wrong

    def told(**changes: object) -> float:
        report.write_text(json.dumps(fields | changes))
        return scrape(lab, Options(check_report=report))["ilax_check_last_run_timestamp_seconds",]

    assert before < told() < time.time()
    assert told(boot="another") == pytest.approx(fields["time"], abs=0.001)
    del fields["boot"], fields["since_boot"]  # as versions before wrote it
    assert told() == pytest.approx(fields["time"], abs=0.001)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"instance": 1}', '{"instance": "other"}'])
def test_a_file_that_is_no_report_fails_that_part_only(lab: Lab, tmp_path: Path, text: str) -> None:
    report = tmp_path / "check.json"
    report.write_text(text)
    collector = Collector(lab.instance, Options(check_report=report))
    found = read(collector.text())
    assert found["ilax_scrape_success", "check"] == 0
    assert found["ilax_scrape_errors_total", "check"] == 1
    assert found["ilax_scrape_success", "open"] == 1
    assert str(report) in str(collector.last_errors["check"])


def test_a_report_that_cannot_be_written_is_said(lab: Lab, tmp_path: Path) -> None:
    report = tmp_path / "missing" / "folder" / "check.json"
    done = lab.ilax("check", "--report", str(report))
    assert isinstance(done.exception, SystemCallError)
    assert str(report) in str(done.exception)
