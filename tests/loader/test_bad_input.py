# SPDX-License-Identifier: Apache-2.0
"""Whatever is typed or piped in: one clear message, and an exit code that is documented.

Each case runs the command as a process of its own, because what matters is what
comes out of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ilax.instances.pins import PinFolder

from .conftest import BLOCK, CONTAINER, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, sir

USAGE, NOT_FOUND, CONFLICT, SYSTEM_CALL, FULL = 2, 3, 4, 7, 8
OTHER = 1

UP = [
    *("up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX),
    *("--locator", LOCATOR, "--block", BLOCK),
]


# Output as operators have it, whatever this process was started with.
_BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def _run(
    lab: Lab, *arguments: str | bytes, stdin: bytes = b"", stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "ilax", "--instance", lab.instance, *arguments],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
        env=_BUFFERED,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done


ARGUMENTS: list[tuple[int, list[str | bytes]]] = [
    (USAGE, ["nonsense"]),
    (USAGE, ["mapping", "nonsense"]),
    (USAGE, ["endpoint", "add"]),
    (USAGE, ["endpoint", "add", b"\xff", "--netns", CONTAINER]),
    (USAGE, ["endpoint", "add", "fe80::1%lo", "--netns", CONTAINER]),
    (NOT_FOUND, ["endpoint", "add", sir(5), "--netns", ""]),
    (NOT_FOUND, ["endpoint", "add", sir(5), "--netns", b"\xff"]),
    (NOT_FOUND, ["endpoint", "add", sir(5), "--netns", "0"]),
    (NOT_FOUND, ["endpoint", "add", sir(5), "--netns", "99999999999999999999"]),
    (NOT_FOUND, ["endpoint", "add", sir(5), "--netns", "/"]),
    (NOT_FOUND, ["endpoint", "add", sir(5), "--netns", "/etc/passwd"]),
    (NOT_FOUND, ["endpoint", "add", sir(5), "--netns", "/proc/self/ns/pid"]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", "/proc/self/ns/net"]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--device", ""]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--device", "e%d"]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--device", ".."]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--device", "a/b"]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--device", b"\xff"]),
    (CONFLICT, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--device", "lo"]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--mtu", "1279"]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--delivery", "pigeon"]),
    (USAGE, ["endpoint", "add", sir(5), "--netns", CONTAINER, "--link", "string"]),
    (
        USAGE,
        ["endpoint", "add", sir(5), "--netns", CONTAINER, "--link", "netkit", "--delivery", "xdp"],
    ),
    (USAGE, ["endpoint", "show", "::"]),
    (NOT_FOUND, ["endpoint", "show", sir(5)]),
    (NOT_FOUND, ["endpoint", "del", sir(5)]),
    (USAGE, ["mapping", "add", sir(5), "--locator", "2001:db8::/65"]),
    (USAGE, ["mapping", "add", sir(5), "--locator", "2001:db8::/-1"]),
    (USAGE, ["mapping", "add", sir(5), "--locator", "2001:db8::/99999999999999999999"]),
    (USAGE, ["mapping", "add", sir(5), "--locator", "/"]),
    (USAGE, ["mapping", "add", sir(5), "--locator", "10.0.0.0/8"]),
    (USAGE, ["mapping", "import", "/"]),
    (USAGE, ["mapping", "import", "/nonexistent/file"]),
    (USAGE, ["mapping", "import", b"/nonexistent/\xff"]),
    (USAGE, ["plan", "/"]),
    (USAGE, ["plan", "/dev/zero"]),
    (USAGE, ["plan", "/dev/null"]),
    (USAGE, ["apply", "/nonexistent/file"]),
    (USAGE, ["apply", b"/nonexistent/\xff"]),
    (USAGE, ["export", "--mappings", "/"]),
    (USAGE, ["export", "--mappings", "/dev/full"]),
    (USAGE, ["export", "--mappings", b"\xff"]),
    (USAGE, ["mapping", "export", "/"]),
    (USAGE, ["mapping", "export", "/nonexistent/file"]),
    (USAGE, ["mapping", "export", "/dev/full", "--format", "csv"]),
    (USAGE, ["mapping", "list", "--limit", "0"]),
    (USAGE, ["limit", "set", "", "--rate", "1gbit"]),
    (USAGE, ["address", "encode", "x", "--locator", LOCATOR]),
    (USAGE, ["address", "decode", "::", "--sir-prefix", SIR_PREFIX]),
    (USAGE, ["address", "decode", sir(5), "--sir-prefix", "1"]),
    (USAGE, ["completion", "tcsh"]),
    (USAGE, [*UP, "--block", "::/0"]),
    (USAGE, [*UP, "--block", "ff00::/8"]),
    (USAGE, [*UP, "--block", "fe80::/64"]),
    (USAGE, [*UP, "--gateway", "ff02::1"]),
    (USAGE, [*UP, "--gateway", "::"]),
    (USAGE, [*UP, "--uplink", "lo"]),
    (NOT_FOUND, [*UP, "--uplink", ""]),
    (NOT_FOUND, [*UP, "--uplink", "a-name-that-is-much-too-long"]),
    (USAGE, [*UP, *(f for n in range(20) for f in ("--block", f"2001:db8:{n + 256:x}::/48"))]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "arguments"), ARGUMENTS, ids=[f"{n}" for n in range(len(ARGUMENTS))]
)
def test_wrong_arguments(running: Lab, code: int, arguments: list[str | bytes]) -> None:
    before = _run(running, "status").stdout
    done = _run(running, *arguments)
    assert done.returncode == code, done
    assert done.stderr
    assert _run(running, "status").stdout == before


_ROW = sir(5)
FILES: list[tuple[str, bytes]] = [
    ("csv", b"sir,locator\n\xff\xfe,x\n"),
    ("csv", b"sir,locator\na\0b,c\n"),
    ("csv", b'sir,locator\n"' + b"a" * 200_000),
    ("csv", b"sir,locator\n,\n"),
    ("csv", b"\xff\xfe\x00\x00"),
    ("csv", f"{_ROW},{OTHER_LOCATOR}\n{_ROW},{OTHER_LOCATOR}\n".encode()),
    ("jsonl", b"[" * 100_000),
    ("jsonl", b"1" * 10_000),
    ("jsonl", b"null"),
    ("jsonl", b'"x"'),
    ("jsonl", b"{}"),
    ("jsonl", b'{"sir": null}'),
    ("jsonl", b'{"sir": [1]}'),
    ("jsonl", b'{"sir": {"a": 1}}'),
    ("jsonl", b'{"sir": "\\ud800", "locator": "2001:db8:42:8::/64"}'),
    ("jsonl", b'{"sir": "\xff"}'),
    ("jsonl", f'{{"sir": "{_ROW}", "wire": 7}}'.encode()),
    ("jsonl", f'{{"sir": "{_ROW}", "locator": true}}'.encode()),
    ("jsonl", f'{{"sir": "{_ROW}", "locator": "\\ud800"}}'.encode()),
    ("jsonl", f'{{"sir": "{_ROW}", "locator": "x/99999999999999999999"}}'.encode()),
]


@pytest.mark.parametrize(("kind", "content"), FILES, ids=[f"{n}" for n in range(len(FILES))])
def test_wrong_files(running: Lab, tmp_path: Path, kind: str, content: bytes) -> None:
    """As a file and as standard input."""
    file = tmp_path / "file"
    file.write_bytes(content)
    for source, stdin in ((str(file), b""), ("-", content)):
        done = _run(running, "mapping", "import", source, "--format", kind, stdin=stdin)
        assert done.returncode == USAGE, done
        assert b"nothing was written" in done.stderr
        assert _run(running, "mapping", "export", "-").stdout.splitlines()[1:] == []


def test_a_spreadsheet_begins_with_a_byte_order_mark(running: Lab, tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_bytes(f"\ufeffsir,locator\n{_ROW},{OTHER_LOCATOR}\n".encode())
    assert _run(running, "mapping", "import", str(file)).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [["mapping", "list"], ["mapping", "export", "-"], ["status"], ["--json", "version"]],
)
def test_output_that_cannot_be_written(running: Lab, arguments: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = _run(running, *arguments, stdout=full)
    finally:
        os.close(full)
    assert done.returncode == SYSTEM_CALL
    assert b"No space left" in done.stderr


def test_a_reader_that_goes_away(running: Lab, tmp_path: Path) -> None:
    """As in `ilax mapping list | head -1`."""
    file = tmp_path / "m.csv"
    rows = [f"{sir(n)},{OTHER_LOCATOR}" for n in range(1, 1001)]
    file.write_text("\n".join(["sir,locator", *rows]))
    assert _run(running, "mapping", "import", str(file)).returncode == 0
    for arguments in (["mapping", "list"], ["mapping", "export", "-"]):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = _run(running, *arguments, stdout=writing)
        finally:
            os.close(writing)
        assert done.returncode == OTHER
        assert done.stderr == b""


def test_an_export_does_not_replace_a_device(running: Lab, tmp_path: Path) -> None:
    pipe, link, real = tmp_path / "pipe", tmp_path / "link", tmp_path / "real"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert _run(running, "mapping", "export", str(pipe)).returncode == 0
        assert reader.communicate()[0] == b"sir,wire,action,generation\n"
    assert pipe.is_fifo()
    link.symlink_to(real)
    assert _run(running, "mapping", "export", str(link)).returncode == 0
    assert link.is_symlink()
    assert real.read_text() == "sir,wire,action,generation\n"


def test_ctrl_c(running: Lab) -> None:
    """While it waits for standard input."""
    command = [sys.executable, "-m", "ilax", "--instance", running.instance]
    with subprocess.Popen(
        [*command, "mapping", "import", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        # More than a pipe holds: when all of it is gone, the command is reading.
        process.stdin.write(f"sir,locator\n{_ROW},{OTHER_LOCATOR}\n".encode() * 4000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait() == OTHER
    assert b"Traceback" not in errors
    assert _run(running, "mapping", "export", "-").stdout.splitlines()[1:] == []


def test_pins_that_somebody_removed(running: Lab) -> None:
    pins = PinFolder(running.instance)
    for pin in pins.links.iterdir():
        pin.unlink()
    pins.links.rmdir()
    assert _run(running, "status").returncode == 0
    (pins.programs / "ilax_from_task").unlink()
    add = ("endpoint", "add", sir(5), "--netns", running.container)
    assert _run(running, *add).returncode == NOT_FOUND
    assert running.up().exit_code == 0
    assert _run(running, *add).returncode == 0
    (pins.maps / "ilax_mappings").unlink()
    for arguments in (["status"], UP, ["endpoint", "del", sir(5)]):
        done = _run(running, *arguments)
        assert done.returncode == NOT_FOUND
        assert b"incomplete" in done.stderr and b"ilax down" in done.stderr
    assert _run(running, "down").returncode == 0
    assert (
        b"iltask"
        not in subprocess.run(
            ["ip", "-n", running.namespace, "link"], check=True, capture_output=True
        ).stdout
    )
    assert _run(running, *UP).returncode == 0


def test_another_contract_is_not_taken_down(lab: Lab) -> None:
    other = PinFolder(lab.instance).base / "v99"
    other.mkdir(parents=True)
    try:
        for arguments in (["status"], ["down"], UP):
            done = _run(lab, *arguments)
            assert done.returncode == 6
            assert b"v99" in done.stderr
    finally:
        other.rmdir()
