# SPDX-License-Identifier: Apache-2.0
"""rate.*: million 64-byte packets a second that one core receives and delivers.

Live packets on live devices. What the core does to make them is part of every
row, for ilax and for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv6Address

from ilax import counters, fabric, mappings, schema
from ilax.address import Address, parse, parse_prefix
from ilax.bpf import Program
from ilax.instance import Instance
from ilax.tables import index_key
from ilax_perf import profile
from ilax_perf.rows import MPPS, Rows
from ilax_perf.sampling import Settings, medians, one_core
from ilax_perf.sites import Count, Generator, Site
from lab.netns import Namespace
from lab.topology import UPLINK

_TAG = "ilxperf"
_BURST = 300_000
# A receiver that lost more than this was not measured.
_LOSS = 0.01

_REMOTE = Address(0x2001_0DB8_5A5A_0001, 0x2000_0000_0000_0099)
_REMOTE_LOCATOR = parse_prefix("2001:db8:42:2::/64")


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Flow:
    """One row to be.

    Attributes:
        name: of the row.
        ns, device: where the generator sends.
        frame: what it sends.
        count: packets that have arrived where they should.
        of: row to compare with.
        prepare: called before each burst.
    """

    name: str
    ns: Namespace
    device: str
    frame: bytes
    count: Count
    of: str | None = None
    prepare: Callable[[], None] = _nothing


def measure(rows: Rows, settings: Settings) -> None:
    """Measure all rate rows that are asked for, and what they are compared with."""
    wanted = {name for name in _ROWS if settings.wanted(name)}
    wanted |= {base for name in wanted if (base := _ROWS[name])}
    if not wanted:
        return
    with ExitStack() as stack:
        settings.progress("rate.*: five hosts are built")
        generator = stack.enter_context(Generator.make())
        flows = [flow for make in _SITES for flow in make(stack, wanted)]
        assert {flow.name for flow in flows} >= wanted
        flows = [flow for flow in flows if flow.name in wanted]
        stack.enter_context(one_core(settings.cpu))
        settings.progress(f"rate.*: {len(flows)} rows take turns")
        cost = medians(
            {flow.name: lambda flow=flow: _burst(generator, flow) for flow in flows},
            settings.rounds,
        )
        for flow in sorted(flows, key=lambda flow: list(_ROWS).index(flow.name)):
            rows.add(flow.name, 1000 / cost[flow.name], MPPS, flow.of)
        _explain(rows, settings, generator, {flow.name: flow for flow in flows}, cost)
