# SPDX-License-Identifier: Apache-2.0
"""The hosts on which rates of peers are measured: what else Linux has."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from ipaddress import IPv6Address
from pathlib import Path

from ilax_perf import overlays
from ilax_perf.flows import REMOTE, TAG, Flow, inbound, outbound
from ilax_perf.sites import Site
from lab.capture import mac_of
from lab.packets import ethernet
from lab.topology import UPLINK

_IPV6, _UDP = 41, 17
_BRIDGE = "br0"
# Of namespaces: whether frames of bridges go through ip6tables, by default they do.
_BRIDGE_NETFILTER = Path("/proc/sys/net/bridge")
# Source port of tunnels; any will do.
_PORT = 50000


def nptv6(stack: ExitStack) -> list[Flow]:
    """ip6tables translates prefixes, then plain routing."""
    site, device = _overlay(stack, "n", overlays.nptv6)
    container = site.lab.containers[0]
    wire = overlays.nptv6_wire(container.sir, site.host.locator)
    return [
        inbound(site, "rate.nptv6", wire, site.sink(container.ns, "eth0")),
        outbound(site, "rate.egress_nptv6", device, site.sink(site.router, site.router_port)),
    ]


def srv6(stack: ExitStack) -> list[Flow]:
    """One segment, without a routing header."""
    site, device = _overlay(stack, "s", overlays.srv6)
    container = site.lab.containers[0]
    inner = _packet(site, container.sir)
    frame = _behind(site, overlays.segment(site.host.locator), _IPV6, inner)
    arrived = site.sink(container.ns, "eth0")
    return [
        Flow("rate.srv6", site.router, site.router_port, frame, arrived),
        outbound(site, "rate.egress_srv6", device, site.sink(site.router, site.router_port)),
    ]


def vxlan(stack: ExitStack) -> list[Flow]:
    """VXLAN, then plain routing."""
    site, device = _overlay(stack, "v", overlays.vxlan)
    container = site.lab.containers[0]
    macs = overlays.vxlan_mac(REMOTE.number), overlays.vxlan_mac(site.host.number)
    frame = _in_vxlan(site, ethernet(macs, _packet(site, container.sir)))
    arrived = site.sink(container.ns, "eth0")
    return [
        Flow("rate.vxlan", site.router, site.router_port, frame, arrived),
        outbound(site, "rate.egress_vxlan", device, site.sink(site.router, site.router_port)),
    ]


def bridge(stack: ExitStack) -> list[Flow]:
    """Uplink and container's device in one bridge."""
    site = stack.enter_context(Site.make(f"{TAG}b"))
    device = site.route_plainly()
    container = site.lab.containers[0]
    _bridge(site, UPLINK, device)
    arrived = site.sink(container.ns, "eth0")
    macs = site.macs_in[0], mac_of(container.ns, "eth0")
    frame = ethernet(macs, _packet(site, container.sir))
    return [Flow("rate.bridge", site.router, site.router_port, frame, arrived)]


def macvlan(stack: ExitStack) -> list[Flow]:
    """The container has a macvlan device of the uplink."""
    site = stack.enter_context(Site.make(f"{TAG}m"))
    container = site.lab.containers[0]
    site.host.ns.ip(
        *("link", "add", "link", UPLINK, "name", container.name, "netns", container.ns.name),
        *("type", "macvlan", "mode", "bridge"),
    )
    container.ns.ip("link", "set", container.name, "name", "eth0", "up")
    container.ns.run("ethtool", "-K", "eth0", "gro", "on")
    container.ns.ip("address", "add", f"{container.address}/128", "dev", "eth0", "nodad")
    arrived = site.sink(container.ns, "eth0")
    macs = site.macs_in[0], mac_of(container.ns, "eth0")
    frame = ethernet(macs, _packet(site, container.sir))
    return [Flow("rate.macvlan", site.router, site.router_port, frame, arrived)]


def _overlay(stack: ExitStack, letter: str, connect: overlays.Connect) -> tuple[Site, str]:
    site = stack.enter_context(Site.make(f"{TAG}{letter}"))
    device = site.route_plainly()
    site.accept_frames(device)
    connect(site.host, [REMOTE])
    return site, device


def _bridge(site: Site, *devices: str) -> None:
    """The second device leads to the container, which is known beforehand."""
    ns, container = site.host.ns, site.lab.containers[0]
    if _BRIDGE_NETFILTER.exists():
        ns.sysctl("net.bridge.bridge-nf-call-ip6tables", 0)
    ns.ip("link", "add", _BRIDGE, "type", "bridge")
    for device in devices:
        ns.ip("link", "set", device, "master", _BRIDGE)
    ns.ip("link", "set", _BRIDGE, "up")
    mac = mac_of(container.ns, "eth0")
    ns.run("bridge", "fdb", "replace", mac, "dev", devices[1], "master", "static")


def _packet(site: Site, destination: IPv6Address) -> bytes:
    """The packet that arrives in the container, which is the same for all peers."""
    return site.frame_in(destination)[14:]


def _behind(site: Site, destination: IPv6Address, kind: int, payload: bytes) -> bytes:
    """A frame to the uplink with an IPv6 header before `payload`."""
    header = struct.pack("!IHBB", 6 << 28, len(payload), kind, 64)
    addresses = REMOTE.address.packed + destination.packed
    return ethernet(site.macs_in, header + addresses + payload)


def _in_vxlan(site: Site, frame: bytes) -> bytes:
    port, length = overlays.VXLAN_PORT, 16 + len(frame)
    headers = struct.pack("!HHHHII", _PORT, port, length, 0, 8 << 24, overlays.VXLAN_ID << 8)
    return _behind(site, site.host.address, _UDP, headers + frame)


# What makes each row.
SITES: Mapping[Callable[[ExitStack], list[Flow]], tuple[str, ...]] = {
    nptv6: ("rate.nptv6", "rate.egress_nptv6"),
    srv6: ("rate.srv6", "rate.egress_srv6"),
    vxlan: ("rate.vxlan", "rate.egress_vxlan"),
    bridge: ("rate.bridge",),
    macvlan: ("rate.macvlan",),
}

# Keys of `availability`.
NEEDS: Mapping[Callable[[ExitStack], list[Flow]], tuple[str, ...]] = {
    nptv6: overlays.NEEDS["nptv6"],
    srv6: overlays.NEEDS["srv6"],
    vxlan: overlays.NEEDS["vxlan"],
    bridge: ("bridge",),
    macvlan: ("macvlan",),
}
