# SPDX-License-Identifier: Apache-2.0
"""Tasks that move, and mappings that are written by two writers at once."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ilax import address
from ilax.endpoint import containers
from ilax.instances.instance import Instance
from ilax.translation import mappings
from lab.topology import Container, Host, Lab

# Rows that nobody sends to: they come, lead elsewhere, and go.
SPARE_FIRST = 0x10_0000
# Rows that both writers write.
SHARED = 64


@dataclass
class Done:
    """Changes so far.

    Attributes:
        endpoints: added or removed.
        mappings: rows written or removed by the loader.
        by_daemon: rows written by the other writer.
    """

    endpoints: int = 0
    mappings: int = 0
    by_daemon: int = 0


@dataclass
class Churn:
    """Changes at a rate; all that is local is done in this process, as the CLI does it.

    Args:
        movers: tasks that move from host to host.
        endpoints, rows: changes that are due in a minute.
        spare: rows without traffic that mappings are churned over.
    """

    lab: Lab
    movers: list[Container]
    endpoints: int
    rows: int
    spare: int
    done: Done = field(default_factory=Done)

    def __post_init__(self) -> None:
        prefix = int(self.lab.plan.sir_prefix.network_address) >> 64
        numbers = np.arange(SPARE_FIRST, SPARE_FIRST + self.spare, dtype=np.uint64)
        # The last 16 bits of an identifier are the checksum's, and never 0.
        identifiers = (0x2000 << 48) + (numbers << np.uint64(16)) + np.uint64(1)
        self._sir = np.stack([np.full_like(identifiers, prefix), identifiers], axis=1)
        self._at = self._turn = self._moves = 0
        self._start = time.monotonic()
        self._instances = {host.name: _open(host) for host in self.lab.hosts}

    def begin(self) -> None:
        """What is done counts from now on."""
        self.done = Done()
        self._start = time.monotonic()

    def close(self) -> None:
        """Close the instances."""
        for instance in self._instances.values():
            instance.close()

    # --- tasks ---

    def move(self, task: Container) -> None:
        """Take a task off one host and connect it to the other."""
        source = task.host
        target = next(host for host in self.lab.hosts if host is not source)
        sir = address.parse(task.address)
        with source.ns.entered():
            containers.delete(self._instances[source.name], sir)
        self.add(task, target)
        self.publish(task)

    def add(self, task: Container, target: Host) -> None:
        """Connect a task to a host."""
        options = containers.AddOptions(address.parse(task.address), task.ns.name)
        with target.ns.entered():
            containers.add(self._instances[target.name], options)
        task.host = target
        self.done.endpoints += 2

    def publish(self, task: Container) -> None:
        locator = address.parse_prefix(str(task.host.locator))
        for host in self.lab.hosts:
            if host is not task.host:
                instance = self._instances[host.name]
                mappings.add(instance, address.parse(task.address), locator=locator)
                self.done.mappings += 1

    # --- rows ---

    def rewrite(self, count: int) -> None:
        """Write rows on each host, or remove some of them every third time."""
        part = self._next(count)
        self._turn += 1
        for host in self.lab.hosts:
            instance = self._instances[host.name]
            if self._turn % 3:
                locator = (int(self.lab.plan.locator(9 + self._turn % 5).network_address)) >> 64
                self.done.mappings += mappings.put_bulk(instance, part, locator=locator)
            else:
                self.done.mappings += mappings.delete_bulk(instance, part)

    def _next(self, count: int) -> NDArray[np.uint64]:
        part = self._sir[self._at : self._at + count]
        self._at = (self._at + count) % (len(self._sir) - count)
        return part

    def forget_rows(self) -> None:
        """Remove all spare rows."""
        for instance in self._instances.values():
            mappings.delete_bulk(instance, self._sir)

    def overfill(self) -> int:
        """Write more rows than there is room for; returns how many hosts refused that."""
        from ilax.errors import MapFullError

        refused = 0
        more = self._sir.copy()
        more[:, 1] += np.uint64(1 << 40)
        for instance in self._instances.values():
            try:
                mappings.put_bulk(instance, self._sir, locator=int(self._locator()))
                mappings.put_bulk(instance, more, locator=int(self._locator()))
            except MapFullError:
                refused += 1
            mappings.delete_bulk(instance, more)
            mappings.delete_bulk(instance, self._sir)
        return refused

    def _locator(self) -> int:
        return int(self.lab.plan.locator(9).network_address) >> 64

    def run(self, until: float) -> None:
        """Move tasks and write rows at the rate, up to a moment of the monotonic clock."""
        while (now := time.monotonic()) < until:
            minutes = (now - self._start) / 60
            busy = False
            if self.done.endpoints < self.endpoints * minutes:
                self.move(self.movers[self._moves % len(self.movers)])
                self._moves, busy = self._moves + 1, True
            due = self.rows * minutes - self.done.mappings
            if due > 0:
                self.rewrite(int(min(max(due / len(self.lab.hosts), 32), 4096)))
                busy = True
            if not busy:
                time.sleep(0.005)


def _open(host: Host) -> Instance:
    with host.ns.entered():
        return Instance.open(host.ilax.instance)


def build_daemon(folder: Path) -> Path:
    """The control program in C, which knows nothing of the loader."""
    root = Path(__file__).resolve().parents[2]
    source, binary = root / "tests" / "abi" / "daemon.c", folder / "daemon"
    flags = ["-std=gnu11", "-O2", f"-I{root / 'maps_schema'}"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(binary), "-lbpf"], check=True)
    return binary


class SecondWriter:
    """The daemon writes some of the rows that the loader writes, all the time."""

    def __init__(self, binary: Path, lab: Lab, sirs: list[IPv6Address], done: Done) -> None:
        self._binary, self._lab, self._sirs, self._done = binary, lab, sirs, done
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        turn = 0
        while not self._stop.wait(0.05):
            host = self._lab.hosts[turn % len(self._lab.hosts)]
            sir = address.parse(str(self._sirs[turn % len(self._sirs)]))
            locator = address.parse_prefix(str(self._lab.plan.locator(20 + turn % 2)))
            wire = address.to_wire(sir, locator.upper)
            command = [str(self._binary), host.ilax.instance, "mapping", str(sir), str(wire)]
            done = subprocess.run(
                [*command, "forward"], capture_output=True, text=True, check=False
            )
            # A full map refuses rows of either writer.
            if done.returncode and "Argument list too long" not in done.stderr:
                self.failed.append(done.stderr)
            self._done.by_daemon += not done.returncode
            turn += 1
