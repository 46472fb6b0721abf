# SPDX-License-Identifier: Apache-2.0
"""Hosts around one router, on an underlay that routes locators only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

from lab.cleanup import owned
from lab.ilax import Ilax
from lab.netns import Namespace

UPLINK = "up0"

# Nothing here waits for the network to make up its mind: addresses are given by
# hand, so duplicate detection and router discovery would only cost time. Routers
# answer every probe of a traceroute.
_UNDERLAY_SYSCTLS = {
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.addr_gen_mode": 1,
    "net.ipv6.icmp.ratelimit": 0,
}


_SIR_PREFIX = IPv6Network("2001:db8:5a5a:1::/64")
_BLOCK = IPv6Network("2001:db8:42::/48")
_ROUTER = IPv6Address("2001:db8:ffff::1")


@dataclass(frozen=True)
class Plan:
    """Which addresses a lab uses.

    Attributes:
        sir_prefix: /64 of all containers.
        block: covers the locators of all hosts.
        router: address of the router, outside of both.
        mtu: of all links, in bytes.
        hosts: number of hosts.
        containers: number of containers on each host.
    """

    sir_prefix: IPv6Network = _SIR_PREFIX
    block: IPv6Network = _BLOCK
    router: IPv6Address = _ROUTER
    mtu: int = 1500
    hosts: int = 3
    containers: int = 2

    def locator(self, host: int) -> IPv6Network:
        """/64 of a host, which counts from 1."""
        return IPv6Network((int(self.block.network_address) + (host << 64), 64))

    def sir(self, container: int) -> IPv6Address:
        """Address of a container, which counts from 1: type 1, then 0xc1, 0xc2, ..."""
        return self.sir_prefix.network_address + (0x2000 << 48) + 0xC0 + container

    def link_local(self, host: int) -> IPv6Address:
        """Address of a host's uplink, as the router's next hop."""
        return IPv6Address("fe80::") + host

    @property
    def router_link_local(self) -> IPv6Address:
        """Address of the router on each of its links."""
        return IPv6Address("fe80::ff")


@dataclass
class Container:
    """A task with a namespace of its own and one address for life."""

    name: str
    ns: Namespace
    sir: IPv6Address
    host: Host

    @property
    def address(self) -> str:
        """The SIR address as text."""
        return str(self.sir)


@dataclass
class Host:
    """A host: an uplink to the router, a locator, and an ilax of its own."""

    number: int
    name: str
    ns: Namespace
    locator: IPv6Network
    ilax: Ilax
    containers: list[Container] = field(default_factory=list)

    @property
    def address(self) -> IPv6Address:
        """Its own address: identifier 1 of type 0 below its locator."""
        return self.locator.network_address + 1

    @property
    def router_port(self) -> str:
        """Name of the router's device towards this host."""
        return f"to-{self.name}"


