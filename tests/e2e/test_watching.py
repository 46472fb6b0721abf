# SPDX-License-Identifier: Apache-2.0
"""`ilax monitor` and `ilax top` while real tasks send real packets."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ilax.frames import decode, pcap
from lab import operator
from lab.cgroups import Cgroups, own_cgroups
from lab.cleanup import PREFIX
from lab.ilax import environment
from lab.netns import Namespace, run
from lab.terminal import Terminal
from lab.topology import Container, Host, Lab, Plan
from lab.wait import until

NOWHERE = "2001:db8:5a5a:1:2000::9999"
PORT = 4711


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.make(f"{PREFIX}watch", Plan(hosts=2)) as made:
        operator.bring_up(made, operator.Options(xdp="native"))
        yield made


@pytest.fixture
def host(lab: Lab) -> Host:
    return lab.hosts[0]


def send(source: Namespace, target: str, count: int, size: int = 10, port: int = PORT) -> None:
    with source.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sender:
        for _ in range(count):
            sender.sendto(b"x" * size, (target, port))


# --- monitor ----------------------------------------------------------------------


def output(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    text, _ = process.communicate(timeout=60)
    return [json.loads(line) for line in text.splitlines()]


def keep_sending(
    source: Namespace, target: str, process: subprocess.Popen[str], **how: Any
) -> None:
    """Until the monitor has seen enough: samples are one in a tick of the clock."""

    def ended() -> bool:
        send(source, target, 1, **how)
        return process.poll() is not None

    until(ended, "end of the monitor")


def test_a_drop_is_shown_with_its_endpoint_and_its_packet(
    lab: Lab, host: Host, tmp_path: Path
) -> None:
    sender, file = host.containers[0], tmp_path / "drops.pcap"
    arguments = ("--reason", "drop_no_mapping", "--count", "3", "--pcap", str(file))
    with host.ilax.monitoring(*arguments) as process:
        keep_sending(sender.ns, NOWHERE, process, size=500)
        *drops, summary = output(process)
    assert process.returncode == 0
    assert len(drops) == 3
    for drop in drops:
        assert (drop["hook"], drop["reason"]) == ("container", "drop_no_mapping")
        assert drop["endpoint"] == drop["packet"]["src"] == sender.address
        assert drop["packet"]["dst"] == NOWHERE
        assert (drop["packet"]["dst_port"], drop["packet"]["upper_length"]) == (PORT, 500)
        assert drop["device"] in host.ns.devices()
        assert abs(drop["time"] - time.time()) < 600
    (dropped,) = summary["dropped"]
    assert dropped["packets"] >= dropped["sampled"] >= 3
    assert dropped["lost"] == 0
    with file.open("rb") as stream:
        records = list(pcap.read(stream))
    assert [(len(r.data), r.length) for r in records] == [(128, 14 + 40 + 8 + 500)] * 3
    shown = run("tcpdump", "-nr", str(file)).stdout
    assert shown.count(f"> {NOWHERE}.{PORT}: UDP") == 3


def test_filters_know_both_forms_of_an_address(lab: Lab, host: Host, tmp_path: Path) -> None:
    """An unknown identifier on the wire is found by its SIR address; other drops are not."""
    wire = run(
        *(sys.executable, "-m", "ilax", "--json", "address", "encode", NOWHERE),
        *("--locator", str(host.locator)),
        env=environment(),
    ).stdout
    unknown = json.loads(wire)["wire"]
    file = tmp_path / "drops.pcap"
    arguments = ("--dst", NOWHERE, "--hook", "xdp_ingress", "--proto", "udp", "--count", "2")
    with host.ilax.monitoring(*arguments, "--pcap", str(file), "--sir") as process:
        send(host.containers[0].ns, NOWHERE, 5)
        keep_sending(lab.router, unknown, process)
        *drops, _ = output(process)
    assert [(d["reason"], d["packet"]["dst"], d["endpoint"]) for d in drops] == [
        ("drop_unknown_identifier", unknown, None)
    ] * 2
    assert drops[0]["packet"]["dst_meaning"]["sir"] == NOWHERE
    with file.open("rb") as stream:
        assert {str(decode(record.data).dst) for record in pcap.read(stream)} == {NOWHERE}


def test_a_pipe_gets_a_capture_and_nothing_else(host: Host) -> None:
    sender = host.containers[0]
    argv = host.ilax.command("monitor", "--count", "3", "--pcap", "-")
    env = {**os.environ, **environment()}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stderr is not None
        assert b"Ctrl-C ends it" in process.stderr.readline()
        ended = threading.Event()
        sending = threading.Thread(target=_until_ended, args=(sender.ns, ended))
        sending.start()
        captured, rest = process.communicate(timeout=60)
        ended.set()
        sending.join()
    assert [str(decode(one.data).dst) for one in pcap.read(io.BytesIO(captured))] == [NOWHERE] * 3
    assert b"3 samples shown" in rest
    refused = host.ilax.try_("monitor", "--pcap", "-", as_json=True)
    assert (refused.returncode, refused.stdout) == (2, "")


def _until_ended(source: Namespace, ended: threading.Event) -> None:
    while not ended.wait(0.01):
        send(source, NOWHERE, 1)


def test_an_endpoint_may_be_named_by_its_wire_address(host: Host) -> None:
    sender = host.containers[0]
    arguments = ("--endpoint", host.ilax.wire(sender.address), "--count", "2")
    with host.ilax.monitoring(*arguments) as process:
        keep_sending(sender.ns, NOWHERE, process)
        *drops, _ = output(process)
    assert {drop["endpoint"] for drop in drops} == {sender.address}


def test_the_summary_counts_what_samples_leave_out(lab: Lab, host: Host) -> None:
    before = host.ilax.count("drop_no_mapping")
    with host.ilax.monitoring("--duration", "1.5", "--no-marks") as process:
        start = host.ilax.count("drop_no_mapping")
        send(host.containers[0].ns, NOWHERE, 2000)
        *drops, summary = output(process)
    assert host.ilax.count("drop_no_mapping") == start + 2000 >= before + 2000
    found = {one["reason"]: one for one in summary["dropped"]}["drop_no_mapping"]
    assert found["packets"] == 2000
    ours = [drop for drop in drops if drop["reason"] == "drop_no_mapping"]
    assert found["sampled"] == len(ours) < 2000


def test_one_sample_goes_to_one_reader(lab: Lab, host: Host) -> None:
    with host.ilax.monitoring():
        refused = host.ilax.try_("monitor", "--count", "1")
        assert refused.returncode == 4
        assert "another `ilax monitor`" in refused.stderr


def test_samples_from_before_are_shown_on_request_only(lab: Lab, host: Host) -> None:
    send(host.containers[0].ns, NOWHERE, 3)
    older = ("--older", "--reason", "drop_no_mapping", "--count", "1")
    answer = host.ilax.try_("monitor", *older, as_json=True)
    _, drop, summary = map(json.loads, answer.stdout.splitlines())
    assert drop["packet"]["dst"] == NOWHERE
    assert summary["older"] >= 1
    answer = host.ilax.try_("monitor", "--duration", "0.2", "--no-marks", as_json=True)
    assert [json.loads(line)["kind"] for line in answer.stdout.splitlines()] == [
        "start",
        "summary",
    ]


def test_wrong_names_are_refused(lab: Lab, host: Host) -> None:
    for arguments in (
        ("--reason", "drop_nonsense"),
        ("--hook", "nowhere"),
        ("--proto", "300"),
        ("--src", "2001:db8::/129"),
        ("--sir",),
    ):
        answer = host.ilax.try_("monitor", *arguments)
        assert answer.returncode == 2
        assert answer.stderr.startswith("ilax: ")


def test_the_end_of_an_instance_ends_who_watches_it() -> None:
    with (
        Lab.make(f"{PREFIX}watchend", Plan(hosts=1, containers=0)) as made,
        contextlib.ExitStack() as stack,
    ):
        operator.bring_up(made)
        (host,) = made.hosts
        terminal = Terminal(host.ilax.command("top"))
        stack.callback(terminal.close)
        process = stack.enter_context(host.ilax.monitoring())
        plain = stack.enter_context(
            host.ns.running(
                *(sys.executable, "-m", "ilax", "--instance", host.ilax.instance),
                *("top", "--interval", "0.1"),
                env=environment(),
            )
        )
        assert plain.stdout is not None
        assert "endpoints receive" in plain.stdout.readline()
        terminal.wait_for("ilax top")
        host.ilax("down")
        assert output(process)[-1]["kind"] == "summary"
        last = plain.stdout.read().splitlines()[-1]
        assert last == f"ilax: instance {host.ilax.instance} was taken down"
        assert [one.wait(20) for one in (process, plain, terminal.process)] == [1, 1, 1]
        assert termios.tcgetattr(terminal.theirs) == terminal.modes


# --- limits: marks, and top -------------------------------------------------------


@pytest.fixture
def limited(lab: Lab, host: Host) -> Iterator[tuple[Container, Cgroups]]:
    """A container with a low limit that marks."""
    target = host.containers[1]
    with own_cgroups(lab.tag) as own:
        path = own.make("web")
        host.ilax("limit", "set", path, "--rate", "100kbit", "--action", "mark", "--drop-at", "4s")
        host.ilax("endpoint", "set", target.address, "--cgroup", path)
        try:
            yield target, own
        finally:
            host.ilax("endpoint", "set", target.address, "--cgroup", "none")
            host.ilax("limit", "del", path)


@contextlib.contextmanager
def flooding(source: Namespace, target: str) -> Iterator[None]:
    """UDP that can carry a mark, about a thousand packets a second."""
    program = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.IPPROTO_IPV6, 67, 2)\n"
        f"while True:\n s.sendto(bytes(300), ({target!r}, {PORT}))\n time.sleep(0.001)\n"
    )
    with source.running(sys.executable, "-c", program):
        yield


def test_marks_are_told_by_packet_and_by_limit(
    lab: Lab, host: Host, limited: tuple[Container, Cgroups]
) -> None:
    target, own = limited
    with flooding(lab.hosts[1].containers[0].ns, target.address):
        answer = host.ilax.try_("monitor", "--marks", "--duration", "1.5", as_json=True)
    told = list(map(json.loads, answer.stdout.splitlines()))
    samples = [m for m in told if m["kind"] == "mark"]
    assert len(samples) > 5
    for sample in samples:
        assert sample["endpoint"] == target.address
        assert sample["reason"] in ("send_meta", "send_peer")
        # As it goes on: CE in the traffic class.
        assert bytes.fromhex(sample["data"])[15] >> 4 & 3 == 3
    marks = [m for m in told if m["kind"] == "marks"]
    assert {mark["cgroup"] for mark in marks} == {f"{own.name}/web"}
    assert sum(mark["marked"] for mark in marks) > 0


def test_top_for_scripts(lab: Lab, host: Host, limited: tuple[Container, Cgroups]) -> None:
    target, own = limited
    idle = host.containers[0].address
    with flooding(lab.hosts[1].containers[0].ns, target.address):
        view = host.ilax.json("top", "--once", "--interval", "0.5", "--rows", "0")
        text = host.ilax("top", "--count", "2", "--interval", "0.3")
    first, second = view["endpoints"]
    assert (first["sir"], second["sir"]) == (target.address, idle)
    assert first["rx_pps"] > 0
    assert first["limit"] == f"{own.name}/web"
    assert first["device"] in host.ns.devices()
    assert view["rx_pps"] >= first["rx_pps"]
    (limit,) = view["limits"]
    assert (limit["cgroup"], limit["rate"]) == (f"{own.name}/web", 100_000)
    assert limit["marked_pps"] > 0
    assert limit["backlog_ns"] > 0
    busy = {(row["hook"], row["reason"]) for row in view["reasons"] if row["pps"]}
    assert {("xdp_ingress", "send_meta"), ("uplink_ingress", "send_handover")} <= busy
    assert text.count("2 endpoints receive") == 2


def test_top_on_a_terminal(lab: Lab, host: Host, limited: tuple[Container, Cgroups]) -> None:
    target, own = limited
    source = lab.hosts[1].containers[0].ns
    reverse = "\x1b[7m"  # the key of the order in force
    with contextlib.ExitStack() as stack:
        stack.enter_context(flooding(source, target.address))
        terminal = Terminal(host.ilax.command("top", "--interval", "0.2"))
        stack.callback(terminal.close)
        rest = "(?:(?!ENDPOINT).)*"  # of one picture
        busy, idle = map(re.escape, (target.address, host.containers[0].address))
        shown = terminal.wait_for(f"ENDPOINT{rest}{busy}{rest}{idle}{rest}send_meta{rest}quit")
        for text in ("LIMIT", f"{own.name}/web", "100kbit", f"{reverse} r "):
            assert text in shown
        assert termios.tcgetattr(terminal.theirs) != terminal.modes
        os.write(terminal.ours, b"d")
        terminal.wait_for(re.escape(f"{reverse} d "))
        os.write(terminal.ours, b" ")
        terminal.wait_for("halted")
        os.write(terminal.ours, b"q")
        assert terminal.process.wait(20) == 0
        assert termios.tcgetattr(terminal.theirs) == terminal.modes
