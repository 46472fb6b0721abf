# SPDX-License-Identifier: Apache-2.0
"""cli.*: seconds of one command, from the start of its process to the end.

All commands run one after the other, on one core, as in the life of an instance that
begins and ends in each turn. Python has to start for each of them, which
`cli.python_wall` is alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from ilax_perf.rows import SECONDS, Rows
from ilax_perf.sampling import Median, Settings, one_core
from lab.ilax import environment
from lab.netns import CommandError
from lab.operator import add_arguments, up_arguments
from lab.topology import Lab, Plan

_PYTHON = "cli.python_wall"
_STATUS = "cli.status_wall"

# In the order of a turn.
ROWS = (
    _PYTHON,
    "cli.up_wall",
    "cli.version_wall",
    _STATUS,
    "cli.counters_wall",
    "cli.mapping_add_wall",
    "cli.endpoint_add_wall",
    "cli.up_again_wall",
    "cli.endpoint_del_wall",
    "cli.down_wall",
)


def measure(rows: Rows, settings: Settings) -> None:
    """Run each command in turn against one live instance."""
    wanted = [name for name in ROWS if settings.wanted(name)]
    if not wanted:
        return
    settings.progress("cli.*")
    seen: dict[str, list[float]] = {name: [] for name in ROWS}
    with Lab.make("ilxperfc", Plan(hosts=1, containers=1)) as lab:
        lines = _lines(lab)
        with one_core(settings.cpu), lab.hosts[0].ns.entered():
            # One turn more than is counted: the first one fills the caches of files.
            for turn in range(settings.runs + 1):
                for name, samples in seen.items():
                    took = time_command(lines[name])
                    if turn:
                        samples.append(took)
    for name in dict.fromkeys((_PYTHON, *wanted)):
        rows.add(name, Median(seen[name]), SECONDS, None if name == _PYTHON else _PYTHON)
    if rows.missed(_STATUS):
        rows.reasons[_STATUS] = [f"{Median(seen[_PYTHON]):.3f} s  until Python runs its first line"]


def _lines(lab: Lab) -> dict[str, list[str]]:
    """The command line of each row."""
    host, container = lab.hosts[0], lab.containers[0]
    arguments: dict[str, list[object]] = {
        "cli.up_wall": up_arguments(lab, host),
        "cli.version_wall": ["version"],
        _STATUS: ["status"],
        "cli.counters_wall": ["counters"],
        "cli.mapping_add_wall": [
            *("mapping", "add", lab.plan.sir(9)),
            *("--locator", lab.plan.locator(2)),
        ],
        "cli.endpoint_add_wall": add_arguments(container),
        # An upgrade: all programs are loaded anew and swapped, also at the endpoint.
        "cli.up_again_wall": up_arguments(lab, host),
        "cli.endpoint_del_wall": ["endpoint", "del", container.address],
        "cli.down_wall": ["down"],
    }
    ilax = [sys.executable, "-m", "ilax", "--instance", host.ilax.instance]
    lines = {name: [*ilax, *map(str, words)] for name, words in arguments.items()}
    return {_PYTHON: [sys.executable, "-c", ""], **lines}


def time_command(words: Sequence[str]) -> float:
    """Seconds of a process, with all sources of this tree.

    Raises:
        CommandError: it failed.
    """
    env = {**os.environ, **environment()}
    start = time.perf_counter()
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise CommandError(done)
    return took
