# SPDX-License-Identifier: Apache-2.0
"""Devices and threads of pktgen, in the network namespace of the thread that asks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ilax_perf.generate.generator import GeneratorError
from ilax_perf.generate.pktgen.control import ControlFile, Line, PktgenError, write
from ilax_perf.generate.pktgen.results import DeviceResult
from ilax_perf.generate.pktgen.settings import DeviceSettings

# /proc/net is that of the process's first thread.
FOLDER = Path("/proc/thread-self/net/pktgen")
_CONTROL, _THREAD = "pgctrl", "kpktgend_"


@dataclass(frozen=True, slots=True)
class Assigned:
    """A device on a thread.

    Attributes:
        device: name of the network device.
        cpu: of the thread.
        label: tells several of the same device apart ("eth0@3"); "" for none.
    """

    device: str
    cpu: int
    label: str = ""

    @property
    def name(self) -> str:
        """As pktgen has it."""
        return f"{self.device}@{self.label}" if self.label else self.device


Plan = Mapping[Assigned, DeviceSettings]


def is_here() -> bool:
    """Whether the kernel has pktgen, loaded."""
    return FOLDER.is_dir()


class Pktgen:
    """All of pktgen of this namespace. Use `Pktgen.make()`: only one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    @contextlib.contextmanager
    def make(cls) -> Iterator[Self]:
        """For as long as the context lasts; all devices are removed at the end.

        Raises:
            GeneratorError: this kernel has none, or somebody else uses it.
        """
        if not is_here():
            raise GeneratorError(
                f"no {FOLDER}: this kernel has no pktgen, or has not loaded it",
                hint="`modprobe pktgen` as root (CONFIG_NET_PKTGEN)",
            )
        # Another thread of ours, in whichever namespace, means this one by it, too.
        self = cls(FOLDER.resolve())
        if devices := self.devices():
            raise GeneratorError(
                f"pktgen has devices already: {', '.join(devices)}; nothing was changed",
                hint="they are somebody else's, or of a run that was killed; "
                "`echo reset >/proc/net/pktgen/pgctrl` removes all",
            )
        try:
            yield self
        finally:
            self._reset()

    def threads(self) -> list[int]:
        """CPUs that have a thread."""
        found = self._folder.glob(f"{_THREAD}*")
        return sorted(int(path.name.removeprefix(_THREAD)) for path in found)

    def devices(self) -> list[str]:
        """Names of all devices, of all threads."""
        found: list[str] = []
        for cpu in self.threads():
            for line in (self._folder / f"{_THREAD}{cpu}").read_text().splitlines():
                kind, _, names = line.partition(":")
                if kind in ("Running", "Stopped"):
                    found += names.split()
        return sorted(found)

    def add(self, assigned: Assigned, settings: DeviceSettings) -> None:
        """Add a device to a thread, and tell it everything.

        Raises:
            PktgenError: a line was refused.
        """
        thread = self._folder / f"{_THREAD}{assigned.cpu}"
        if not thread.exists():
            cpus = ", ".join(map(str, self.threads()))
            raise GeneratorError(f"no pktgen thread on CPU {assigned.cpu}; there is one on {cpus}")
        ControlFile(thread).write(Line("add_device", assigned.name))
        file = self.device(assigned)
        for line in settings.lines():
            file.write(line)

    def device(self, assigned: Assigned) -> ControlFile:
        """The control file of a device."""
        return ControlFile(self._folder / assigned.name)

    def result(self, assigned: Assigned) -> DeviceResult:
        """What a device says."""
        return DeviceResult.parse(self.device(assigned).read())

    def start(self) -> None:
        """Let all devices send; returns when the last one has stopped."""
        write(self._folder / _CONTROL, Line("start"))

    def run(self, plan: Plan, seconds: float | None = None) -> dict[Assigned, DeviceResult]:
        """Let the devices of a plan send, together.

        Args:
            plan: devices that are added for it.
            seconds: after which they are stopped, if they have not ended before.

        Raises:
            PktgenError: a line was refused, or a device did not do what it was told.
        """
        for assigned, settings in plan.items():
            self.add(assigned, settings)
        with self._stopped_after(seconds):
            self.start()
        results = {assigned: self.result(assigned) for assigned in plan}
        for assigned, result in results.items():
            self._check(assigned, plan[assigned], result, stopped=seconds is not None)
        return results

    @contextlib.contextmanager
    def _stopped_after(self, seconds: float | None) -> Iterator[None]:
        if seconds is None:
            yield
            return
        # Starting waits for the end, so somebody else has to stop it.
        timer = threading.Timer(seconds, write, (self._folder / _CONTROL, Line("stop")))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _check(
        self, assigned: Assigned, settings: DeviceSettings, result: DeviceResult, *, stopped: bool
    ) -> None:
        path = self.device(assigned).path
        if result.seconds is None or not result.sent:
            raise PktgenError(path, "start", result.said, hint=f"is {assigned.device} up?")
        # A burst is sent whole.
        most = settings.count + settings.burst - 1
        if settings.count and not stopped and not settings.count <= result.sent <= most:
            raise PktgenError(path, f"count {settings.count}", f"sent {result.sent}: {result.said}")
        # Queues that the device does not have are changed at the start, without a word.
        if result.queues != settings.queues:
            line = f"queue_map_min {settings.queues[0]}, queue_map_max {settings.queues[1]}"
            said = (
                f"the device has other queues, {result.queues[0]} to {result.queues[1]} were used"
            )
            raise PktgenError(path, line, said)
        if settings.checksum and "UDPCSUM" not in result.flags:
            raise PktgenError(path, "flag UDPCSUM", f"flags are {' '.join(sorted(result.flags))}")

    def _reset(self) -> None:
        for cpu in self.threads():
            ControlFile(self._folder / f"{_THREAD}{cpu}").write(Line("rem_device_all"))
