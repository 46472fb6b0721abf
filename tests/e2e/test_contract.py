# SPDX-License-Identifier: Apache-2.0
"""Other programs read and write the same maps; foreign layouts are refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from ilax import mappings
from ilax.address import parse
from ilax.bpf import Object
from ilax.instance import Instance
from lab import operator, probes, tcp
from lab.netns import run
from lab.topology import Container, Host, Lab, attach_plainly
from lab.traces import network_state

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = 6


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second control program, in C."""
    path = tmp_path_factory.mktemp("daemon") / "daemon"
    source = ROOT / "tests" / "abi" / "daemon.c"
    run("gcc", "-O2", f"-I{ROOT / 'maps_schema'}", source, "-o", path, "-lbpf")
    return path


def wire_of(host: Host, sir: str) -> str:
    return str(host.ilax.json("address", "encode", sir, "--locator", host.locator)["wire"])


@pytest.mark.parametrize("delivery", ["stack", "xdp"])
def test_a_daemon_in_c_connects_a_task(bare: Lab, daemon: Path, delivery: str) -> None:
    """It writes all rows; the program of the port is attached by plain `tc`."""
    operator.bring_up(bare, operator.Options(delivery=delivery))
    peer, host, other = bare.containers[0], bare.hosts[1], bare.hosts[0]
    task = _plain_task(bare, host)
    device, wire = task.name, wire_of(host, task.address)
    mac = task.ns.ip_json("link", "show", "dev", "eth0")[0]["address"]

    def write(target: Host, *args: str) -> None:
        target.ns.run(daemon, target.ilax.instance, *args)

    program = host.ilax.pins / "v1" / "programs" / "ilax_from_task"
    host.ns.run("tc", "qdisc", "add", "dev", device, "clsact")
    host.ns.run(
        *("tc", "filter", "add", "dev", device, "ingress", "bpf"),
        *("direct-action", "object-pinned", program),
    )
    if delivery == "xdp":
        task.ns.run("ethtool", "-K", "eth0", "gro", "on")
        write(host, "device", device)
    write(host, "port", device, task.address)
    write(host, "endpoint", task.address, wire, device, delivery, "1500", mac)
    write(host, "mapping", task.address, wire, "local")
    write(other, "mapping", task.address, wire, "forward")

    probes.must_ping(peer.ns, task.address)
    probes.must_ping(host.containers[0].ns, task.address)
    report = tcp.transfer(task.ns, peer.ns, peer.address, 8 << 20)
    assert report.same_content
    report = tcp.transfer(peer.ns, task.ns, task.address, 8 << 20)
    assert report.same_content
    # The command sees what the daemon wrote, and can end it.
    shown = host.ilax.json("endpoint", "show", task.address)
    assert (shown["wire"], shown["delivery"], shown["owns_link"]) == (wire, delivery, False)
    host.ilax("endpoint", "del", task.address)
    assert not probes.ping(peer.ns, task.address, wait=0.2)
    # A device that ilax did not make stays.
    assert device in host.ns.devices()


def _plain_task(lab: Lab, host: Host) -> Container:
    """A task that is connected without ilax."""
    sir = lab.plan.sir(0x21)
    task = Container("c21", type(host.ns)(f"{lab.tag}-c21"), sir, host)
    task.ns.create()
    attach_plainly(host, task, sir)
    return task


