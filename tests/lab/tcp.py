# SPDX-License-Identifier: Apache-2.0
"""A TCP transfer whose content is checked, and throughput by iperf3."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from lab.netns import CommandError, Namespace, run

# Above the largest super-packet, so that one write can fill it.
_BLOCK = 1 << 18
_SO_MAX_PACING_RATE = 47
# Of struct tcp_info in <linux/tcp.h>: eight bytes, then 32-bit numbers.
_INFO = struct.Struct("=8x24I")
_INFO_PMTU, _INFO_TOTAL_RETRANS = 13, 23


@dataclass(frozen=True)
class TransferReport:
    """How a transfer went.

    Attributes:
        sent: bytes given to the sending socket.
        received: bytes that arrived.
        same_content: the SHA-256 of both are equal.
        retransmits: segments sent again.
        longest_gap: seconds without a byte arriving, at most.
        pmtu: path MTU that the sender used at the end, in bytes.
        error: what ended it early, or None.
    """

    sent: int
    received: int
    same_content: bool
    retransmits: int
    longest_gap: float
    pmtu: int
    error: str | None


class Transfer:
    """Sends pseudo-random bytes over one connection while the context lasts.

    Args:
        sender: namespace that connects and sends.
        receiver: namespace that listens.
        destination: address of the receiver.
        rate: bytes in a second at most; None = as fast as it goes.
        total: bytes after which the sender ends by itself; None = at the end of
            the context.
        congestion: name of the congestion control; None = the system's.
        source: address to send from; None = the kernel chooses.
    """

    def __init__(
        self,
        sender: Namespace,
        receiver: Namespace,
        destination: str,
        *,
        rate: int | None = None,
        total: int | None = None,
        congestion: str | None = None,
        source: str | None = None,
        port: int = 7008,
        timeout: float = 60,
    ) -> None:
        self._sender_ns, self._receiver_ns = sender, receiver
        self._target = (destination, port)
        self._rate, self._total, self._timeout = rate, total, timeout
        self._congestion, self._source = congestion, source
        self._stop = threading.Event()
        self._hash_out, self._hash_in = hashlib.sha256(), hashlib.sha256()
        self._arrivals: list[float] = []
        self._errors: list[str] = []
        self.sent = self.received = 0
        self._retransmits = self._pmtu = 0
        self._report: TransferReport | None = None

    def report(self) -> TransferReport:
        """The result; only after the context has ended."""
        assert self._report is not None
        return self._report

    def join(self) -> None:
        """Wait until the transfer has ended by itself."""
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        with self._receiver_ns.entered():
            self._listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("::", self._target[1]))
        self._listener.listen(1)
        self._listener.settimeout(self._timeout)
        with self._sender_ns.entered():
            self._out = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._out.settimeout(self._timeout)
        if self._congestion is not None:
            name = self._congestion.encode()
            self._out.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
        if self._rate is not None:
            self._out.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, self._rate)
            # A full socket buffer would hold many seconds at a low rate.
            self._out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 19)
        if self._source is not None:
            self._out.bind((self._source, 0))
        self._threads = [
            threading.Thread(target=self._guard, args=(self._send,), daemon=True),
            threading.Thread(target=self._guard, args=(self._receive,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.join()
        self._out.close()
        self._listener.close()
        gaps = [b - a for a, b in itertools.pairwise(self._arrivals)]
        self._report = TransferReport(
            sent=self.sent,
            received=self.received,
            same_content=self._hash_out.digest() == self._hash_in.digest(),
            retransmits=self._retransmits,
            longest_gap=max(gaps, default=0.0),
            pmtu=self._pmtu,
            error="; ".join(self._errors) or None,
        )

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self._errors.append(str(error))

    def _send(self) -> None:
        blocks = [random.Random(n).randbytes(_BLOCK) for n in range(8)]
        self._out.connect(self._target)
        number = 0
        while not self._stop.is_set() and (self._total is None or self.sent < self._total):
            # The number in front makes every block different.
            block = number.to_bytes(8, "big") + blocks[number % len(blocks)]
            self._out.sendall(block)
            self._hash_out.update(block)
            self.sent += len(block)
            number += 1
        self._out.shutdown(socket.SHUT_WR)
        self._out.recv(1)  # the receiver closes after the last byte
        info = _INFO.unpack_from(self._out.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))
        self._retransmits, self._pmtu = info[_INFO_TOTAL_RETRANS], info[_INFO_PMTU]

    def _receive(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(self._timeout)
            while block := connection.recv(_BLOCK):
                self._hash_in.update(block)
                self.received += len(block)
                self._arrivals.append(time.monotonic())


def transfer(
    sender: Namespace,
    receiver: Namespace,
    destination: str,
    total: int,
    *,
    congestion: str | None = None,
    source: str | None = None,
    timeout: float = 60,
) -> TransferReport:
    """Send `total` bytes (rounded up to blocks) and wait for the end."""
    with Transfer(
        *(sender, receiver, destination),
        total=total, congestion=congestion, source=source, timeout=timeout,
    ) as running:  # fmt: skip
        running.join()
    return running.report()


def iperf3(
    client: Namespace, server: Namespace, destination: str, *, seconds: float = 1, port: int = 5201
) -> float:
    """Gbit/s of one TCP stream from client to server.

    Raises:
        CommandError: there was no connection, or it broke.
    """
    with server.running("iperf3", "--server", "--one-off", "--port", str(port)) as process:
        server.wait_listening(port)
        done = run(
            *client.prefix(),
            *("iperf3", "--json", "--client", destination, "--port", str(port)),
            *("--time", f"{seconds:g}"),
            check=False,
        )
        answer = json.loads(done.stdout or "{}")
        if done.returncode or "error" in answer:
            raise CommandError(done)
        process.wait(timeout=30)
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9
