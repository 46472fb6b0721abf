# SPDX-License-Identifier: Apache-2.0
"""Flows whose packets differ: to many containers, and larger than the least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv6Address

import numpy as np
from numpy.typing import NDArray

from ilax import address_bulk
from ilax.instances.instance import Instance
from ilax_perf.flows import TAG, Flow
from ilax_perf.generate.live_frames import Spray
from ilax_perf.generate.traffic import Listed, Range, Traffic, Zipf
from ilax_perf.sites import REMOTE_SENDER, Count, Site
from lab.topology import Container

_MANY = 1 << 16
_TYPE_1 = 0x2000 << 48
# What is often found of requests to services.
_ZIPF = Zipf(1.0)
# Of their packets: 498 and 1500 bytes.
_SIZES = {"512": 512, "1500": 1514}


def kernel(stack: ExitStack) -> list[Flow]:
    """Plain IPv6 routing, by size."""
    site = stack.enter_context(Site.make(f"{TAG}y"))
    site.route_plainly()
    container = site.lab.containers[0]
    arrived = site.sink(container.ns, "eth0")
    return [
        _flow(
            stack, site, f"rate.kernel_route_{name}", _traffic(site, container.sir, size), arrived
        )
        for name, size in _SIZES.items()
    ]


def ilax(stack: ExitStack) -> list[Flow]:
    """An instance as `up` makes it by default, with as many endpoints as it may have."""
    site = stack.enter_context(Site.make(f"{TAG}z"))
    site.bring_up("stack", xdp="auto")
    instance = stack.enter_context(Instance.open(site.host.ilax.instance))
    container = site.lab.containers[0]
    arrived = site.sink(container.ns, "eth0")
    wire = IPv6Address(site.host.ilax.wire(container.address))
    one = _traffic(site, wire, 64)
    many = Listed(_endpoints(instance, container, wire))
    flows = {
        "rate.spray_1": one,
        "rate.uniform_64k": replace(one, destinations=many),
        "rate.zipf_64k": replace(one, destinations=many, distribution=_ZIPF),
        **{f"rate.size_{name}": _traffic(site, wire, size) for name, size in _SIZES.items()},
    }
    return [_flow(stack, site, name, traffic, arrived) for name, traffic in flows.items()]


def _traffic(site: Site, to: IPv6Address, size: int) -> Traffic:
    return Traffic(site.macs_in, REMOTE_SENDER, Range(to), size=size, seconds=1)


def _flow(stack: ExitStack, site: Site, name: str, traffic: Traffic, count: Count) -> Flow:
    spray = stack.enter_context(Spray.make(traffic))
    return Flow(name, site.router, site.router_port, b"", count, spray=spray)


def _endpoints(instance: Instance, container: Container, wire: IPv6Address) -> NDArray[np.uint8]:
    """Make the container many endpoints, each with a row and a slot of its own.

    Returns:
        Their wire addresses, in another order than that of writing: neighbours of a
        table that is allocated beforehand are neighbours in memory.
    """
    table = instance.endpoints
    first = table.get(wire.packed)
    assert first is not None
    random = np.random.default_rng(1)
    sir = np.empty((_MANY, 2), np.uint64)
    sir[:, 0] = int(container.sir) >> 64
    # Identifiers of the lab are smaller than these; all odd ones have a neutral mapping.
    low = 2 * random.choice(1 << 38, _MANY, replace=False).astype(np.uint64)
    sir[:, 1] = low + np.uint64(_TYPE_1 + (1 << 40) + 1)
    found = address_bulk.to_wire(sir, int(wire) >> 64)
    rows = np.repeat(first.reshape(1), _MANY)
    for field, addresses in (("wire", found), ("sir", sir)):
        rows[field]["prefix"], rows[field]["identifier"] = addresses[:, 0], addresses[:, 1]
    rows["slot"] = np.arange(1, _MANY + 1)
    # The last row of the table is that of the container.
    packed = np.ascontiguousarray(found.astype(">u8"))
    keys = packed.view(table.key_dtype)[:, 0]
    table.put_rows(keys[1:], rows[1:])
    packed[0] = np.frombuffer(wire.packed, ">u8")
    return random.permutation(packed.view(np.uint8))


# What makes each row.
SITES: Mapping[Callable[[ExitStack], list[Flow]], tuple[str, ...]] = {
    kernel: tuple(f"rate.kernel_route_{name}" for name in _SIZES),
    ilax: (
        *("rate.spray_1", "rate.uniform_64k", "rate.zipf_64k"),
        *(f"rate.size_{name}" for name in _SIZES),
    ),
}
