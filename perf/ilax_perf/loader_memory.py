# SPDX-License-Identifier: Apache-2.0
"""memory.*_rss: the most resident memory that a loader has at once.

Of commands as an operator runs them, and of a program that has its addresses in arrays,
as a daemon may.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ilax.instances.instance import Instance
from ilax_perf.bulk import addresses, as_csv
from ilax_perf.rows import MEBIBYTES, Rows
from ilax_perf.sampling import Median, Settings
from lab.ilax import environment
from lab.netns import CommandError
from lab.operator import Options, up_arguments
from lab.topology import Lab, Plan

SIZES = {"1k": 1000, "64k": 1 << 16, "1m": 1 << 20, "10m": 10 << 20}
# A matter of half a minute and of gigabytes.
LONG = "10m"

_IMPORTS = ("1k", "64k", "1m")
_PUT = ("1m", LONG)
_STATUS = "memory.status_rss"


def row_names(*, full: bool) -> list[str]:
    """All rows of this module."""
    names = [_STATUS, *(f"memory.import_{size}_rss" for size in _IMPORTS)]
    names += [f"memory.put_{size}_rss" for size in _PUT]
    return [name for name in names if full or LONG not in name]


def measure(rows: Rows, wanted: set[str], settings: Settings) -> None:
    """Measure those rows of this module that are wanted."""
    names = [name for name in row_names(full=settings.full) if name in wanted]
    if not names:
        return
    room = SIZES[LONG if any(LONG in name for name in names) else "1m"]
    with (
        Lab.make("ilxperfm", Plan(hosts=1, containers=0)) as lab,
        tempfile.TemporaryDirectory() as folder,
    ):
        (host,) = lab.hosts
        extra = ("--max-mappings", str(room))
        host.ilax(*up_arguments(lab, host, Options(extra=extra)))
        lines = _lines(lab, Path(folder), names)
        with host.ns.entered():
            for name in names:
                # It hardly differs, and a large one takes long.
                samples = []
                for _ in range(1 if LONG in name else min(settings.runs, 3)):
                    _check_empty(host.ilax.instance, name)
                    samples.append(peak(lines[name]))
                    _empty(host.ilax.instance)
                rows.add(name, Median(samples), MEBIBYTES)


def _empty(name: str) -> None:
    """Remove all mappings: a loader reads those that stand there."""
    with Instance.open(name) as instance:
        keys, _ = instance.mappings.rows()
        instance.mappings.delete_rows(keys)


def _check_empty(name: str, row: str) -> None:
    """Rows that stand there would be counted: nearly 100 MiB for a million.

    Raises:
        RuntimeError: there are some.
    """
    with Instance.open(name) as instance:
        keys, _ = instance.mappings.rows()
    if len(keys):
        raise RuntimeError(f"{row}: {len(keys)} mappings are there before anything was loaded")


def _lines(lab: Lab, folder: Path, names: list[str]) -> dict[str, list[str]]:
    """Arguments of `ilax_perf.peak` for each row."""
    instance, locator = lab.hosts[0].ilax.instance, lab.plan.locator(2)
    command = ["command", "--instance", instance]
    lines = {_STATUS: [*command, "status"]}
    for size in _IMPORTS:
        name, file = f"memory.import_{size}_rss", folder / f"{size}.csv"
        if name in names:
            sir = addresses(int(lab.plan.sir_prefix.network_address) >> 64, SIZES[size])
            file.write_text(as_csv(sir, locator))
            lines[name] = [*command, "mapping", "import", str(file)]
    upper = int(locator.network_address) >> 64
    for size in _PUT:
        lines[f"memory.put_{size}_rss"] = ["put", instance, str(SIZES[size]), str(upper)]
    return lines


def peak(arguments: list[str]) -> float:
    """MiB that a loader had at once.

    Raises:
        CommandError: it failed.
    """
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "ilax_perf.peak", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandError(done)
    return int(done.stdout.splitlines()[-1]) / 1024
