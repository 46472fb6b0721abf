# SPDX-License-Identifier: Apache-2.0
"""rate.*: million small packets a second that one core receives and delivers.

Live packets on live devices. What the core does to make them is part of every
row, for ilax and for all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import ExitStack
from functools import partial

from ilax_perf import flows as own_flows
from ilax_perf import peer_flows, profile, spray_flows
from ilax_perf.availability import left_out
from ilax_perf.flows import Flow
from ilax_perf.generate.repeated import Repeater
from ilax_perf.rows import MPPS, TARGETS, Rows, over
from ilax_perf.sampling import Settings, medians, one_core

# Frames: 20 to 150 ms.
_BURST = 300_000
# Of a burst, what must arrive: nobody gets a figure for losing packets.
_LEAST = 0.99
_PROFILED_BURSTS = 8

_STACK = "rate.stack_delivery"

# In order of the table: row, and what it is compared with.
_COMPARED: dict[str, str | None] = {
    "rate.kernel_route": None,
    "rate.nptv6": "rate.kernel_route",
    "rate.srv6": "rate.kernel_route",
    "rate.vxlan": "rate.kernel_route",
    "rate.bridge": "rate.kernel_route",
    "rate.macvlan": "rate.kernel_route",
    "rate.bare_redirect_peer": "rate.kernel_route",
    "rate.stack_delivery": "rate.kernel_route",
    "rate.stack_delivery_xdp": "rate.kernel_route",
    "rate.xdp_delivery_to_stack": "rate.kernel_route",
    "rate.bare_redirect": None,
    "rate.bare_lookup_redirect": "rate.bare_redirect",
    "rate.xdp_delivery": "rate.bare_redirect",
    "rate.bare_drop": None,
    "rate.bare_lookup_drop": "rate.bare_drop",
    "rate.drop_unknown": "rate.bare_drop",
    "rate.drop_limit": "rate.bare_drop",
    "rate.kernel_route_out": None,
    "rate.egress_nptv6": "rate.kernel_route_out",
    "rate.egress_srv6": "rate.kernel_route_out",
    "rate.egress_vxlan": "rate.kernel_route_out",
    "rate.forward": "rate.kernel_route_out",
    "rate.forward_gateway": "rate.kernel_route_out",
    "rate.kernel_route_local": None,
    "rate.egress_local": "rate.kernel_route_local",
    "rate.kernel_route_back": None,
    "rate.router": "rate.kernel_route_back",
    "rate.spray_1": None,
    "rate.uniform_64k": "rate.spray_1",
    "rate.zipf_64k": "rate.spray_1",
    "rate.kernel_route_512": None,
    "rate.size_512": "rate.kernel_route_512",
    "rate.kernel_route_1500": None,
    "rate.size_1500": "rate.kernel_route_1500",
}

# Rows that explain another one; the first of them is what is left when all of
# ilax is taken away, but for the one step that it cannot do without.
_STEPS: dict[str, tuple[str, ...]] = {
    _STACK: (
        *("rate.bare_redirect_peer", "rate.stack_delivery_xdp"),
        "rate.xdp_delivery_to_stack",
    ),
    "rate.xdp_delivery": ("rate.bare_lookup_redirect",),
    "rate.drop_unknown": ("rate.bare_lookup_drop",),
}


# What stack delivery is compared with besides the kernel's route.
_OVER = tuple(
    f"rate.{peer}" for peer in ("nptv6", "srv6", "vxlan", "bridge", "macvlan", "bare_redirect_peer")
)


def measure(rows: Rows, settings: Settings) -> None:
    """Measure all rate rows that are asked for, and what they are compared with."""
    wanted = {name for name in _COMPARED if settings.wanted(name)}
    for peer in _OVER:
        if settings.wanted(over(_STACK, peer)):
            wanted |= {_STACK, peer}
    wanted |= {step for name in wanted for step in _STEPS.get(name, ())}
    wanted |= {base for name in wanted if (base := _COMPARED[name])}
    if not wanted:
        return
    with ExitStack() as stack:
        settings.progress("rate.*: hosts are built")
        built = _build(stack, wanted, settings)
        # Rows that are compared take their turns one right after the other.
        flows = {name: built[name] for name in _COMPARED if name in wanted & built.keys()}
        repeater = stack.enter_context(Repeater.make())
        stack.enter_context(one_core(settings.cpu))
        settings.progress(f"rate.*: {len(flows)} rows take turns")
        cost = medians(
            {name: partial(_burst, repeater, flow) for name, flow in flows.items()},
            settings.runs,
            settings.turns,
        )
        for name, base in _COMPARED.items():
            if name in cost:
                rows.add(name, 1000 / cost[name], MPPS, base)
        _compare(rows, cost)
        for name in filter(rows.missed, _STEPS):
            settings.progress(f"{name}: where the time goes")
            rows.reasons[name] = _explain(name, repeater, flows, cost)


def _build(stack: ExitStack, wanted: Set[str], settings: Settings) -> dict[str, Flow]:
    """All flows of the sites that are needed and that this machine can have."""
    built: dict[str, Flow] = {}
    for build, names in {**own_flows.SITES, **spray_flows.SITES, **peer_flows.SITES}.items():
        needs = peer_flows.NEEDS.get(build, ())
        if wanted.isdisjoint(names) or left_out(needs, names, settings.progress):
            continue
        built |= {flow.name: flow for flow in build(stack)}
    return built


def _compare(rows: Rows, cost: Mapping[str, float]) -> None:
    for peer in _OVER:
        name = rows.add_over(_STACK, peer)
        if name is not None and rows.missed(name):
            target = TARGETS[name].value_at_least
            assert target is not None
            rows.reasons[name] = [_versus(cost[_STACK], target, peer, cost[peer])]


def _versus(own: float, target: float, base: str, cost: float) -> str:
    return (
        f"{own:6.1f} ns for each packet; the target allows {cost / target:.1f}, "
        f"{base} takes {cost:.1f}"
    )


def _burst(repeater: Repeater, flow: Flow) -> float:
    """Nanoseconds for each packet that arrives.

    Raises:
        RuntimeError: none arrived.
    """
    flow.prepare()
    before = flow.count()
    index = flow.ns.ifindex(flow.device)
    with flow.ns.entered():
        if flow.spray is None:
            each = repeater.burst(index, flow.frame, _BURST)
        else:
            each = flow.spray.burst(index, _BURST)
    arrived = flow.count() - before
    if not _LEAST * _BURST <= arrived <= _BURST:
        raise RuntimeError(f"{flow.name}: {arrived} of {_BURST} packets arrived")
    return each * _BURST / arrived


def _explain(
    name: str, repeater: Repeater, flows: Mapping[str, Flow], cost: Mapping[str, float]
) -> list[str]:
    base = _COMPARED[name]
    target = TARGETS[name].at_least
    assert base is not None and target is not None
    lines = [
        _versus(cost[name], target, base, cost[base]),
        *(f"{cost[step]:6.1f} ns  {step}" for step in _STEPS[name]),
    ]

    def sampled(row: str) -> profile.Shares:
        return profile.sample(
            lambda: [_burst(repeater, flows[row]) for _ in range(_PROFILED_BURSTS)]
        )

    # The nearest of the steps differs least in all that is not ours.
    near = _STEPS[name][0]
    own, other = sampled(name), sampled(near)
    if own and other:
        lines.append(f"by function, against {near}:")
        lines += profile.differences(own, cost[name], other, cost[near], "ns")
    return lines
