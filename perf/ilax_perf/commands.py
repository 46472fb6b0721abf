# SPDX-License-Identifier: Apache-2.0
"""cli.*: seconds of one command, from the start of its process to the end.

Commands take turns, on one core. Python has to start for each of them, which
`cli.python_wall` is alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from ilax_perf.rows import SECONDS, Rows
from ilax_perf.sampling import Settings, one_core
from lab.ilax import environment
from lab.netns import CommandError
from lab.operator import up_arguments
from lab.topology import Host, Lab, Plan

_PYTHON = "cli.python_wall"
_STATUS = "cli.status_wall"

# Each may be repeated as often as one likes.
_COMMANDS: Mapping[str, Callable[[Lab, Host], list[object]]] = {
    "cli.version_wall": lambda lab, host: ["version"],
    _STATUS: lambda lab, host: ["status"],
    "cli.counters_wall": lambda lab, host: ["counters"],
    "cli.mapping_add_wall": lambda lab, host: [
        *("mapping", "add", lab.plan.sir(9)),
        *("--locator", lab.plan.locator(2)),
    ],
    # Nothing is to be changed, but everything is looked at.
    "cli.up_again_wall": up_arguments,
}


def measure(rows: Rows, settings: Settings) -> None:
    """Run each command in turn against one live instance."""
    names = [name for name in _COMMANDS if settings.wanted(name)]
    if not names:
        return
    settings.progress("cli.*")
    seen: dict[str, list[float]] = {name: [] for name in (_PYTHON, *names)}
    with Lab.make("ilxperfc", Plan(hosts=1, containers=0)) as lab:
        (host,) = lab.hosts
        host.ilax(*up_arguments(lab, host))
        ilax = [sys.executable, "-m", "ilax", "--instance", host.ilax.instance]
        lines = {name: [*ilax, *map(str, _COMMANDS[name](lab, host))] for name in names}
        lines[_PYTHON] = [sys.executable, "-c", ""]
        with one_core(settings.cpu), host.ns.entered():
            # One turn more than is counted: the first one fills the caches of files.
            for turn in range(settings.runs + 1):
                for name, samples in seen.items():
                    took = _time(lines[name])
                    if turn:
                        samples.append(took)
    for name, samples in seen.items():
        rows.add(name, statistics.median(samples), SECONDS, None if name == _PYTHON else _PYTHON)
    if rows.missed(_STATUS):
        rows.reasons[_STATUS] = [
            f"{statistics.median(seen[_PYTHON]):.3f} s  until Python runs its first line"
        ]


def _time(words: Sequence[str]) -> float:
    env = {**os.environ, **environment()}
    start = time.perf_counter()
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise CommandError(done)
    return took