class Lab:
    """The namespaces of one lab, up and connected. Use `Lab.make()`."""

    def __init__(self, tag: str, plan: Plan) -> None:
        self.tag = tag
        self.plan = plan
        self.router = Namespace(f"{tag}-r1")
        self.hosts: list[Host] = []
        self.containers: list[Container] = []

    @classmethod
    @contextlib.contextmanager
    def make(cls, tag: str, plan: Plan | None = None) -> Iterator[Lab]:
        """Build a lab; everything is gone when the context ends.

        Args:
            tag: what all names begin with; see `lab.cleanup.PREFIX`.
        """
        lab = cls(tag, plan or Plan())
        with ExitStack() as stack:
            stack.enter_context(owned(tag))
            lab._build()
            yield lab

    def _build(self) -> None:
        plan = self.plan
        _underlay_namespace(self.router)
        self.router.ip("address", "add", f"{plan.router}/128", "dev", "lo")
        for number in range(1, plan.hosts + 1):
            self._add_host(number)
        # Routers know no SIR address; errors for a task go to a host that does.
        border = self.hosts[-1]
        self.router.ip(
            *("-6", "route", "add", "default"),
            *("via", str(plan.link_local(border.number)), "dev", border.router_port),
        )

    def _add_host(self, number: int) -> None:
        name = f"h{number}"
        ns = Namespace(f"{self.tag}-{name}")
        locator = self.plan.locator(number)
        host = Host(number, name, ns, locator, Ilax(ns, ns.name))
        _underlay_namespace(ns)
        ns.ip("address", "add", f"{host.address}/128", "dev", "lo")
        # Addresses below the locator that nobody has must not return to the router.
        ns.ip("-6", "route", "add", "unreachable", str(locator), "dev", "lo", "metric", "4096")
        self._connect(host)
        self.hosts.append(host)
        for _ in range(self.plan.containers):
            self._add_container(host)

    def _connect(self, host: Host) -> None:
        self.cable(host, host.router_port, UPLINK)
        other = str(self.plan.router_link_local)
        host.ns.ip("-6", "route", "add", "default", "via", other, "dev", UPLINK)
        self.lead_to(host, host.router_port)

    def cable(self, host: Host, router_port: str, uplink: str) -> None:
        """Connect a host to the router, which does not use it yet."""
        plan = self.plan
        mtu = str(plan.mtu)
        self.router.ip(
            *("link", "add", router_port, "mtu", mtu, "type", "veth"),
            *("peer", "name", uplink, "mtu", mtu, "netns", host.ns.name),
        )
        for end, device, address in (
            (self.router, router_port, plan.router_link_local),
            (host.ns, uplink, plan.link_local(host.number)),
        ):
            # Off by default on veth; real cards have it on.
            end.run("ethtool", "-K", device, "gro", "on")
            end.ip("address", "add", f"{address}/64", "dev", device, "nodad")
            end.ip("link", "set", device, "up")

    def lead_to(self, host: Host, router_port: str) -> None:
        """Let the router send what is for a host's locator by one of its ports."""
        self.router.ip(
            *("-6", "route", "replace", str(host.locator)),
            *("via", str(self.plan.link_local(host.number)), "dev", router_port),
        )

    def complete_checksums(self) -> None:
        """Transport checksums are filled in before a packet leaves, as on a real wire.

        veth leaves that to the receiver, and XDP redirection forgets it.
        """
        for host in self.hosts:
            host.ns.run("ethtool", "-K", UPLINK, "tx", "off")
            self.router.run("ethtool", "-K", host.router_port, "tx", "off")

    def _add_container(self, host: Host) -> None:
        number = len(self.containers) + 1
        name = f"c{number}"
        ns = Namespace(f"{self.tag}-{name}")
        ns.create()
        container = Container(name, ns, self.plan.sir(number), host)
        self.containers.append(container)
        host.containers.append(container)


def _underlay_namespace(ns: Namespace) -> None:
    ns.create()
    for key, value in _UNDERLAY_SYSCTLS.items():
        ns.sysctl(key, value)


def attach_plainly(host: Host, container: Container, address: IPv6Address) -> None:
    """Connect a container by ordinary IPv6 routing, without ilax.

    For comparison, and to test the lab itself.
    """
    device = container.name
    host.ns.ip(
        *("link", "add", device, "type", "veth"),
        *("peer", "name", "eth0", "netns", container.ns.name),
    )
    host.ns.ip("address", "add", "fe80::1/64", "dev", device, "nodad")
    host.ns.ip("link", "set", device, "up")
    container.ns.sysctl("net.ipv6.conf.eth0.accept_dad", 0)
    container.ns.ip("address", "add", f"{address}/128", "dev", "eth0", "nodad")
    container.ns.ip("link", "set", "eth0", "up")
    container.ns.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
    host.ns.ip("-6", "route", "add", f"{address}/128", "dev", device)


def addresses_of(ns: Namespace) -> list[str]:
    """Global IPv6 addresses in a namespace."""
    return [
        info["local"]
        for row in ns.ip_json("-6", "address")
        for info in row.get("addr_info", [])
        if info["scope"] == "global"
    ]
