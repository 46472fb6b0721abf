# SPDX-License-Identifier: Apache-2.0
"""Run the compiled programs of perf/programs/, each on a core and in a container.

They end by themselves when their time is over or this process is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ilax_perf.objects import BUILD
from lab.netns import CommandError, Namespace
from lab.wait import until

# A program that nobody ends does so itself, seconds after its start.
LONGEST = 900

# Before all ordinary processes.
URGENT = -20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs.

    Attributes:
        ns: its network namespace.
        cpu: its core.
        real_time: its priority (SCHED_FIFO), 1 to 99; 0 is an ordinary process.
        nice: of an ordinary one; URGENT is the first.
        patient: only when nobody else wants the core.
        cgroup: its cgroup, or None for that of this process.
    """

    ns: Namespace
    cpu: int
    real_time: int = 0
    nice: int = 0
    patient: bool = False
    cgroup: Path | None = None

    def prefix(self) -> list[str]:
        """The start of a command line that runs here."""
        words = [*self.ns.prefix(), "taskset", "--cpu-list", str(self.cpu)]
        if self.patient:
            return [*words, "chrt", "--idle", "0"]
        if self.real_time:
            return [*words, "chrt", "--fifo", str(self.real_time)]
        return [*words, "nice", f"--adjustment={self.nice}"]

    def favour(self, pid: int) -> None:
        """Let `nice` and `patient` count against all others, too.

        Where the kernel groups processes by session (sched_autogroup_enabled), it
        shares the core between the sessions first, and all are equal.
        """
        with contextlib.suppress(FileNotFoundError):  # a kernel without such groups
            Path(f"/proc/{pid}/autogroup").write_text("19" if self.patient else str(self.nice))


class Running:
    """A program that has been started."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def start(
        cls, place: Place, argv: Sequence[str], *, keep: Sequence[int] = (), told: bool = False
    ) -> Iterator[Self]:
        """Start it; it is ended with the context, unless it has ended before.

        Args:
            place: where.
            argv: program and arguments.
            keep: descriptors that it gets, too.
            told: it reads what `tell` says.
        """
        process = subprocess.Popen(
            [*place.prefix(), *argv],
            stdin=subprocess.PIPE if told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            pass_fds=keep,
        )
        try:
            place.favour(process.pid)
            if place.cgroup is not None:
                (place.cgroup / "cgroup.procs").write_text(f"{process.pid}\n")
            yield cls(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def output(self, timeout: float) -> str:
        """What it has said when it has ended.

        Raises:
            CommandError: it failed.
        """
        text, _ = self._process.communicate(timeout=timeout)
        self._check(text)
        return text

    def wait_for(self, line: str) -> None:
        """Wait until it says a line, the first of its output.

        Raises:
            CommandError: it says something else.
        """
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if said.rstrip() != line:
            text, _ = self._process.communicate()
            raise CommandError(self._done(said + text))

    def tell(self, line: str) -> None:
        """Say a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def still_runs(self) -> None:
        """Raise CommandError if it has ended."""
        if self._process.poll() is not None:
            text, _ = self._process.communicate()
            raise CommandError(self._done(text))

    def _check(self, text: str) -> None:
        if self._process.returncode:
            raise CommandError(self._done(text))

    def _done(self, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(self._process.args, self._process.returncode, text, "")


def path(name: str) -> str:
    """A compiled program of this folder."""
    return str(BUILD / name)


@contextlib.contextmanager
def server(place: Place, kind: str, port: int) -> Iterator[None]:
    """Answer requests, "udp" or "tcp", as long as the context lasts."""
    with Running.start(place, [path("echo"), kind, str(port), str(LONGEST)]) as running:
        _wait_bound(place.ns, kind, port, running)
        yield


@contextlib.contextmanager
def sink(place: Place, port: int) -> Iterator[None]:
    """Read UDP packets and forget them, as long as the context lasts."""
    with Running.start(place, [path("sink"), str(port), str(LONGEST)]) as running:
        _wait_bound(place.ns, "udp", port, running)
        yield


@contextlib.contextmanager
def acceptor(place: Place, port: int) -> Iterator[None]:
    """Accept TCP connections and close them, as long as the context lasts."""
    with Running.start(place, [path("accept"), str(port), str(LONGEST)]) as running:
        _wait_bound(place.ns, "tcp", port, running)
        yield


@contextlib.contextmanager
def awake(place: Place) -> Iterator[None]:
    """The core does not sleep while it has nothing to do, as long as the context lasts."""
    idle = replace(place, real_time=0, nice=0, patient=True)
    with Running.start(idle, [path("awake"), str(LONGEST)]):
        yield


def connect(place: Place, address: str, port: int, seconds: float) -> float:
    """Open connections that an acceptor closes; returns how many in a second."""
    words = [path("connect"), address, str(port), f"{seconds:g}"]
    with Running.start(place, words) as running:
        answer: dict[str, float] = json.loads(running.output(seconds + 15))
    return answer["connections"] / answer["seconds"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a client has seen; times in microseconds, without an answer 200 000.

    Attributes:
        sent: requests.
        answered: of these.
        seconds: that it took.
        p50: of the times; p99 and p999 likewise.
    """

    sent: int
    answered: int
    seconds: float
    p50: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class Questions:
    """What a client asks.

    Attributes:
        kind: "udp" or "tcp".
        address: of the server.
        port: of the server.
        seconds: how long.
        rate: requests in a second (open loop); 0 = one after the other.
        sleeps: it leaves the core to others while it waits, and its own wake-ups
            are in the times; else it looks all the time.
    """

    kind: str
    address: str
    port: int
    seconds: float
    rate: int = 0
    sleeps: bool = False


@contextlib.contextmanager
def client(place: Place, questions: Questions) -> Iterator[Callable[[], Answers]]:
    """A client that was answered once. To call it is to let it ask, once."""
    words = [path("ask"), questions.kind, questions.address, str(questions.port)]
    words += [f"{questions.seconds:g}", str(questions.rate)]
    words += ["sleep" if questions.sleeps else "look"]
    with Running.start(place, words, told=True) as running:
        running.wait_for("connected")

        def ask() -> Answers:
            running.tell("start")
            answer: dict[str, Any] = json.loads(running.output(questions.seconds + 15))
            return Answers(**answer)

        yield ask


def _wait_bound(ns: Namespace, kind: str, port: int, running: Running) -> None:
    def bound() -> bool:
        running.still_runs()
        with ns.entered():
            text = Path(f"/proc/thread-self/net/{kind}6").read_text()
        return f":{port:04X} " in text

    until(bound, f"a socket on port {port} in {ns.name}")
