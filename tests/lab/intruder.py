# SPDX-License-Identifier: Apache-2.0
"""A task that keeps sending what it must not, and somebody who would notice."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.topology import Container
from lab.wait import until

_IPV6_TRANSPARENT = 75
_PAUSE = 0.01
_LAST = b"last"


@dataclass
class Intruder:
    """What has arrived at the victim, by kind; should stay empty."""

    victim: Container
    arrived: list[str] = field(default_factory=list)
    port: int = 0

    def forget(self) -> None:
        """Begin anew, when nothing is on its way any more."""
        with self.victim.ns.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(_LAST, ("::1", self.port))
        until(lambda: _LAST.decode() in self.arrived, "the last packet")
        self.arrived.clear()


@contextlib.contextmanager
def intruder(task: Container, victim: Container, foreign: str, wire: str) -> Iterator[Intruder]:
    """Send as somebody else, and straight to a locator, all the time.

    Args:
        foreign: a source address that is not the task's.
        wire: address of the victim on the wire.
    """
    found = Intruder(victim)
    over = threading.Event()
    with victim.ns.entered():
        ears = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        ears.bind(("::", 0))
    found.port = ears.getsockname()[1]
    ears.settimeout(0.1)
    with task.ns.entered():
        mouths = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2)]
    mouths[0].setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    mouths[0].bind((foreign, 0))
    kinds = ((b"foreign source", victim.address), (b"locator", wire))

    def speak() -> None:
        while not over.wait(_PAUSE):
            for mouth, (what, where) in zip(mouths, kinds, strict=True):
                # As long as the task is not connected, there is no way.
                with contextlib.suppress(OSError):
                    mouth.sendto(what, (where, found.port))

    def listen() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                found.arrived.append(ears.recv(64).decode())

    threads = [threading.Thread(target=one) for one in (speak, listen)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for one in (ears, *mouths):
            one.close()
