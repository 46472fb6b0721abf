# SPDX-License-Identifier: Apache-2.0
"""Where time goes, by sampling with perf; without perf there is nothing to say.

There are no hardware counters in most virtual machines, so the clock samples.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

# Samples of one second.
_FREQUENCY = 5000
_BPF_SYMBOL = re.compile(r"bpf_prog_[0-9a-f]{16}_(\w+)")

Shares = dict[str, float]


def sample(action: Callable[[], object], *, command: str | None = None) -> Shares:
    """Run `action` and see which functions took the time.

    Args:
        action: what to look at.
        command: look at processes of this name instead of this one.

    Returns:
        Share of the time by function, 0 to 1; empty if perf is not there.
    """
    if shutil.which("perf") is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "perf.data")
        whom = ["--all-cpus"] if command else ["--pid", str(os.getpid())]
        recorder = subprocess.Popen(
            ["perf", "record", "-e", "cpu-clock", "-F", str(_FREQUENCY), *whom, "-o", str(data)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            action()
        finally:
            recorder.send_signal(signal.SIGINT)
            recorder.wait()
        which = ["--comm", command, "--percentage", "relative"] if command else []
        done = subprocess.run(
            ["perf", "report", "-i", str(data), "--stdio", "--no-children", "-F", "overhead,sym",
             *which],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return _parse(done.stdout)


def _parse(text: str) -> Shares:
    shares: Shares = {}
    for line in text.splitlines():
        match = re.match(r"\s*([0-9.]+)%\s+\[.\]\s+(.+?)\s*$", line)
        if match:
            name = _BPF_SYMBOL.sub(r"\1", match[2])
            shares[name] = shares.get(name, 0.0) + float(match[1]) / 100
    return shares


def differences(
    shares: Shares, total: float, base: Shares, base_total: float, unit: str, count: int = 10
) -> list[str]:
    """What one costs more than the other, function by function.

    Args:
        shares: of the row that is looked at.
        total: its cost.
        base: shares of what it is compared with.
        base_total: the cost of that.
        unit: of both costs, such as "ns".
        count: lines at most.
    """
    names = shares.keys() | base.keys()
    change = {n: shares.get(n, 0) * total - base.get(n, 0) * base_total for n in names}
    largest = sorted(change, key=lambda name: -change[name])[:count]
    return [f"{change[name]:+7.1f} {unit}  {name}" for name in largest if change[name] > 0]
