# SPDX-License-Identifier: Apache-2.0
"""One host with a generator at the other end of its uplink, and sinks behind it.

    router (generator) --- uplink, host, container's device --- container (sink)

All programs of a site run on the core of the process that generates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address
from typing import Self

from ilax.bpf import Link, Program
from ilax.bpf.link import TCX_INGRESS
from ilax.contract.tables import index_key
from ilax_perf import objects
from ilax_perf.plain import attach
from lab.capture import mac_of
from lab.netns import Namespace
from lab.operator import Options, add_arguments, up_arguments
from lab.packets import udp_frame
from lab.topology import UPLINK, Container, Host, Lab, Plan

# Two bytes more than an empty UDP packet has.
_PAYLOAD = b"\0\0"

# Of somebody on another host.
REMOTE_SENDER = IPv6Address("2001:db8:5a5a:1:2000::99")

Count = Callable[[], int]


class Site:
    """A lab of one host. Use `Site.make()`."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        self._stack = stack

    @classmethod
    @contextlib.contextmanager
    def make(cls, tag: str, containers: int = 1) -> Iterator[Self]:
        """Namespaces, connected; gone when the context ends."""
        with Lab.make(tag, Plan(hosts=1, containers=containers)) as lab, ExitStack() as stack:
            site = cls(lab, stack)
            site.accept_frames(UPLINK)
            yield site

    @property
    def host(self) -> Host:
        """The only host."""
        return self.lab.hosts[0]

    @property
    def router(self) -> Namespace:
        """Where the generator is, on device `router_port`."""
        return self.lab.router

    @property
    def router_port(self) -> str:
        """The other end of the uplink."""
        return self.host.router_port

    def accept_frames(self, device: str) -> None:
        """Let the generator at the other end reach a device of the host.

        A veth takes redirected frames only while it has GRO or an XDP program,
        and its other end learns that when GRO changes while the device is up.
        """
        for state in ("off", "on"):
            self.host.ns.run("ethtool", "-K", device, "gro", state)

    def route_plainly(self) -> str:
        """Connect all containers by ordinary IPv6 routing.

        Returns:
            Name of the host-side device of the first one.
        """
        first, *_ = [attach(container) for container in self.lab.containers]
        return first

    def bring_up(self, *deliveries: str, xdp: str) -> None:
        """Bring ilax up and connect one container for each of `deliveries`."""
        self.host.ilax(*up_arguments(self.lab, self.host, Options(xdp=xdp)))
        for container, delivery in zip(self.lab.containers, deliveries, strict=True):
            self.host.ilax(*add_arguments(container, Options(delivery=delivery)))

    def device_of(self, container: Container) -> str:
        """Host-side device of a container that ilax has connected."""
        (row,) = self.host.ns.ip_json("-6", "route", "show", f"{container.address}/128")
        return str(row["dev"])

    def peers(self, container_device: str = "") -> objects.Loaded:
        """Programs of bpf/peers.bpf.c, which redirect into a device of the host."""
        with self.host.ns.entered():
            loaded = self._stack.enter_context(objects.own("peers"))
            if container_device:
                device = index_key(self.host.ns.ifindex(container_device))
                loaded.maps["perf_device"].update(objects.ONLY, device)
                loaded.maps["perf_peer"].update(objects.ONLY, device)
        return loaded

    def attach_xdp(self, ns: Namespace, device: str, program: Program) -> Link:
        """Attach for as long as the site lasts."""
        with ns.entered():
            return self._stack.enter_context(Link.xdp(program, ns.ifindex(device)))

    def attach_tc(self, ns: Namespace, device: str, program: Program) -> Link:
        """Attach at ingress for as long as the site lasts."""
        with ns.entered():
            return self._stack.enter_context(Link.tcx(program, ns.ifindex(device), TCX_INGRESS))

    def sink(self, ns: Namespace, device: str, *, xdp: bool = False) -> Count:
        """Drop all UDP packets that a device receives.

        Returns:
            A call that tells how many there were.
        """
        peers = self.peers()
        if xdp:
            self.attach_xdp(ns, device, peers.programs["perf_sink_xdp"])
        else:
            self.attach_tc(ns, device, peers.programs["perf_sink_tc"])
        return lambda: objects.total(peers.maps["perf_count"])

    def frame_in(self, destination: IPv6Address, source: IPv6Address = REMOTE_SENDER) -> bytes:
        """What the router sends to the uplink."""
        return udp_frame(self.macs_in, (source, destination), _PAYLOAD)

    @property
    def macs_in(self) -> tuple[str, str]:
        """Source and destination of frames that the router sends to the uplink."""
        return mac_of(self.router, self.router_port), mac_of(self.host.ns, UPLINK)

    def frame_out(self, container: Container, device: str, destination: IPv6Address) -> bytes:
        """What a container sends to the host-side device of its link."""
        macs = (mac_of(container.ns, "eth0"), mac_of(self.host.ns, device))
        return udp_frame(macs, (container.sir, destination), _PAYLOAD)
