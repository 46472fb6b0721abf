# SPDX-License-Identifier: Apache-2.0
"""tcp.*: one TCP stream between containers on two hosts, through a router.

The kernel route, ilax and its peers each have a lab of their own, made in the same way:
veth pairs throughout, GRO on. All labs take turns. The receiver has the first
core, the sender the last one, which also does what is between them.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from ilax.bpf import Link
from ilax_perf import objects, overlays, pairs, profile
from ilax_perf.rows import GBITS, Rows, over
from ilax_perf.sampling import Settings, medians
from lab.netns import CommandError
from lab.operator import Options
from lab.topology import UPLINK, Lab, Plan

_TOOL = "iperf3"
_PORT = 5201
_SECONDS = 1  # iperf3 takes whole ones only, and 0 for ever
# The default may be one that paces by timers, which would measure those.
_CONGESTION_CONTROL = "cubic"
# For all rows, and small enough for the largest tunnel: how iperf3's blocks of 128 KiB
# fall into packets depends on it, and would differ from row to row.
_SEGMENT = 1350
_KERNEL, _ILAX = "tcp.kernel_route", "tcp.two_hosts"


@dataclass(frozen=True, slots=True)
class Variant:
    """One row to be.

    Attributes:
        name: of the row.
        tag: of its lab.
        of: row to compare with.
        xdp: whether the uplinks have an XDP program; ilax attaches none to a veth
            unless told to.
        delivery: of the containers; None without ilax.
        way: without ilax, one of `pairs.WAYS`.
    """

    name: str
    tag: str
    of: str | None
    xdp: bool
    delivery: str | None
    way: str = pairs.KERNEL


_VARIANTS = (
    Variant(_KERNEL, "ilxperfk", None, False, None),
    Variant(_ILAX, "ilxperfi", _KERNEL, False, "stack"),
    *(
        Variant(f"tcp.{way}", f"ilxperf{way[0]}", _KERNEL, False, None, way)
        for way in overlays.CONNECT
    ),
    Variant("tcp.kernel_route_xdp", "ilxperfkx", None, True, None),
    Variant("tcp.two_hosts_xdp", "ilxperfix", "tcp.kernel_route_xdp", True, "stack"),
    Variant("tcp.two_hosts_xdp_delivery", "ilxperfid", "tcp.kernel_route_xdp", True, "xdp"),
)


def measure(rows: Rows, settings: Settings) -> None:
    """Measure all TCP rows that are asked for, and what they are compared with."""
    names = {v.name for v in _VARIANTS if settings.wanted(v.name)}
    for way in overlays.CONNECT:
        if settings.wanted(over(_ILAX, f"tcp.{way}")):
            names |= {_ILAX, f"tcp.{way}"}
    names |= {v.of for v in _VARIANTS if v.name in names and v.of}
    variants = [v for v in _VARIANTS if v.name in names and pairs.here(v.way, [v.name], settings)]
    if not variants:
        return
    with ExitStack() as stack:
        settings.progress("tcp.*: hosts are built")
        labs = {v.name: _build(v, stack) for v in variants}
        settings.progress(f"tcp.*: {len(labs)} rows take turns")
        result = medians(
            {name: partial(_stream, lab, settings) for name, lab in labs.items()},
            settings.runs,
            1 if settings.quick else 2,
            max,
        )
        for variant in variants:
            rows.add(variant.name, result[variant.name], GBITS, variant.of)
        for way in overlays.CONNECT:
            rows.add_over(_ILAX, f"tcp.{way}")
        if rows.missed(_ILAX):
            settings.progress(f"{_ILAX}: where the time goes")
            rows.reasons[_ILAX] = _explain(labs, settings)


def _build(variant: Variant, stack: ExitStack) -> Lab:
    lab = stack.enter_context(Lab.make(variant.tag, Plan(hosts=2, containers=1)))
    if variant.delivery is None:
        pairs.connect(lab, variant.way)
        if variant.xdp:
            _occupy_uplinks(lab, stack)
    else:
        xdp = "native" if variant.xdp else "auto"
        pairs.connect(lab, pairs.ILAX, Options(xdp=xdp, delivery=variant.delivery))
    if variant.delivery == "xdp":
        # A veth keeps "checksum still to be filled in" beside the packet, and
        # that does not survive a redirect by XDP. Cards send finished packets.
        for host in lab.hosts:
            lab.router.run("ethtool", "-K", host.router_port, "tx", "off")
    return lab


def _occupy_uplinks(lab: Lab, stack: ExitStack) -> None:
    """An XDP program on a veth turns segmentation offload at its other end off."""
    program = stack.enter_context(objects.own("peers")).programs["perf_pass"]
    for host in lab.hosts:
        with host.ns.entered():
            stack.enter_context(Link.xdp(program, host.ns.ifindex(UPLINK)))


def _stream(lab: Lab, settings: Settings) -> float:
    """Gbit/s that arrived.

    Raises:
        CommandError: there was no connection, or it broke.
    """
    client, server = lab.containers
    first = min(os.sched_getaffinity(0))
    listen = (_TOOL, "--server", "--one-off", "--port", str(_PORT))
    with server.ns.running(*_alone_on(first), *listen) as process:
        server.ns.wait_listening(_PORT)
        done = client.ns.run(
            *_alone_on(settings.cpu),
            *(_TOOL, "--json", "--client", server.address, "--port", str(_PORT)),
            *("--time", str(_SECONDS), "--connect-timeout", "3000"),
            *("--congestion", _CONGESTION_CONTROL, "--set-mss", str(_SEGMENT)),
            check=False,
            timeout=_SECONDS + 15,
        )
        answer = json.loads(done.stdout or "{}")
        if done.returncode or "error" in answer:
            raise CommandError(done)
        process.wait(timeout=15)
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9


def _alone_on(cpu: int) -> list[str]:
    """The start of a command line: on one core, before all others."""
    return ["nice", "--adjustment=-20", "taskset", "--cpu-list", str(cpu)]


def _explain(labs: dict[str, Lab], settings: Settings) -> list[str]:
    """Microseconds of both cores for a megabit, by function."""

    def sampled(name: str) -> tuple[profile.Shares, float]:
        rates: list[float] = []
        shares = profile.sample(lambda: rates.append(_stream(labs[name], settings)), command=_TOOL)
        return shares, 2 * 1000 / rates[0]

    (own, cost), (other, base_cost) = sampled(_ILAX), sampled(_KERNEL)
    if not own or not other:
        return []
    return [
        f"microseconds of both cores for each megabit, by function, against {_KERNEL}:",
        *profile.differences(own, cost, other, base_cost, "us"),
    ]
