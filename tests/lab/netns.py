# SPDX-License-Identifier: Apache-2.0
"""One named network namespace: run programs in it, open sockets in it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.wait import until

FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_NET_ADDR_SET = 3  # of <linux/netdevice.h>
_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(AssertionError):
    """A command failed that had to succeed; the message holds its output."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(
            f"{' '.join(map(str, done.args))}\n"
            f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
        self.done = done


def run(
    *argv: str | os.PathLike[str],
    check: bool = True,
    timeout: float = 60,
    text_in: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        argv: program and arguments.
        check: raise unless the exit code is 0.
        timeout: seconds.
        text_in: given to its standard input; default: nothing.
        env: added to the environment.

    Raises:
        CommandError: it failed, and `check` is set.
    """
    done = subprocess.run(
        [os.fspath(a) for a in argv],
        capture_output=True,
        text=True,
        timeout=timeout,
        input=text_in if text_in is not None else "",
        env={**os.environ, **(env or {})},
        check=False,
    )
    if check and done.returncode:
        raise CommandError(done)
    return done


class Namespace:
    """A network namespace that `ip netns` knows by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = FOLDER / name

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    def create(self) -> None:
        """Make it, with its loopback up."""
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def remove(self) -> None:
        """End what still runs in it and remove it, with all of its interfaces."""
        if not self.path.exists():
            return
        for pid in run("ip", "netns", "pids", self.name, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", self.name, check=False)

    def prefix(self) -> list[str]:
        """The start of a command line that runs in this namespace.

        nsenter and not `ip netns exec`, which mounts another /sys and so hides
        the pins of /sys/fs/bpf.
        """
        return ["nsenter", f"--net={self.path}"]

    def run(
        self,
        *argv: str | os.PathLike[str],
        check: bool = True,
        timeout: float = 60,
        text_in: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in here; see `lab.netns.run`."""
        return run(*self.prefix(), *argv, check=check, timeout=timeout, text_in=text_in, env=env)

    def ip(self, *args: str) -> None:
        """Configure with iproute2."""
        run("ip", "-netns", self.name, *args)

    def ip_json(self, *args: str) -> list[dict[str, Any]]:
        """Rows that iproute2 shows, such as `ip_json("-6", "route")`."""
        text = run("ip", "-netns", self.name, "-json", *args).stdout
        rows: list[dict[str, Any]] = json.loads(text or "[]")
        return [row for row in rows if row]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace; sockets made here stay in it."""
        with (
            Path("/proc/thread-self/ns/net").open() as home,
            self.path.open() as there,
        ):
            enter(there.fileno())
            try:
                yield
            finally:
                enter(home.fileno())

    def sysctl(self, key: str, value: int | str) -> None:
        """Set a value below /proc/sys/net, with its name in dots."""
        with self.entered():
            Path("/proc/sys", *key.split(".")).write_text(f"{value}\n")

    def ifindex(self, device: str) -> int:
        """Number of an interface in here."""
        with self.entered():
            import socket

            return socket.if_nametoindex(device)

    def devices(self) -> list[str]:
        """Names of its interfaces, without `lo`."""
        return [row["ifname"] for row in self.ip_json("link") if row["ifname"] != "lo"]

    def keeps_its_mac(self, device: str) -> bool:
        """Whether somebody has given a device its hardware address, so that udev does not."""
        # Another mount of /sys shows the devices of another namespace.
        file = f"/sys/class/net/{device}/addr_assign_type"
        return int(run("ip", "netns", "exec", self.name, "cat", file).stdout) == _NET_ADDR_SET

    def listens(self, port: int) -> bool:
        """Whether a TCP socket listens on a port."""
        with self.entered():
            text = Path("/proc/thread-self/net/tcp6").read_text()
        local = f":{port:04X}"
        return any(
            fields[1].endswith(local) and fields[3] == "0A"
            for fields in (line.split() for line in text.splitlines()[1:])
        )

    @contextlib.contextmanager
    def running(
        self, *argv: str, env: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """A process that runs in here until the context ends."""
        process = subprocess.Popen(
            [*self.prefix(), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()

    def wait_listening(self, port: int) -> None:
        """Return as soon as a TCP socket listens on `port`."""
        until(lambda: self.listens(port), f"a listener on port {port} in {self.name}")


def enter(fd: int) -> None:
    """Put this thread into the network namespace of an open file."""
    if _libc.setns(fd, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