def test_two_writers_at_the_same_time(bare: Lab, daemon: Path) -> None:
    """A daemon in C, bulk imports and single rows: every row is right in the end."""
    host, other = bare.hosts
    host.ilax(*operator.up_arguments(bare, host))

    def sir(number: int) -> str:
        return str(bare.plan.sir(0x1000 + number))

    bulk = [sir(n) for n in range(20_000)]
    by_daemon = [sir(n) for n in range(30_000, 30_400)]
    by_hand = [sir(n) for n in range(40_000, 40_004)]
    wires = {text: wire_of(host, text) for text in by_daemon[:1]}
    # The neutral difference is the same for all of them.
    difference = int(IPv6Address(wire_of(other, by_daemon[0]))) - int(IPv6Address(by_daemon[0]))
    wires = {text: str(IPv6Address(int(IPv6Address(text)) + difference)) for text in by_daemon}
    commands = "\n".join(
        f"{daemon} {host.ilax.instance} mapping {text} {wires[text]} forward || exit 1"
        for text in by_daemon
    )
    file = "\n".join(["sir,locator", *(f"{text},{other.locator}" for text in bulk)])
    with subprocess.Popen(["sh"], stdin=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        writer.stdin.write(commands)
        writer.stdin.close()
        for text in by_hand:
            host.ilax("mapping", "add", text, "--locator", other.locator)
            host.ilax("mapping", "import", "-", "--format", "csv", text_in=file)
    assert writer.returncode == 0
    lines = host.ilax("mapping", "export", "-", "--format", "jsonl").splitlines()
    rows = {row["sir"]: row for row in map(json.loads, lines)}
    assert rows.keys() == {*bulk, *by_daemon, *by_hand}
    for text, row in rows.items():
        expected = str(IPv6Address(int(IPv6Address(text)) + difference))
        assert (row["wire"], row["action"]) == (expected, "forward")


def test_a_daemon_in_c_and_the_loader_never_give_one_number_twice(bare: Lab, daemon: Path) -> None:
    """Both number a row by the one that stands there, under one lock."""
    host, other = bare.hosts
    host.ilax(*operator.up_arguments(bare, host))
    sir, rounds = str(bare.plan.sir(0x1000)), 300
    wire = wire_of(other, sir)
    write = f"{daemon} {host.ilax.instance} mapping {sir} {wire} forward || exit 1\n"
    with (
        Instance.open(host.ilax.instance) as instance,
        subprocess.Popen(["sh"], stdin=subprocess.PIPE, text=True) as writer,
    ):
        assert writer.stdin is not None
        writer.stdin.write(write * rounds)
        writer.stdin.close()
        by_loader = 0
        while writer.poll() is None:
            mappings.add(instance, parse(sir), wire=parse(wire))
            by_loader += 1
        assert writer.returncode == 0
        row = mappings.get(instance, parse(sir))
    assert row is not None
    assert row.generation == rounds + by_loader


def test_bpftool_shows_named_fields(pair: Lab) -> None:
    task = pair.containers[0]
    maps = task.host.ilax.pins / "v1" / "maps"

    def dump(name: str) -> list[dict[str, dict[str, object]]]:
        text = run("bpftool", "-j", "map", "dump", "pinned", maps / name).stdout
        rows: list[dict[str, dict[str, object]]] = [r["formatted"] for r in json.loads(text)]
        return rows

    (endpoint, *_) = dump("ilax_endpoints")
    assert endpoint["key"].keys() == {"prefix", "identifier"}
    assert {"wire", "sir", "ifindex", "mtu", "delivery", "mac"} <= endpoint["value"].keys()
    (mapping, *_) = dump("ilax_mappings")
    assert {"wire", "action", "generation"} <= mapping["value"].keys()
    (abi,) = dump("ilax_abi")
    assert abi["value"]["magic"] == int.from_bytes(b"ilax", "big")
    text = run("bpftool", "map", "dump", "pinned", maps / "ilax_config").stdout
    assert "uplink_ifindex" in text


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Object]:
    """The maps of a contract whose mappings have two fields in another order."""
    header = (ROOT / "maps_schema" / "ilax_abi.h").read_text()
    begin = header.index("struct ilax_mapping {")
    end = header.index("};", begin)
    body = header[begin:end]
    fields = body.replace("__u32 parameter;", "__u32 \0;").replace("__u8 pad[3];", "__u8 pad[3];")
    fields = fields.replace("__u64 generation;", "__u64 parameter;").replace("\0", "generation")
    assert fields != body
    (tmp_path / "ilax_abi.h").write_text(header[:begin] + fields + header[end:])
    (tmp_path / "ilax_maps.bpf.h").write_text(
        (ROOT / "maps_schema" / "ilax_maps.bpf.h").read_text()
    )
    source = tmp_path / "abi.bpf.c"
    source.write_text((ROOT / "maps_schema" / "abi.bpf.c").read_text())
    target = tmp_path / "abi.bpf.o"
    machine = run("gcc", "-dumpmachine").stdout.strip()
    run(
        *("clang-19", "-target", "bpf", "-g", "-O2", "-mcpu=v3"),
        *(f"-I/usr/include/{machine}", f"-I{tmp_path}", "-c", source, "-o", target),
    )
    with Object.open(target) as opened:
        opened.maps["ilax_mappings"].set_max_entries(1024)
        opened.load()
        yield opened


def test_pins_of_another_layout_are_refused(pair: Lab, swapped: Object) -> None:
    """Same sizes, swapped fields: only the kernel's BTF tells."""
    host, task = pair.hosts[0], pair.containers[0]
    pin = host.ilax.pins / "v1" / "maps" / "ilax_mappings"
    kept = pin.with_name("kept")
    before = network_state(host.ns)
    pin.rename(kept)
    with swapped.maps["ilax_mappings"].open() as foreign:
        foreign.pin(pin)
        try:
            for arguments in (
                ["mapping", "add", pair.plan.sir(9), "--locator", pair.hosts[1].locator],
                ["mapping", "export", "-", "--format", "csv"],
                ["endpoint", "del", task.address],
                ["status"],
                ["counters"],
                operator.up_arguments(pair, host),
            ):
                done = host.ilax.try_(*arguments)
                assert done.returncode == LAYOUT, done
                assert "ilax_mappings" in done.stderr
                assert "generation" in done.stderr
                assert "parameter" in done.stderr
                assert "Traceback" not in done.stderr
            assert list(foreign.keys()) == []
            assert network_state(host.ns) == before
            # What runs is not disturbed.
            probes.must_ping(task.ns, pair.containers[2].address)
        finally:
            pin.unlink()
            kept.rename(pin)
    host.ilax("status")


def test_another_major_version_is_refused(bare: Lab) -> None:
    host = bare.hosts[0]
    host.ilax(*operator.up_arguments(bare, host))
    version = host.ilax.pins / "v1"
    other = version.with_name("v2")
    version.rename(other)
    try:
        for arguments in (["status"], operator.up_arguments(bare, host)):
            done = host.ilax.try_(*arguments)
            assert done.returncode == LAYOUT
            assert "v2" in done.stderr
    finally:
        other.rename(version)
    host.ilax("down")
