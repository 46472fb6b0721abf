# SPDX-License-Identifier: Apache-2.0
"""Packets that carry the address they are for, and who received them.

Namespaces that receive only accept all SIR addresses, so that a packet that enters a
wrong one is seen there, and not thrown away by a stack that does not know its address.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from lab.netns import Namespace
from lab.wait import until

PORT = 7300  # also in dropped.bpf.c
_PAYLOAD = struct.Struct("!16sHQ")
_SO_RCVBUFFORCE = 33
_BUFFER = 4 << 20
_TICK = 0.01
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Counts:
    """What a traffic has seen so far.

    Attributes:
        sent: packets that the kernel took.
        refused: packets that it did not take.
        received: packets that came out where they should.
        wrong: packets that came out elsewhere.
        late: packets behind a later one of their flow, or a second time.
    """

    sent: int
    refused: int
    received: int
    wrong: int
    late: int


class Traffic:
    """Runs while the context lasts, in two processes.

    Args:
        senders: namespaces of tasks that stay where they are.
        targets: addresses, and the namespace of each one; None where nobody listens.
        rate: packets in a second, of all senders.
    """

    def __init__(
        self,
        senders: Sequence[Namespace],
        targets: dict[IPv6Address, Namespace | None],
        rate: int,
    ) -> None:
        self._senders, self._targets, self._rate = senders, targets, rate
        flows = len(senders) * len(targets)
        self._sent, self._received, self._late = (
            _fork.Array("Q", flows, lock=False) for _ in "123"
        )
        self._refused, self._wrong = (_fork.Value("Q", 0, lock=False) for _ in range(2))
        self._stop_sending, self._stop = _fork.Event(), _fork.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Until the end, and until the last packet has come out or will not."""
        receiver = _fork.Process(target=_quiet, args=(self._receive,), daemon=True)
        sender = _fork.Process(target=_quiet, args=(self._send,), daemon=True)
        receiver.start()
        try:
            sender.start()
            yield
            self._stop_sending.set()
            sender.join()
            self._drain()
        finally:
            self._stop.set()
            for process in (sender, receiver):
                if process.pid is not None and process.is_alive():
                    process.join(5)
                    process.kill()

    def counts(self) -> Counts:
        """So far."""
        return Counts(
            sum(self._sent), self._refused.value, sum(self._received), self._wrong.value,
            sum(self._late),
        )  # fmt: skip

    def received_by(self, address: IPv6Address) -> int:
        """Packets that came out at one target."""
        at = list(self._targets).index(address)
        return sum(self._received[at :: len(self._targets)])

    def _drain(self) -> None:
        """Wait until nothing has arrived for half a second."""
        last, since = -1, time.monotonic()

        def quiet() -> bool:
            nonlocal last, since
            now = sum(self._received)
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > 0.5

        until(quiet, "end of the traffic", timeout=60)

    def _send(self) -> None:
        sockets = []
        for ns in self._senders:
            with ns.entered():
                sockets.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        targets = [(address.packed, (str(address), PORT)) for address in self._targets]
        turns = [(s, t) for t in range(len(targets)) for s in range(len(sockets))]
        numbers = [0] * (len(sockets) * len(targets))
        owed, at, before = 0.0, 0, time.monotonic()
        while not self._stop_sending.is_set():
            now = time.monotonic()
            # What a busy machine could not send is not made up for.
            owed = min(owed + (now - before) * self._rate, 2 * _TICK * self._rate)
            before = now
            while owed >= 1:
                source, target = turns[at % len(turns)]
                at, owed = at + 1, owed - 1
                packed, where = targets[target]
                flow = source * len(targets) + target
                numbers[flow] += 1
                try:
                    sockets[source].sendto(_PAYLOAD.pack(packed, source, numbers[flow]), where)
                    self._sent[flow] += 1
                except OSError:
                    self._refused.value += 1
            time.sleep(_TICK)

    def _receive(self) -> None:
        poll = select.epoll()
        bound: dict[int, tuple[socket.socket, bytes]] = {}
        index = {address.packed: n for n, address in enumerate(self._targets)}
        newest = [0] * len(self._sent)
        for address, ns in self._targets.items():
            if ns is None:
                continue
            with ns.entered():
                made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            made.bind(("::", PORT))
            made.setblocking(False)
            bound[made.fileno()] = made, address.packed
            poll.register(made, select.EPOLLIN)
        while not self._stop.is_set():
            for fd, _ in poll.poll(0.1):
                made, own = bound[fd]
                with contextlib.suppress(BlockingIOError):
                    while True:
                        packed, source, number = _PAYLOAD.unpack(made.recv(2048))
                        if packed != own:
                            self._wrong.value += 1
                            continue
                        flow = source * len(index) + index[packed]
                        if number > newest[flow]:
                            newest[flow] = number
                            self._received[flow] += 1
                        else:
                            self._late[flow] += 1


def accept_all(ns: Namespace, prefix: IPv6Network) -> None:
    """Let a namespace take packets for any address of a prefix."""
    ns.ip("-6", "route", "add", "local", str(prefix), "dev", "lo")


def _quiet(work: object) -> None:
    """In a process of its own: signals are for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    work()  # type: ignore[operator]
