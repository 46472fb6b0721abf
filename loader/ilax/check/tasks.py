# SPDX-License-Identifier: Apache-2.0
"""The host's side of each endpoint: device, program, route, neighbour, addresses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING

from ilax.check import hooks
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.snapshot import PROTOCOL_RA
from ilax.check.view import View
from ilax.endpoint import endpoints
from ilax.endpoint.containers import GATEWAY
from ilax.hooks.places import CONTAINER
from ilax.instances.transaction import Transaction
from ilax.system import sysctls
from ilax.system.netlink import LOOPBACK, ROUTE_PROTOCOL

if TYPE_CHECKING:
    from ilax.endpoint.endpoints import Endpoint
    from ilax.system.netlink import Interface

NO_DEVICE = kind(
    "endpoint.no-device", Severity.ERROR,
    "the device is gone, mostly with the namespace of the container; what comes is lost",
)  # fmt: skip
WRONG_DEVICE = kind(
    "endpoint.wrong-device", Severity.ERROR,
    "the number in the row is that of another device: packets go where they should not",
)  # fmt: skip
MAC = kind(
    "endpoint.host-mac", Severity.ERROR,
    "the host's side has another hardware address than the row, so the container asks for "
    "a next hop that is not there", Remedy.STEP,
)  # fmt: skip
DOWN = kind("endpoint.down", Severity.ERROR, "the host's side of the device is down", Remedy.STEP)
MTU = kind(
    "endpoint.mtu", Severity.WARNING,
    "the host's side has another MTU than the row: large packets are lost or answered wrongly",
    Remedy.STEP,
)  # fmt: skip
NO_PROGRAM = kind(
    "endpoint.no-program", Severity.ERROR,
    "what the task sends is neither checked nor translated", Remedy.STEP,
)  # fmt: skip
NO_ROUTE = kind(
    "endpoint.no-route", Severity.ERROR,
    "the host's stack does not reach the task: neither its own packets nor errors arrive",
    Remedy.STEP,
)  # fmt: skip
OTHER_ROUTE = kind(
    "endpoint.other-route", Severity.ERROR, "a foreign route takes what the host sends to the task"
)
NO_NEIGHBOUR = kind(
    "endpoint.no-neighbour", Severity.WARNING,
    "the host has to ask for the task's hardware address", Remedy.STEP,
)  # fmt: skip
WRONG_NEIGHBOUR = kind(
    "endpoint.wrong-neighbour", Severity.ERROR,
    "the host sends to another hardware address than the task's", Remedy.STEP,
)  # fmt: skip
NO_GATEWAY = kind(
    "endpoint.no-gateway", Severity.ERROR,
    f"the host's side lacks {GATEWAY}, the container's next hop", Remedy.STEP,
)  # fmt: skip
NO_IPV6 = kind(
    "endpoint.disable-ipv6", Severity.ERROR, "IPv6 is switched off on the host's side", Remedy.STEP
)
ACCEPT_RA = kind(
    "endpoint.accept-ra", Severity.ERROR,
    "the host listens to router advertisements of the task, and would send by it what is for "
    "others", Remedy.STEP,
)  # fmt: skip
NO_HOST_ADDRESS = kind(
    "endpoint.no-host-address", Severity.ERROR,
    "what comes for the host's own SIR address is dropped by its stack", Remedy.STEP,
)  # fmt: skip


@check(Needs.HOME)
def host_side(view: View) -> Iterator[Finding]:
    """All that `endpoint add` made in the host's namespace."""
    for endpoint in view.endpoints:
        if endpoint.delivery == "host":
            yield from _host_address(view, endpoint)
            continue
        link = view.here.links.get(endpoint.ifindex)
        if link is None:
            yield NO_DEVICE.found(
                endpoint.sir,
                seen=f"no interface {endpoint.ifindex}",
                expected="a device that leads to the container",
                command=view.command(f"endpoint del {endpoint.sir}"),
            )
            continue
        alias = endpoints.link_alias(view.name, endpoint.sir)
        if endpoint.owns_link and link.alias != alias:
            yield WRONG_DEVICE.found(
                endpoint.sir,
                seen=f"interface {link.index} is {link.name}, alias {link.alias or 'none'}",
                expected=f"alias {alias}",
                command=view.command(f"endpoint del {endpoint.sir}"),
            )
            continue
        yield from _program(view, endpoint)
        if endpoint.owns_link:
            yield from _device(view, endpoint, link)
            yield from _advertisements(view, endpoint, link)
            yield from _route(view, endpoint, link)
            yield from _neighbour(view, endpoint, link)


def _host_address(view: View, endpoint: Endpoint) -> Iterator[Finding]:
    sir = str(endpoint.sir)
    if endpoint.owns_link and sir not in view.here.addresses.get(LOOPBACK, {}):
        yield NO_HOST_ADDRESS.found(
            sir,
            seen="not on lo",
            expected=f"{sir}/128 on lo",
            command=f"ip -6 address replace {sir}/128 dev lo nodad",
            step=partial(view.network.add_address, LOOPBACK, sir, 128),
        )


def _program(view: View, endpoint: Endpoint) -> Iterator[Finding]:
    hook = CONTAINER.at(endpoint.ifindex)
    seen = hooks.without(view, hook)
    if seen is not None:
        pinned = CONTAINER.program in view.programs
        yield NO_PROGRAM.found(
            endpoint.sir,
            seen=f"{hooks.words(view, hook)}: {seen}",
            expected=CONTAINER.program,
            command=view.command("check --fix"),
            step=partial(_attach, view, endpoint.ifindex) if pinned else None,
        )


