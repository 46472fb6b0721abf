# SPDX-License-Identifier: Apache-2.0
"""Containers on ordinary IPv6 routes: what ilax and the peers are compared on."""

from __future__ import annotations

from lab.capture import mac_of
from lab.topology import Container, Lab, attach_plainly


def attach(container: Container) -> str:
    """Connect a container by a route of its host.

    Its neighbour is permanent and its GRO is on, as with ilax.

    Returns:
        Name of the host-side device.
    """
    host = container.host
    attach_plainly(host, container, container.sir)
    container.ns.run("ethtool", "-K", "eth0", "gro", "on")
    host.ns.ip(
        *("neighbour", "replace", container.address, "dev", container.name),
        *("lladdr", mac_of(container.ns, "eth0"), "nud", "permanent"),
    )
    return container.name


def route_plainly(lab: Lab, container: Container) -> str:
    """Connect a container by routes, also in the router.

    Returns:
        Name of the host-side device.
    """
    host = container.host
    lab.router.ip(
        *("-6", "route", "add", f"{container.address}/128"),
        *("via", str(lab.plan.link_local(host.number)), "dev", host.router_port),
    )
    return attach(container)
