# SPDX-License-Identifier: Apache-2.0
"""The hosts on which rates are measured, and the packets that are sent to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv6Address

import numpy as np

from ilax.address import Address, parse
from ilax.bpf import Link, Program
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.instances.instance import Instance
from ilax.translation import fabric
from ilax.watching import counters
from ilax_perf.generate.live_frames import Spray
from ilax_perf.objects import Loaded, total
from ilax_perf.overlays import Remote
from ilax_perf.sites import REMOTE_SENDER, Count, Site
from lab.cgroups import own_cgroups
from lab.netns import Namespace
from lab.topology import UPLINK, Plan

TAG = "ilxperf"
REMOTE = Remote(REMOTE_SENDER, 2, Plan().locator(2))
# Of somebody who has no ilax.
_OUTSIDER = IPv6Address("2001:db8:f00::1")
# Bits a second: one in some thousand packets of a core passes.
_MEAN_LIMIT = 1_000_000


def _nothing() -> None:
    """Most flows need no preparation."""


@dataclass(frozen=True)
class Flow:
    """One row to be.

    Attributes:
        name: of the row.
        ns: where the generator sends.
        device: out of which.
        frame: what it sends, unless there is a `spray`.
        count: packets that arrived where they should.
        prepare: called before each burst.
        spray: sends packets that differ from each other.
    """

    name: str
    ns: Namespace
    device: str
    frame: bytes
    count: Count
    prepare: Callable[[], None] = _nothing
    spray: Spray | None = None


def inbound(site: Site, name: str, to: IPv6Address, count: Count) -> Flow:
    """The router sends to an address of the first host."""
    return Flow(name, site.router, site.router_port, site.frame_in(to), count)


def back(site: Site, name: str, count: Count) -> Flow:
    """The router sends what goes out of the uplink again, to another host."""
    frame = site.frame_in(REMOTE_SENDER, _OUTSIDER)
    return Flow(name, site.router, site.router_port, frame, count)


def outbound(
    site: Site, name: str, device: str, count: Count, prepare: Callable[[], None] = _nothing
) -> Flow:
    """The first container sends, through a device of its host, to another host."""
    container = site.lab.containers[0]
    frame = site.frame_out(container, device, REMOTE_SENDER)
    return Flow(name, container.ns, "eth0", frame, count, prepare)


def across(site: Site, name: str, device: str) -> Flow:
    """The first container sends, through a device of its host, to the second one."""
    sender, receiver, *_ = site.lab.containers
    frame = site.frame_out(sender, device, receiver.sir)
    return Flow(name, sender.ns, "eth0", frame, site.sink(receiver.ns, "eth0"))


def kernel(stack: ExitStack) -> list[Flow]:
    """Plain IPv6 routing."""
    site = stack.enter_context(Site.make(f"{TAG}k", containers=2))
    device = site.route_plainly()
    site.accept_frames(device)
    container = site.lab.containers[0]
    arrived = site.sink(container.ns, "eth0")
    left = site.sink(site.router, site.router_port)
    return [
        inbound(site, "rate.kernel_route", container.sir, arrived),
        outbound(site, "rate.kernel_route_out", device, left),
        across(site, "rate.kernel_route_local", device),
        back(site, "rate.kernel_route_back", left),
    ]


def bare_xdp(stack: ExitStack) -> list[Flow]:
    """XDP programs that do one thing only, one after the other on the same hook."""
    site = stack.enter_context(Site.make(f"{TAG}x"))
    device = site.route_plainly()
    container = site.lab.containers[0]
    arrived = site.sink(container.ns, "eth0", xdp=True)
    peers = site.peers(device)
    _fill_endpoints(peers, container.sir)
    link = site.attach_xdp(site.host.ns, UPLINK, peers.programs["perf_drop"])

    def flow(name: str, program: str, to: IPv6Address, count: Count) -> Flow:
        base = inbound(site, name, to, count)
        prepare = _swap(link, peers.programs[program])
        return Flow(base.name, base.ns, base.device, base.frame, base.count, prepare)

    def dropped() -> int:
        return total(peers.maps["perf_count"])

    known, unknown = container.sir, container.sir + 1
    return [
        flow("rate.bare_redirect", "perf_redirect", known, arrived),
        flow("rate.bare_lookup_redirect", "perf_lookup_redirect", known, arrived),
        flow("rate.bare_drop", "perf_drop", unknown, dropped),
        flow("rate.bare_lookup_drop", "perf_lookup_drop", unknown, dropped),
    ]


def _swap(link: Link, program: Program) -> Callable[[], None]:
    return lambda: link.update(program)


def _fill_endpoints(peers: Loaded, sir: IPv6Address) -> None:
    row = np.zeros(1, schema.dtype("ilax_endpoint"))[0]
    address = Address.from_bytes(sir.packed)
    row["sir"] = (address.prefix, address.identifier)
    peers.maps["perf_endpoints"].update(sir.packed, row.tobytes())


def bare_tc(stack: ExitStack) -> list[Flow]:
    """A tc program that redirects every packet into the container's stack."""
    site = stack.enter_context(Site.make(f"{TAG}t"))
    device = site.route_plainly()
    container = site.lab.containers[0]
    arrived = site.sink(container.ns, "eth0")
    program = site.peers(device).programs["perf_redirect_peer"]
    site.attach_tc(site.host.ns, UPLINK, program)
    return [inbound(site, "rate.bare_redirect_peer", container.sir, arrived)]


