# SPDX-License-Identifier: Apache-2.0
"""Real cgroups for a test, and sockets that belong to them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ilax.system import cgroups
from lab.netns import enter
from lab.wait import until

# Beyond net.core.rmem_max; the socket module has no name for it.
_SO_RCVBUFFORCE = 33


class Cgroups:
    """A folder of cgroups that belongs to one test. Use `own_cgroups()`.

    Attributes:
        top: the folder.
        name: its path below the root of the hierarchy.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.name = top.name

    def make(self, path: str) -> str:
        """Make a cgroup and those above it; returns its path below the root."""
        (self.top / path).mkdir(parents=True, exist_ok=True)
        return f"{self.name}/{path}"

    def id(self, path: str) -> int:
        """Number of a cgroup."""
        return (self.top / path).stat().st_ino

    def remove(self, path: str) -> None:
        """Remove a cgroup and all below it."""
        _remove(self.top / path)


@contextlib.contextmanager
def own_cgroups(tag: str) -> Iterator[Cgroups]:
    """A cgroup for a test; it is gone afterwards with all below it."""
    top = cgroups.root() / tag
    _remove(top)
    top.mkdir()
    try:
        yield Cgroups(top)
    finally:
        _remove(top)


def _remove(folder: Path) -> None:
    if not folder.is_dir():
        return
    for below in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        _remove_one(below)
    _remove_one(folder)


def _remove_one(folder: Path) -> None:
    def gone() -> bool:
        # Busy until the kernel has buried the last process.
        with contextlib.suppress(OSError):
            folder.rmdir()
        return not folder.is_dir()

    until(gone, f"end of cgroup {folder}")


def udp_socket(
    cgroup: Path, namespace: Path | None, address: tuple[str, int], buffer: int = 8 << 20
) -> socket.socket:
    """A bound UDP socket that was made by a task of a cgroup, in a network namespace."""
    return _bound(cgroup, namespace, address, socket.SOCK_DGRAM, buffer)


def tcp_listener(cgroup: Path, namespace: Path | None, address: tuple[str, int]) -> socket.socket:
    """The same for TCP; what it accepts belongs to the cgroup as well."""
    made = _bound(cgroup, namespace, address, socket.SOCK_STREAM)
    made.listen()
    return made


def _bound(
    cgroup: Path,
    namespace: Path | None,
    address: tuple[str, int],
    kind: socket.SocketKind,
    buffer: int | None = None,
) -> socket.socket:
    """A socket belongs to the cgroup of the task that makes it, whoever holds it later."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if not child:
        try:
            (cgroup / "cgroup.procs").write_text(f"{os.getpid()}\n")
            if namespace is not None:
                with namespace.open() as there:
                    enter(there.fileno())
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            made = socket.socket(family, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if buffer is not None:
                made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
            made.bind(address)
            socket.send_fds(theirs, [b"socket"], [made.fileno()])
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        message, fds, _, _ = socket.recv_fds(ours, 16, 1)
    os.waitpid(child, 0)
    assert message == b"socket", f"no socket could be made in {cgroup}"
    return socket.socket(fileno=fds[0])
