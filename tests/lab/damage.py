# SPDX-License-Identifier: Apache-2.0
"""Where on a host to break something, and whether it was mended."""

from __future__ import annotations

from ipaddress import IPv6Network
from pathlib import Path

from ilax import address
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from ilax.system.netlink import Network
from lab import probes
from lab.findings import check
from lab.topology import Container, Host


def device(task: Container) -> str:
    """Name of the host's side of a task's link."""
    with Instance.open(task.host.ilax.instance) as instance, task.host.ns.entered():
        endpoint = endpoints.find(instance, address.parse(task.address))
        with Network() as network:
            link = network.interface_by_index(endpoint.ifindex)
    assert link is not None
    return link.name


def index(task: Container) -> int:
    return task.host.ns.ifindex(device(task))


def links(host: Host) -> Path:
    return host.ilax.pins / "v1/links"


def programs(host: Host) -> Path:
    return host.ilax.pins / "v1/programs"


def fixed(host: Host) -> None:
    """`--fix` mends it all, and tasks talk again."""
    again = check(host.ilax, "--fix")
    assert again.findings == []
    assert again.mended
    one, two = host.containers
    probes.must_ping(one.ns, two.address)


def sir_prefix(host: Host) -> IPv6Network:
    return IPv6Network((int(host.containers[0].sir) >> 64 << 64, 64))
