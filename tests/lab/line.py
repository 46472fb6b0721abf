# SPDX-License-Identifier: Apache-2.0
"""Commands that stand in line for the instances' lock: races with one outcome.

The kernel gives the lock to those who wait in the order in which they came. So what a
command has read before it waits is what a command in front of it then changes.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ilax.instances.pins import PinFolder
from lab.wait import until


class Line:
    """Those who wait; `ended` has how each came out, when the line has gone."""

    def __init__(self, instance: str) -> None:
        self._ilax = (sys.executable, "-m", "ilax", "--instance", instance)
        self.waiting: list[subprocess.Popen[str]] = []
        self.ended: list[subprocess.CompletedProcess[str]] = []

    def join(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin an `ilax` command; it waits for the lock when this returns."""
        job = subprocess.Popen(
            [*self._ilax, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.waiting.append(job)
        until(lambda: _waits(job.pid) or job.poll() is not None, "command that waits")
        assert job.poll() is None, job.communicate()
        return job

    def codes(self) -> list[int]:
        """Exit codes, in the order of the line."""
        return [one.returncode for one in self.ended]


@contextlib.contextmanager
def line(instance: str) -> Iterator[Line]:
    """Hold the lock, let commands line up, and let them go one after the other."""
    standing = Line(instance)
    try:
        with PinFolder(instance).lock():
            yield standing
        for job in standing.waiting:
            out, err = job.communicate(timeout=120)
            standing.ended.append(subprocess.CompletedProcess(job.args, job.returncode, out, err))
    finally:
        for job in standing.waiting:
            job.kill()
            job.communicate()


def _waits(pid: int) -> bool:
    """Whether a process waits for a lock: `7: -> FLOCK ADVISORY WRITE PID ...`."""
    words = (row.split() for row in Path("/proc/locks").read_text().splitlines())
    return any(row[1] == "->" and row[5] == str(pid) for row in words)
