# SPDX-License-Identifier: Apache-2.0
"""The container's side of each endpoint, in its network namespace."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, ParamSpec

from ilax.address import Address
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.snapshot import NOBODY, Snapshot
from ilax.check.view import View
from ilax.endpoint.containers import GATEWAY
from ilax.system import sysctls
from ilax.system.ethtool import gro_is_on, turn_gro_on
from ilax.system.netlink import ROUTE_PROTOCOL, Network, inside

if TYPE_CHECKING:
    from ilax.endpoint.endpoints import Endpoint
    from ilax.system.netlink import Interface

P = ParamSpec("P")

UNSEEN = kind(
    "endpoint.unseen", Severity.INFO,
    "the container's namespace has neither name nor process, so its side was not looked at",
)  # fmt: skip
MAC = kind(
    "endpoint.inner-mac", Severity.ERROR,
    "the container has another hardware address than the row: its stack ignores what it gets",
    Remedy.STEP,
)  # fmt: skip
DOWN = kind("endpoint.inner-down", Severity.ERROR, "the container's interface is down", Remedy.STEP)
MTU = kind(
    "endpoint.inner-mtu", Severity.WARNING,
    "the container has another MTU than the row: its large packets are lost, or it gets none",
    Remedy.STEP,
)  # fmt: skip
NO_GRO = kind(
    "endpoint.no-gro", Severity.ERROR,
    "XDP delivery needs NAPI, which GRO switches on: the kernel drops all of it silently",
    Remedy.STEP,
)  # fmt: skip
NO_IPV6 = kind(
    "endpoint.inner-disable-ipv6", Severity.ERROR, "IPv6 is switched off inside", Remedy.STEP
)
NO_ADDRESS = kind(
    "endpoint.no-address", Severity.ERROR, "the container lacks its SIR address", Remedy.STEP
)
NO_ROUTE = kind(
    "endpoint.no-inner-route", Severity.ERROR,
    "the container has no route by way of its interface", Remedy.STEP,
)  # fmt: skip
OTHER_ROUTE = kind(
    "endpoint.inner-other-route", Severity.WARNING,
    "another route inside takes what is for tasks; fine if it is meant to",
)  # fmt: skip
NO_NEIGHBOUR = kind(
    "endpoint.no-inner-neighbour", Severity.WARNING,
    "the container has to ask for its next hop", Remedy.STEP,
)  # fmt: skip
WRONG_NEIGHBOUR = kind(
    "endpoint.wrong-inner-neighbour", Severity.ERROR,
    "the container sends to another hardware address than the host's", Remedy.STEP,
)  # fmt: skip


@contextlib.contextmanager
def _entered(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDONLY)
    try:
        with inside(fd):
            yield
    finally:
        os.close(fd)


class _Inside:
    """One container, seen from within; steps enter it again.

    Attributes:
        fix: the command line that mends whatever can be.
    """

    def __init__(self, view: View, endpoint: Endpoint, path: Path) -> None:
        self.path = path
        self.endpoint = endpoint
        self.fix = view.command("check --fix")
        host = view.here.links[endpoint.ifindex]
        # Where it would send to a task that nobody is.
        self.nobody = str(Address(view.fabric.sir_prefixes[0].upper, NOBODY))
        with Network() as network:
            self.here = Snapshot(network)
            self.way = self.here.lookup(self.nobody)
        self.link: Interface | None = self.here.links.get(host.peer)
        self.off = bool(self.link and sysctls.read(self.link.name, "disable_ipv6"))
        # Links say so themselves where their namespace is another one.
        self.gro = endpoint.delivery != "xdp" or self.link is None or gro_is_on(self.link.name)

    def command(self, text: str, *, then_fix: bool = False) -> str:
        """A command line that is run inside.

        Who owns the container chooses the device's name, and root runs the line.

        Args:
            text: with `{dev}` where the device is named.
            then_fix: more has to be mended behind it.
        """
        assert self.link is not None
        if not self.link.name.isprintable():
            return self.fix  # it goes by the number
        enter = f"nsenter --net={quote(str(self.path))}"
        line = f"{enter} {text.format(dev=quote(self.link.name))}"
        return f"{line} && {self.fix}" if then_fix else line

    def step(
        self, change: Callable[[Network], Callable[P, object]], *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[], None]:
        """A change by netlink, made inside."""

        def run() -> None:
            with _entered(self.path), Network() as network:
                change(network)(*args, **kwargs)

        return run

    def local(self, change: Callable[[str], object], device: str) -> Callable[[], None]:
        """A change of a device by its name, made inside."""

        def run() -> None:
            with _entered(self.path):
                change(device)

        return run


@check(Needs.HOME)
def container_side(view: View) -> Iterator[Finding]:
    """All that `endpoint add` made in the namespaces of containers."""
    if "CAP_SYS_ADMIN" in view.missing:
        return  # host.capability says so
    for endpoint in view.endpoints:
        link = view.here.links.get(endpoint.ifindex)
        if not endpoint.owns_link or endpoint.delivery == "host" or link is None:
            continue
        path = view.inner_path(endpoint)
        if path is None:
            yield UNSEEN.found(
                endpoint.sir,
                seen=f"the peer of {link.name} is in a namespace without name or process",
                expected="a name in /run/netns, or a process",
                command=view.command(f"endpoint show {endpoint.sir}"),
            )
            continue
        try:
            with _entered(path):
                found = _Inside(view, endpoint, path)
        except OSError:
            continue  # it went away just now; the device will, too
        if found.link is not None:
            yield from _device(found, found.link)
            yield from _ways(found, found.link)


def _device(seen: _Inside, link: Interface) -> Iterator[Finding]:
    endpoint, name = seen.endpoint, link.name
    if link.mac != endpoint.mac:
        mac = endpoint.mac.hex(":")
        yield MAC.found(
            endpoint.sir,
            seen=f"{name} has {link.mac.hex(':')}",
            expected=mac,
            command=seen.command(f"ip link set dev {{dev}} address {mac}"),
            step=seen.step(lambda n: n.set_mac, link.index, endpoint.mac),
        )
    if endpoint.mtu and link.mtu != endpoint.mtu:
        yield MTU.found(
            endpoint.sir,
            seen=f"{name} has {link.mtu} bytes",
            expected=f"{endpoint.mtu} bytes",
            command=seen.command(f"ip link set dev {{dev}} mtu {endpoint.mtu}"),
            step=seen.step(lambda n: n.set_mtu, link.index, endpoint.mtu),
        )
    if not seen.gro:
        yield NO_GRO.found(
            endpoint.sir,
            seen=f"generic-receive-offload of {name} is off",
            expected="on",
            command=seen.command("ethtool -K {dev} gro on"),
            step=seen.local(turn_gro_on, name),
        )
    if not link.up:
        yield DOWN.found(
            endpoint.sir,
            seen=f"{name} is down",
            expected="up",
            command=seen.command("ip link set dev {dev} up", then_fix=True),
            step=seen.step(lambda n: n.set_up, link.index),
        )


def _ways(seen: _Inside, link: Interface) -> Iterator[Finding]:
    endpoint, name, sir = seen.endpoint, link.name, str(seen.endpoint.sir)
    if seen.off:
        setting = sysctls.name(name, "disable_ipv6")
        yield NO_IPV6.found(
            sir,
            seen=f"{setting} is 1",
            expected="0",
            command=seen.command(
                f"sysctl -w {sysctls.name('{dev}', 'disable_ipv6')}=0", then_fix=True
            ),
            step=seen.local(sysctls.enable_ipv6, name),
        )
        return  # without it, nothing of the rest can be there
    if sir not in seen.here.addresses.get(link.index, {}):
        yield NO_ADDRESS.found(
            sir,
            seen=f"not on {name}",
            expected=f"{sir}/128",
            command=seen.command(f"ip -6 address replace {sir}/128 dev {{dev}} nodad"),
            step=seen.step(lambda n: n.add_address, link.index, sir, 128),
        )
    if not link.up:
        return  # the kernel has no routes then
    yield from _way_out(seen, link)
    known = seen.here.neighbours.get((link.index, GATEWAY))
    wrong = known is not None and known.mac not in (b"", endpoint.host_mac)
    if known is None or wrong or not known.permanent:
        mac = endpoint.host_mac.hex(":")
        yield (WRONG_NEIGHBOUR if wrong else NO_NEIGHBOUR).found(
            sir,
            seen=f"{known.mac.hex(':') or 'no address'}" if known else "no neighbour",
            expected=f"{mac}, permanent",
            command=seen.command(
                f"ip -6 neigh replace {GATEWAY} lladdr {mac} dev {{dev}} nud permanent"
            ),
            step=seen.step(lambda n: n.add_neighbour, link.index, GATEWAY, endpoint.host_mac),
        )


def _way_out(seen: _Inside, link: Interface) -> Iterator[Finding]:
    """The task sends to others by way of its interface."""
    ours = link.index, GATEWAY
    if seen.way is not None and (seen.way.index, seen.way.gateway) == ours:
        return
    sir = str(seen.endpoint.sir)
    default = "::/0"
    if not any((r.destination, r.index, r.gateway) == (default, *ours) for r in seen.here.routes):
        yield NO_ROUTE.found(
            sir,
            seen=f"no route via {GATEWAY} dev {link.name}",
            expected="a default route",
            command=seen.command(
                f"ip -6 route add default via {GATEWAY} dev {{dev}} proto {ROUTE_PROTOCOL}"
            ),
            step=seen.step(lambda n: partial(n.add_route, gateway=GATEWAY), default, link.index),
        )
        return
    where = f"goes by {seen.here.name(seen.way.index)}" if seen.way else "is sent nowhere"
    rival = seen.here.rival(default)
    yield OTHER_ROUTE.found(
        sir,
        seen=f"{seen.nobody} {where}",
        expected=f"via {GATEWAY} dev {link.name}",
        command=seen.command(
            "ip -6 route show table all"
            if rival is None
            else f"ip -6 route del default metric {rival.metric}"
        ),
    )
