# SPDX-License-Identifier: Apache-2.0
"""A fabric where one host runs ilax and two do the same by the kernel's own ILA."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from lab import operator
from lab.capture import mac_of
from lab.operator import Options
from lab.topology import UPLINK, Container, Host, Lab, Plan, attach_plainly

# Where all senders of comparisons send from: the bytes must not tell who it was.
SOURCE = IPv6Address("2001:db8:99::1")
# Identifiers of type 1 whose C-bit is free, as an offset and a number of random bits.
_TYPE_1, _RANDOM_BITS = 0x2000 << 48, 60


@dataclass(frozen=True)
class Mode:
    """One way of translation, by the names of both sides.

    Attributes:
        kernel: `csum-mode` of the kernel.
        options: of `ilax up`.
    """

    kernel: str
    options: Options


MODES = {
    "C-bit": Mode("neutral-map", Options()),
    "no C-bit": Mode("neutral-map-auto", Options(extra=("--no-cbit",))),
}


@dataclass(frozen=True)
class Fabric:
    """Three hosts with a task each.

    Attributes:
        ours: runs ilax.
        receiver: its kernel turns wire addresses back, and its task gets them all.
        sender: its kernel turns SIR addresses into wire addresses.
    """

    lab: Lab
    mode: Mode

    @property
    def ours(self) -> Host:
        return self.lab.hosts[0]

    @property
    def receiver(self) -> Host:
        return self.lab.hosts[1]

    @property
    def sender(self) -> Host:
        return self.lab.hosts[2]

    def route(self, host: Host, target: IPv6Network, locator: IPv6Network) -> None:
        """Let a host's kernel send to some SIR addresses at a locator."""
        host.ns.ip(
            *("-6", "route", "replace", str(target), "encap", "ila", upper(locator)),
            *("csum-mode", self.mode.kernel, "ident-type", "luid"),
            *("via", str(self.lab.plan.router_link_local), "dev", UPLINK),
        )

    @property
    def identifiers(self) -> IPv6Network:
        """All SIR addresses that the comparisons draw from."""
        return IPv6Network((int(self.lab.plan.sir_prefix.network_address) + _TYPE_1, 68))


def upper(prefix: IPv6Network) -> str:
    """The upper half of an address, as iproute2 wants it."""
    return ":".join(prefix.network_address.exploded.split(":")[:4])


def random_addresses(prefix: IPv6Network, count: int, seed: int) -> list[IPv6Address]:
    """SIR addresses that differ, none of which ends in a zero word: ilax refuses those."""
    choose = random.Random(seed)
    found: set[int] = set()
    while len(found) < count:
        bits = choose.getrandbits(_RANDOM_BITS)
        if bits & 0xFFFF:
            found.add(bits)
    return [prefix.network_address + bits for bits in sorted(found)]


@contextlib.contextmanager
def fabric(tag: str, mode: Mode) -> Iterator[Fabric]:
    """Build it; everything is gone when the context ends."""
    with Lab.make(tag, Plan(hosts=3, containers=1)) as lab:
        built = Fabric(lab, mode)
        lab.complete_checksums()
        for host in lab.hosts:
            host.ns.sysctl("net.ipv6.auto_flowlabels", 0)
            host.ns.ip("address", "add", f"{SOURCE}/128", "dev", "lo", "nodad")
        _kernel_host(built, built.receiver)
        _kernel_host(built, built.sender)
        _ilax_host(built)
        yield built


def _ilax_host(built: Fabric) -> None:
    ours = built.ours
    ours.ilax(*operator.up_arguments(built.lab, ours, built.mode.options))
    ours.ilax(*operator.add_arguments(ours.containers[0], built.mode.options))
    elsewhere = [*built.receiver.containers, *built.sender.containers]
    csv = operator.placement(elsewhere)
    ours.ilax("mapping", "import", "-", "--format", "csv", text_in=csv)


def _kernel_host(built: Fabric, host: Host) -> None:
    plan, task = built.lab.plan, host.containers[0]
    attach_plainly(host, task, task.sir)
    host.ns.ip(
        *("ila", "add", "loc_match", upper(host.locator), "loc", upper(plan.sir_prefix)),
        *("csum-mode", built.mode.kernel, "ident-type", "luid"),
    )
    (ours,) = built.ours.containers
    built.route(host, IPv6Network(ours.sir), built.ours.locator)


def all_to(host: Host, task: Container, target: IPv6Network) -> None:
    """Let a host's kernel hand everything for some addresses to a task."""
    mac = mac_of(task.ns, "eth0")
    host.ns.ip("neigh", "replace", "fe80::c", "lladdr", mac, "dev", task.name, "nud", "permanent")
    host.ns.ip("-6", "route", "replace", str(target), "via", "fe80::c", "dev", task.name)
