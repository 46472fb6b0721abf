# SPDX-License-Identifier: Apache-2.0
"""The soak: traffic, changes and mishaps at once, and where each packet went."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import operator
from lab.cgroups import own_cgroups
from lab.findings import check
from lab.netns import Namespace
from lab.topology import Container, Lab, Plan
from lab.traces import Traces
from lab.wait import until
from soak.churn import SHARED, Churn, SecondWriter, build_daemon
from soak.dropped import BY_TC, BY_XDP, KernelDrops
from soak.events import Events
from soak.resources import Resources, resident
from soak.traffic import Traffic, accept_all

ROOM = 40_000  # mappings
SPARE = 30_000
MOVERS = 6
TC_HOOKS = ("uplink_ingress", "uplink_egress", "container")


@dataclass(frozen=True)
class Load:
    """How much of what.

    Attributes:
        seconds: how long.
        rate: packets in a second.
        endpoints, mappings: changes in a minute.
        between: seconds from one mishap to the next.
        least: mishaps, also if they take longer than `seconds`.
    """

    seconds: float
    rate: int = 2000
    endpoints: int = 1000
    mappings: int = 100_000
    between: float = 5
    least: int = 4


@dataclass(frozen=True)
class Report:
    """What happened; `problems` is empty if all was as it should be.

    Attributes:
        kernel: packets that the kernel dropped and ilax did not, by its reason.
        ilax: packets that ilax dropped, by hook and reason.
        unaccounted: packets sent, less all that are known to have gone somewhere.
        resident: bytes of memory of the process that made all changes, before and after.
    """

    seconds: float
    traffic: dict[str, int]
    kernel: dict[str, int]
    ilax: dict[str, int]
    unaccounted: int
    endpoint_changes: int
    mapping_changes: int
    daemon_changes: int
    events: dict[str, int]
    before: dict[str, int]
    after: dict[str, int]
    resident: tuple[int, int]
    problems: list[str]


def soak(tag: str, load: Load, folder: Path, tell: Callable[[str], object]) -> Report:
    """Build a lab, run the load over it, take it down, and say what happened.

    Args:
        folder: for what is built on the way.
        tell: is given lines that say how far it is.
    """
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.make(tag, Plan(hosts=2)))
        own = stack.enter_context(own_cgroups(f"{tag}-limits"))
        operator.bring_up(
            lab,
            operator.Options(
                extra=("--max-endpoints", "64", "--max-mappings", str(ROOM), "--max-limits", "64")
            ),
        )
        churn, events, targets = _people(lab, load)
        stack.callback(churn.close)
        limited = lab.hosts[1].containers[1]
        cgroup = own.make("task")
        limited.host.ilax("limit", "set", cgroup, "--pps", "50")
        limited.host.ilax("endpoint", "set", limited.address, "--cgroup", cgroup)
        shared = [lab.plan.sir(0x1000 + n) for n in range(SHARED)]
        daemon = build_daemon(folder)
        traffic = Traffic([host.containers[0].ns for host in lab.hosts], targets, load.rate)

        traces = Traces.of(lab)
        drops = stack.enter_context(KernelDrops(folder))
        happened: Counter[str] = Counter()
        churn.forget_rows()
        before, memory, counted = Resources.of(lab), resident(), _ilax_drops(lab)
        churn.begin()
        start = time.monotonic()
        with SecondWriter(daemon, lab, shared, churn.done) as writer, traffic.running():
            end = start + load.seconds
            while time.monotonic() < end or events.turn < load.least:
                churn.run(time.monotonic() + load.between)
                happened[events.next()] += 1
                tell(f"{time.monotonic() - start:.0f} s: {churn.done}, {traffic.counts()}")
            seconds = time.monotonic() - start
        churn.forget_rows()
        after, memory_after = Resources.of(lab), resident()
        kernel, ilax = drops.read(), _ilax_drops(lab) - counted
        problems = [*writer.failed[:3], *_findings(lab)]
        for host in lab.hosts:
            traces.add(host.ilax.pins)
        churn.close()
        operator.take_down(lab)
        try:
            until(lambda: not traces.alive(), "end of all objects")
        except TimeoutError:
            problems.append(f"still there after `ilax down`: {traces.alive()}")

    counts = traffic.counts()
    by_xdp = sum(n for (hook, _), n in ilax.items() if hook == "xdp_ingress")
    by_tc = sum(n for (hook, _), n in ilax.items() if hook in TC_HOOKS)
    # A veth tells the kernel's trace of drops about XDP's as well, but not who it was.
    unaccounted = counts.sent - counts.received - kernel.total()
    problems += _judge(counts, unaccounted, before, after)
    if (seen := sum(kernel[reason] for reason in BY_TC)) != by_tc:
        problems.append(f"ilax counts {by_tc} drops at tc, the kernel {seen}")
    if kernel[BY_XDP] < by_xdp:
        problems.append(f"ilax counts {by_xdp} drops by XDP, the kernel {kernel[BY_XDP]}")
    kernel[BY_XDP] -= by_xdp
    for reason in BY_TC:
        del kernel[reason]
    return Report(
        seconds, asdict(counts), dict(kernel), {f"{h} {r}": n for (h, r), n in ilax.items()},
        unaccounted, churn.done.endpoints, churn.done.mappings, churn.done.by_daemon,
        dict(happened), asdict(before), asdict(after), (memory, memory_after), problems,
    )  # fmt: skip


def _people(lab: Lab, load: Load) -> tuple[Churn, Events, dict[Any, Namespace | None]]:
    """Tasks that move, one that dies, and addresses that nobody has."""
    made = []
    for number in range(MOVERS + 1):
        ns = Namespace(f"{lab.tag}-m{number}")
        ns.create()
        host = lab.hosts[number % len(lab.hosts)]
        made.append(Container(f"m{number}", ns, lab.plan.sir(10 + number), host))
    *movers, doomed = made
    churn = Churn(lab, movers, load.endpoints, load.mappings, SPARE)
    for task in made:
        churn.add(task, task.host)
        churn.publish(task)
    nowhere, gone = lab.plan.sir(200), lab.plan.sir(201)
    for host in lab.hosts:
        elsewhere = next(other for other in lab.hosts if other is not host)
        host.ilax("mapping", "add", gone, "--locator", elsewhere.locator)
    listening = [*lab.containers, *movers]
    for task in (*movers, *(host.containers[1] for host in lab.hosts)):
        accept_all(task.ns, lab.plan.sir_prefix)
    targets: dict[Any, Namespace | None] = {task.sir: task.ns for task in listening}
    return churn, Events(lab, churn, doomed), {
        **targets, doomed.sir: None, nowhere: None, gone: None,
    }  # fmt: skip


def _ilax_drops(lab: Lab) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for host in lab.hosts:
        for (hook, reason), packets in host.ilax.counters().items():
            if reason.startswith("drop_"):
                total[hook, reason] += packets
    return total


def _findings(lab: Lab) -> list[str]:
    return [
        f"check of {host.name}: {found}"
        for host in lab.hosts
        for found in check(host.ilax).findings
        if found["severity"] == "error"
    ]


def _judge(counts: Any, unaccounted: int, before: Resources, after: Resources) -> list[str]:
    problems = []
    if counts.wrong or counts.late:
        problems.append(f"{counts.wrong} packets at a wrong task, {counts.late} twice or late")
    if unaccounted:
        problems.append(f"{unaccounted} packets have gone nobody knows where")
    if not counts.received:
        problems.append("nothing was received")
    if before != after:
        problems.append(f"resources were {before}, and are {after}")
    return problems
