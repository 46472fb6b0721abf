# SPDX-License-Identifier: Apache-2.0
"""Two hosts with a container each, connected by ilax or by something else.

    client -- host 1 -- router -- host 2 -- server

Each way has a lab of its own, made of the same parts: veth pairs, GRO on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ilax_perf import availability, overlays
from ilax_perf.plain import attach, route_plainly
from ilax_perf.programs import URGENT, Place
from ilax_perf.sampling import Settings
from lab.operator import Options, bring_up
from lab.topology import Lab, Plan

KERNEL, ILAX = "kernel_route", "ilax"
# What everything else is compared with comes first.
WAYS = (KERNEL, ILAX, *overlays.CONNECT)


def connect(lab: Lab, way: str, options: Options | None = None) -> None:
    """Connect all containers of a lab.

    Args:
        lab: a fresh one.
        way: one of `WAYS`.
        options: of ilax; default: as `up` chooses by itself.
    """
    if way == ILAX:
        bring_up(lab, options or Options(xdp="auto"))
    elif way == KERNEL:
        for container in lab.containers:
            route_plainly(lab, container)
    else:
        # Else packets that are not translated or encapsulated might arrive all the same.
        lab.router.ip("-6", "route", "del", "default")
        for container in lab.containers:
            attach(container)
        for host in lab.hosts:
            others = [c for c in lab.containers if c.host is not host]
            overlays.CONNECT[way](host, map(overlays.Remote.of, others))


def wanted(
    rows_of: Callable[[str], Sequence[str]], settings: Settings, *, cores: int = 2
) -> list[str]:
    """The ways that are asked for and are here, and before them the kernel's.

    Args:
        rows_of: names of the rows of a way.
        settings: of the run.
        cores: that are needed.
    """
    asked = [way for way in WAYS if any(map(settings.wanted, rows_of(way)))]
    if asked and len(os.sched_getaffinity(0)) < cores:
        names = [row for way in asked for row in rows_of(way)]
        settings.progress(f"{', '.join(names)}: left out, client and server need a core each")
        return []
    found = [way for way in asked if here(way, rows_of(way), settings)]
    return list(dict.fromkeys((KERNEL, *found))) if found else []


def here(way: str, rows: Sequence[str], settings: Settings) -> bool:
    """Whether this machine can do it; if not, says which rows are left out."""
    return not availability.left_out(overlays.NEEDS.get(way, ()), rows, settings.progress)


@dataclass(frozen=True, slots=True)
class Pair:
    """Client and server, on a core each.

    Attributes:
        client: where the client runs.
        server: where the server runs.
        address: of the server.
    """

    client: Place
    server: Place
    address: str


@contextlib.contextmanager
def built(tag: str, ways: Sequence[str], cpu: int) -> Iterator[dict[str, Pair]]:
    """A lab for each way.

    Args:
        tag: what their names begin with.
        ways: some of `WAYS`.
        cpu: core of the servers.
    """
    with ExitStack() as stack:
        pairs = {}
        for number, way in enumerate(ways):
            lab = stack.enter_context(Lab.make(f"{tag}{number}", Plan(hosts=2, containers=1)))
            connect(lab, way)
            client, server = lab.containers
            pairs[way] = Pair(
                Place(client.ns, min(os.sched_getaffinity(0) - {cpu}), nice=URGENT),
                Place(server.ns, cpu, nice=URGENT),
                server.address,
            )
        yield pairs
