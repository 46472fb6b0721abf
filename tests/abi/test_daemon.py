# SPDX-License-Identifier: Apache-2.0
"""A control program in C writes rows that Python never saw, and packets follow them."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ilax.bpf import Map, Object
from ilax.contract import layout_check, schema
from ilax.instances.pins import PinFolder
from small_maps import shrink

ROOT = Path(__file__).resolve().parents[2]
SIR = "2001:db8:5a5a:1:2000:7:a1b2:c3d4"
WIRE = "2001:db8:42:7:3000:7:a1b2:de7"
MAC = "02:00:00:00:00:2a"
INSTANCE = f"abi-{os.getpid()}"
VERSION = schema.enum("ilax_version")
MAJOR, MINOR = VERSION["ILAX_ABI_MAJOR"], VERSION["ILAX_ABI_MINOR"]
XDP_PASS = 2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="creates BPF maps: needs root")

Daemon = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The daemon, compiled from its own file and the contract's header alone."""
    path = tmp_path_factory.mktemp("daemon") / "daemon"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'maps_schema'}"]
    source = ROOT / "tests" / "abi" / "daemon.c"
    subprocess.run(["gcc", *flags, str(source), "-o", str(path), "-lbpf"], check=True)
    return path


@pytest.fixture
def maps() -> Iterator[dict[str, Map]]:
    """All maps of the contract, small, pinned like an instance's."""
    pins = PinFolder(INSTANCE)
    with ExitStack() as stack:
        obj = stack.enter_context(Object.open(schema.object_path("abi")))
        shrink(obj, 64)
        obj.load()
        opened = {name: stack.enter_context(item.open()) for name, item in obj.maps.items()}
        opened["ilax_abi"].update(bytes(4), layout_check.abi_row())
        pins.create()
        stack.callback(shutil.rmtree, pins.base)
        pins.maps.mkdir(exist_ok=True)
        for name, opened_map in opened.items():
            opened_map.pin(pins.maps / name)
        yield opened


@pytest.fixture
def daemon(binary: Path, maps: dict[str, Map]) -> Daemon:
    """Run the daemon on the pinned maps; it must succeed unless check=False."""

    def run(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(binary), INSTANCE, *args]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or result.returncode == 0, result.stderr
        return result

    return run


def packed(address: str) -> bytes:
    return ipaddress.IPv6Address(address).packed


def dump(name: str) -> list[dict[str, object]]:
    """Rows as bpftool shows them, with the names of the contract's fields."""
    pin = PinFolder(INSTANCE).maps / name
    command = ["bpftool", "--json", "map", "dump", "pinned", str(pin)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [row["formatted"] for row in json.loads(output)]


def test_reads_version_and_layout_hash(daemon: Daemon) -> None:
    lock = (ROOT / "maps_schema" / "abi.lock").read_bytes()
    assert daemon("abi").stdout == f"{MAJOR}.{MINOR} {hashlib.sha256(lock).hexdigest()}\n"


def test_endpoint_of_the_daemon_steers_a_packet(daemon: Daemon, maps: dict[str, Map]) -> None:
    daemon("endpoint", SIR, WIRE, "-", "host")
    frame = bytes(12) + b"\x86\xdd" + b"\x60" + bytes(5) + b"\x11\x40" + packed(SIR) + packed(WIRE)
    with Object.open(schema.object_path("ingress")) as obj:
        obj.reuse_maps(maps)
        obj.load()
        with obj.programs["ilax_uplink_xdp"].open() as program:
            result = program.test_run(frame)
    assert result.retval == XDP_PASS
    assert result.data[-16:] == packed(SIR)


def test_fields_have_names_in_bpftool(daemon: Daemon) -> None:
    daemon("endpoint", SIR, WIRE, "lo", "xdp", "1400", MAC)
    (row,) = dump("ilax_endpoints")
    value = row["value"]
    assert isinstance(value, dict)
    assert value["delivery"] == schema.enum("ilax_delivery")["ILAX_DELIVERY_XDP"]
    assert value["mtu"] == 1400
    assert value["ifindex"] == 1
    assert value["mac"] == list(bytes.fromhex(MAC.replace(":", "")))
    assert set(value) == set(schema.dtype("ilax_endpoint").names or ())


def test_mapping_generation_rises_with_each_change(daemon: Daemon, maps: dict[str, Map]) -> None:
    daemon("mapping", SIR, WIRE, "forward")
    daemon("mapping", SIR, WIRE, "local")
    raw = maps["ilax_mappings"].lookup(packed(SIR))
    assert raw is not None
    row = memoryview(raw)
    assert bytes(row[:16]) == packed(WIRE)
    assert row[16] == schema.enum("ilax_action")["ILAX_ACTION_LOCAL"]
    assert int.from_bytes(row[24:32], "little") == 2


def test_port_and_device(daemon: Daemon, maps: dict[str, Map]) -> None:
    daemon("port", "lo", SIR)
    daemon("device", "lo")
    loopback = (1).to_bytes(4, "little")
    port = maps["ilax_ports"].lookup(loopback)
    assert port is not None
    assert port[:16] == packed(SIR)
    # The kernel shows a device map's value as the index it was given.
    assert maps["ilax_devices"].lookup(loopback) == loopback


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["mapping", "nonsense", WIRE, "local"], "nonsense is no IPv6 address"),
        (["mapping", SIR, WIRE, "sideways"], "action sideways"),
        (["endpoint", SIR, WIRE, "no-such-dev", "stack"], "no device no-such-dev"),
        (["endpoint", SIR, WIRE, "lo", "xdp"], "needs the MTU and the MAC"),
        (["port", "lo"], "no command port with 1 arguments"),
    ],
)
def test_refuses_with_a_reason(
    daemon: Daemon, maps: dict[str, Map], args: list[str], message: str
) -> None:
    result = daemon(*args, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    for name in ("ilax_mappings", "ilax_endpoints", "ilax_ports"):
        assert not list(maps[name].keys())


def test_refuses_another_major(daemon: Daemon, maps: dict[str, Map]) -> None:
    row = bytearray(layout_check.abi_row())
    row[4:6] = (MAJOR + 1).to_bytes(2, "little")
    maps["ilax_abi"].update(bytes(4), bytes(row))
    result = daemon("mapping", SIR, WIRE, "local", check=False)
    assert result.returncode == 1
    assert f"has contract {MAJOR + 1}.{MINOR}" in result.stderr
    assert not list(maps["ilax_mappings"].keys())
