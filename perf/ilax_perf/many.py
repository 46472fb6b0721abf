# SPDX-License-Identifier: Apache-2.0
"""endpoints.*: seconds to add, upgrade and take down a host with many containers.

Endpoints are added as a daemon does it, by `ilax.endpoint.containers`, which is the time of one of
them; the other rows are commands, from the start of a process to its end. The containers
are empty network namespaces.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ilax.address import Address
from ilax.endpoint import containers
from ilax.endpoint.containers import AddOptions
from ilax.instances.instance import Instance
from ilax_perf.commands import time_command
from ilax_perf.rows import SECONDS, Rows
from ilax_perf.sampling import Median, Settings
from lab.netns import run
from lab.operator import up_arguments
from lab.topology import Host, Lab, Plan

SIZES = {"64": 64, "1k": 1000}
# A matter of minutes.
LONG = "1k"
_TAG = "ilxperfn"
_STEPS = ("add", "up_again", "upgrade", "down")


def row_names(*, full: bool) -> list[str]:
    """All rows of this module."""
    sizes = [size for size in SIZES if full or size != LONG]
    return [f"endpoints.{step}_{size}" for size in sizes for step in _STEPS]


def measure(rows: Rows, settings: Settings) -> None:
    """One life of an instance for each size, since each takes long and differs little."""
    names = row_names(full=settings.full)
    for size, count in SIZES.items():
        wanted = [n for n in names if n.endswith(f"_{size}") and settings.wanted(n)]
        if not wanted:
            continue
        settings.progress(", ".join(wanted))
        with Lab.make(_TAG, Plan(hosts=1, containers=0)) as lab:
            took = _life(lab, count)
        for step in _STEPS:
            name = f"endpoints.{step}_{size}"
            if name in wanted:
                rows.add(name, took[step], SECONDS)


def _life(lab: Lab, count: int) -> dict[str, float | Median]:
    """Seconds of each step, and of `add` those of each endpoint."""
    (host,) = lab.hosts
    up = up_arguments(lab, host)
    host.ilax(*up)
    names = [f"{lab.tag}-n{number}" for number in range(count)]
    for name in names:
        # The lab removes what begins with its tag.
        run("ip", "netns", "add", name)
    first = int(lab.plan.sir(1))
    with host.ns.entered():
        each = []
        with Instance.open(host.ilax.instance) as instance:
            for number, name in enumerate(names):
                sir = Address.from_bytes((first + number).to_bytes(16, "big"))
                start = time.perf_counter()
                containers.add(instance, AddOptions(sir, name))
                each.append(time.perf_counter() - start)
        return {
            "add": Median(each),
            "up_again": _command(host, up),
            "upgrade": _command(host, ["upgrade", "--soak", "0", "--before", "0"]),
            "down": _command(host, ["down"]),
        }


def _command(host: Host, arguments: Sequence[object]) -> float:
    ilax = [sys.executable, "-m", "ilax", "--instance", host.ilax.instance]
    return time_command([*ilax, *map(str, arguments)])