def ilax_xdp(stack: ExitStack) -> list[Flow]:
    """An instance with XDP: a container for each way of delivery, and one with a limit."""
    site = stack.enter_context(Site.make(f"{TAG}i", containers=4))
    site.bring_up("stack", "xdp", "xdp", "stack", xdp="native")
    instance = stack.enter_context(Instance.open(site.host.ilax.instance))
    to_stack, to_xdp, to_both, limited = site.lab.containers
    folder = stack.enter_context(own_cgroups(site.lab.tag)).top
    site.host.ilax("limit", "set", folder, "--rate", _MEAN_LIMIT)
    site.host.ilax("endpoint", "set", limited.address, "--cgroup", folder)
    return [
        inbound(site, "rate.stack_delivery_xdp", _wire(instance, to_stack.sir),
                 site.sink(to_stack.ns, "eth0")),
        inbound(site, "rate.xdp_delivery", _wire(instance, to_xdp.sir),
                 site.sink(to_xdp.ns, "eth0", xdp=True)),
        inbound(site, "rate.xdp_delivery_to_stack", _wire(instance, to_both.sir),
                 site.sink(to_both.ns, "eth0")),
        inbound(site, "rate.drop_unknown", _wire(instance, REMOTE_SENDER),
                 _dropped(instance, "ILAX_DROP_UNKNOWN_IDENTIFIER")),
        inbound(site, "rate.drop_limit", _wire(instance, limited.sir),
                 _dropped(instance, "ILAX_DROP_LIMIT")),
    ]  # fmt: skip


def ilax(stack: ExitStack) -> list[Flow]:
    """An instance as `up` makes it by default: on a veth, that is without XDP."""
    site = stack.enter_context(Site.make(f"{TAG}o", containers=2))
    site.bring_up("stack", "stack", xdp="auto")
    site.host.ilax("mapping", "add", REMOTE_SENDER, "--locator", REMOTE.locator)
    instance = stack.enter_context(Instance.open(site.host.ilax.instance))
    container = site.lab.containers[0]
    device = site.device_of(container)
    site.accept_frames(device)
    arrived = site.sink(container.ns, "eth0")
    left = site.sink(site.router, site.router_port)
    next_hop = str(site.lab.plan.router_link_local)
    return [
        inbound(site, "rate.stack_delivery", _wire(instance, container.sir), arrived),
        outbound(site, "rate.forward", device, left, _gateway(instance, "::")),
        outbound(site, "rate.forward_gateway", device, left, _gateway(instance, next_hop)),
        across(site, "rate.egress_local", device),
        back(site, "rate.router", left),
    ]


def _wire(instance: Instance, sir: IPv6Address) -> IPv6Address:
    return IPv6Address(fabric.read(instance).to_wire(Address.from_bytes(sir.packed)).packed)


def _dropped(instance: Instance, name: str) -> Count:
    hook = schema.enum("ilax_hook")["ILAX_HOOK_XDP_INGRESS"]
    reason = schema.enum("ilax_reason")[name]
    return lambda: int(counters.totals(instance)[hook, reason])


def _gateway(instance: Instance, text: str) -> Callable[[], None]:
    gateway = parse(text)

    def write() -> None:
        row = instance.config.get(index_key(0))
        assert row is not None
        changed = row.copy()
        changed["gateway"] = (gateway.prefix, gateway.identifier)
        instance.config.put(index_key(0), changed)

    return write


# What makes each row.
SITES: Mapping[Callable[[ExitStack], list[Flow]], tuple[str, ...]] = {
    kernel: (
        *("rate.kernel_route", "rate.kernel_route_out"),
        *("rate.kernel_route_local", "rate.kernel_route_back"),
    ),
    bare_xdp: (
        *("rate.bare_redirect", "rate.bare_lookup_redirect"),
        *("rate.bare_drop", "rate.bare_lookup_drop"),
    ),
    bare_tc: ("rate.bare_redirect_peer",),
    ilax_xdp: (
        *("rate.stack_delivery_xdp", "rate.xdp_delivery"),
        *("rate.xdp_delivery_to_stack", "rate.drop_unknown"),
        "rate.drop_limit",
    ),
    ilax: (
        *("rate.stack_delivery", "rate.forward", "rate.forward_gateway"),
        *("rate.egress_local", "rate.router"),
    ),
}
