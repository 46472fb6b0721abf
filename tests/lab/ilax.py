# SPDX-License-Identifier: Apache-2.0
"""The `ilax` command on one host, run as an operator would."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ilax import address
from ilax.bpf import Program
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from ilax.watching import counters as kernel_counters
from ilax.watching.events import Event, reader
from lab.netns import CommandError, Namespace
from lab.warm import WarmRunner

_ROOT = Path(__file__).resolve().parents[2]


class Ilax:
    """Runs `ilax --instance NAME ...` in the namespace of a host.

    Args:
        ns: the host.
        instance: name of the instance, one for each host of the lab.
        wrapper: command line in front of it, such as `("setpriv", ...)`.

    Attributes:
        runner: runs commands that have no wrapper, if set for all of the class;
            else each one is a program that starts.
        echo: is told every command before it runs, as people would type it.
    """

    runner: WarmRunner | None = None

    def __init__(self, ns: Namespace, instance: str, wrapper: tuple[str, ...] = ()) -> None:
        self.ns = ns
        self.instance = instance
        self.wrapper = wrapper
        self.echo: Callable[[str], object] = lambda _: None

    def try_(
        self, *args: object, text_in: str | None = None, as_json: bool = False, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run it; the caller looks at the exit code."""
        self.echo(" ".join(["ilax", *map(str, args)]))
        options = ["--instance", self.instance, *(["--json"] if as_json else [])]
        arguments = [*options, *map(str, args)]
        if self.runner is not None and not self.wrapper:
            return self.runner.run(self.ns.path, arguments, text_in, timeout)
        return self.ns.run(
            *(*self.wrapper, sys.executable, "-m", "ilax", *arguments),
            check=False,
            text_in=text_in,
            env=environment(),
            timeout=timeout,
        )

    def command(self, *args: str) -> list[str]:
        """The command line of a program that starts, for who wants to talk to it."""
        prefix = self.ns.prefix()
        return [*prefix, sys.executable, "-m", "ilax", "--instance", self.instance, *args]

    @contextlib.contextmanager
    def monitoring(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """`ilax --json monitor` that has begun to read; its first line is gone."""
        process = subprocess.Popen(
            self.command("--json", "monitor", *args),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment()},
        )
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["kind"] == "start"
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def stepwise(
        self, stop: int, *args: object
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """Run it by the runner and list the steps it takes; see `lab.faults`.

        Args:
            stop: number of the step at which it is killed; 0 = none.
        """
        assert self.runner is not None and not self.wrapper
        arguments = ["--instance", self.instance, *map(str, args)]
        return self.runner.run_stepwise(self.ns.path, arguments, stop)

    def __call__(self, *args: object, text_in: str | None = None) -> str:
        """Run it and return its output.

        Raises:
            CommandError: it failed.
        """
        done = self.try_(*args, text_in=text_in)
        if done.returncode:
            raise CommandError(done)
        return done.stdout

    def json(self, *args: object) -> Any:
        """Run it with --json and return the decoded answer.

        Raises:
            CommandError: it failed.
        """
        done = self.try_(*args, as_json=True)
        if done.returncode:
            raise CommandError(done)
        return json.loads(done.stdout)

    def counters(self) -> dict[tuple[str, str], int]:
        """Packets by hook and reason, such as ("container", "send_forward").

        Read from the map, as this is done often; the command prints the same.
        """
        with Instance.open(self.instance) as opened:
            return {(row.hook, row.reason): row.packets for row in kernel_counters.read(opened)}

    def traffic(self, sir: str) -> kernel_counters.Traffic:
        """What an endpoint of this host has received and sent."""
        with Instance.open(self.instance) as opened:
            endpoint = endpoints.find(opened, address.parse(sir))
            return kernel_counters.traffic(opened, endpoint.slot)

    def wire(self, sir: str) -> str:
        """Wire address of an endpoint of this host."""
        with Instance.open(self.instance) as opened:
            return str(endpoints.find(opened, address.parse(sir)).wire)

    def count(self, reason: str) -> int:
        """Packets of one reason, over all hooks."""
        return sum(n for (_, name), n in self.counters().items() if name == reason)

    @contextlib.contextmanager
    def events(self) -> Iterator[list[Event]]:
        """Sampled drops; the list is complete when the context has ended."""
        found: list[Event] = []
        with Instance.open(self.instance) as opened, reader(opened, found.append) as ring:
            ring.poll()
            found.clear()  # of earlier packets
            yield found
            ring.poll(1000)

    def programs(self, folder: str = "programs") -> dict[str, int]:
        """Numbers of a pinned set of programs, by name."""
        found = {}
        for pin in (self.pins / "v1" / folder).glob("*"):
            with Program.open_pinned(pin) as program:
                found[pin.name] = program.id
        return found

    @property
    def pins(self) -> Path:
        """Folder of all pins of this instance."""
        return Path("/sys/fs/bpf/ilax") / self.instance


@contextlib.contextmanager
def quick_commands() -> Iterator[None]:
    """Commands start without starting Python, see `WarmRunner`; this may be nested."""
    before = Ilax.runner
    Ilax.runner = WarmRunner(environment())
    try:
        yield
    finally:
        Ilax.runner.close()
        Ilax.runner = before


def environment() -> dict[str, str]:
    """Environment in which Python finds `ilax` and `lab` of this source tree."""
    paths = [
        str(_ROOT / "loader"),
        str(_ROOT / "tests"),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    return {"PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1"}