def _attach(view: View, index: int) -> None:
    hook = CONTAINER.at(index)
    pin = view.pins.links / hook.link
    dead = hook.link in view.links and view.links[hook.link].ifindex != index
    with Transaction() as change:
        if dead:
            pin.unlink(missing_ok=True)
        endpoints.attach_program(view.network, view.instance, index, change)


def _device(view: View, endpoint: Endpoint, link: Interface) -> Iterator[Finding]:
    network, sir = view.network, endpoint.sir
    if sysctls.read(link.name, "disable_ipv6"):
        name = sysctls.name(link.name, "disable_ipv6")
        yield NO_IPV6.found(
            sir,
            seen=f"{name} is 1",
            expected="0",
            command=f"sysctl -w {quote(name)}=0 && {view.command('check --fix')}",
            step=partial(sysctls.enable_ipv6, link.name),
        )
        return  # without it, nothing of the rest can be there
    if not link.up:
        yield DOWN.found(
            sir,
            seen=f"{link.name} is down",
            expected="up",
            command=f"ip link set dev {quote(link.name)} up && {view.command('check --fix')}",
            step=partial(network.set_up, link.index),
        )
    if link.mac != endpoint.host_mac:
        mac = endpoint.host_mac.hex(":")
        yield MAC.found(
            sir,
            seen=f"{link.name} has {link.mac.hex(':')}",
            expected=mac,
            command=f"ip link set dev {quote(link.name)} address {mac}",
            step=partial(network.set_mac, link.index, endpoint.host_mac),
        )
    if endpoint.mtu and link.mtu != endpoint.mtu:
        yield MTU.found(
            sir,
            seen=f"{link.name} has {link.mtu} bytes",
            expected=f"{endpoint.mtu} bytes",
            command=f"ip link set dev {quote(link.name)} mtu {endpoint.mtu}",
            step=partial(network.set_mtu, link.index, endpoint.mtu),
        )
    if GATEWAY not in view.here.addresses.get(link.index, {}):
        yield NO_GATEWAY.found(
            sir,
            seen=f"not on {link.name}",
            expected=f"{GATEWAY}/64",
            command=f"ip -6 address replace {GATEWAY}/64 dev {quote(link.name)} nodad",
            step=partial(network.add_address, link.index, GATEWAY, 64),
        )


def _advertisements(view: View, endpoint: Endpoint, link: Interface) -> Iterator[Finding]:
    """`endpoint add` sets accept_ra to 0, or finds that it has no effect."""
    learned = view.here.learned_by(link.index)
    if not learned and not sysctls.accepts_advertisements(link.name):
        return
    name = sysctls.name(link.name, "accept_ra")
    seen = f"{name} is {sysctls.read(link.name, 'accept_ra')}"
    if learned:
        seen += f", and route {learned[0].destination} was learned so"
    yield ACCEPT_RA.found(
        endpoint.sir,
        seen=seen,
        expected="0, and no such route",
        command=f"sysctl -w {quote(name)}=0 && ip -6 route flush dev {quote(link.name)} proto ra",
        step=partial(_ignore_advertisements, view, link),
    )


def _ignore_advertisements(view: View, link: Interface) -> None:
    sysctls.write(link.name, "accept_ra", 0)
    for route in view.here.learned_by(link.index):
        view.network.delete_route(route.destination, link.index, protocol=PROTOCOL_RA)


def _route(view: View, endpoint: Endpoint, link: Interface) -> Iterator[Finding]:
    destination = f"{endpoint.sir}/128"
    rival = view.here.rival(destination)
    if rival is not None:
        where = f" dev {quote(view.here.name(rival.index))}" if rival.index else ""
        yield OTHER_ROUTE.found(
            endpoint.sir,
            seen=f"a route of protocol {rival.protocol}{where} metric {rival.metric}",
            expected="the route of ilax alone",
            command=f"ip -6 route del {destination}{where} metric {rival.metric}",
        )
    if view.here.route_to(destination, link.index) is None:
        yield NO_ROUTE.found(
            endpoint.sir,
            seen="no route of ours",
            expected=f"{destination} dev {link.name}",
            command=f"ip -6 route add {destination} dev {quote(link.name)} proto {ROUTE_PROTOCOL}",
            step=partial(view.network.add_route, destination, link.index),
        )
    elif rival is None:
        taken = view.here.lookup(str(endpoint.sir))
        if taken is None or taken.index != link.index:
            yield OTHER_ROUTE.found(
                endpoint.sir,
                seen="a rule that chooses another table",
                expected="the route of ilax is used",
                command="ip -6 rule; ip -6 route show table all",
            )


def _neighbour(view: View, endpoint: Endpoint, link: Interface) -> Iterator[Finding]:
    sir = str(endpoint.sir)
    known = view.here.neighbours.get((link.index, sir))
    wrong = known is not None and known.mac not in (b"", endpoint.mac)
    if known is not None and not wrong and known.permanent:
        return
    mac = endpoint.mac.hex(":")
    yield (WRONG_NEIGHBOUR if wrong else NO_NEIGHBOUR).found(
        sir,
        seen=f"{known.mac.hex(':') or 'no address'}" if known else "no neighbour",
        expected=f"{mac}, permanent",
        command=f"ip -6 neigh replace {sir} lladdr {mac} dev {quote(link.name)} nud permanent",
        step=partial(view.network.add_neighbour, link.index, sir, endpoint.mac),
    )
