# SPDX-License-Identifier: Apache-2.0
"""The uplink, and how the host's own traffic finds its way to SIR addresses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from shlex import quote

from ilax.address import Address
from ilax.check import restore
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.snapshot import NOBODY
from ilax.check.view import View
from ilax.instances import others
from ilax.instances.sir_routes import SIR_GATEWAY, SIR_GATEWAY_MAC
from ilax.system.netlink import LOOPBACK, ROUTE_PROTOCOL

GONE = kind("uplink.gone", Severity.ERROR, "the uplink is not there any more")
DOWN = kind("uplink.down", Severity.ERROR, "the uplink is down")
MTU = kind(
    "uplink.mtu", Severity.WARNING,
    "the uplink's MTU was raised after `up` had read it: what it would carry is refused", Remedy.UP,
)  # fmt: skip
MTU_SMALL = kind(
    "uplink.mtu-small", Severity.ERROR,
    "the uplink's MTU was lowered after `up` had read it: larger packets are lost, and nobody is "
    "told", Remedy.UP,
)  # fmt: skip
GATEWAY_SILENT = kind(
    "uplink.gateway-silent", Severity.ERROR,
    "the next hop of all wire addresses does not answer",
)  # fmt: skip
SIR_MISSING = kind(
    "route.sir-missing", Severity.ERROR,
    "no route to a SIR prefix by way of the uplink: the host reaches no task elsewhere, and "
    "forwards no errors of routers", Remedy.STEP,
)  # fmt: skip
SIR_SOURCE = kind(
    "route.sir-source", Severity.ERROR,
    "a route to a SIR prefix does not name the host's own SIR address as source: its processes "
    "call tasks by an address that may not be answered", Remedy.STEP,
)  # fmt: skip
SIR_SHADOWED = kind(
    "route.sir-shadowed", Severity.ERROR,
    "another route takes what goes to a SIR prefix",
)  # fmt: skip
SIR_NEIGHBOUR = kind(
    "route.sir-neighbour", Severity.ERROR,
    "the next hop of SIR prefixes, which does not exist, has no permanent neighbour",
    Remedy.STEP,
)  # fmt: skip
LEFTOVER = kind(
    "route.leftover", Severity.WARNING,
    "a route or neighbour of ours that no instance needs", Remedy.STEP,
)  # fmt: skip


@check(Needs.HOME)
def device(view: View) -> Iterator[Finding]:
    """The uplink is there, up, and as large as the programs think."""
    link, config = view.uplink, view.config
    if link is None:
        yield GONE.found(
            view.here.name(view.uplink_index),
            seen="no such interface",
            expected="the uplink of the last `up`",
            command=view.command("up --uplink DEV ..."),
        )
        return
    if not link.up:
        yield DOWN.found(
            link.name, seen="down", expected="up", command=f"ip link set dev {quote(link.name)} up"
        )
    if link.mtu != int(config["uplink_mtu"]):
        yield (MTU_SMALL if link.mtu < int(config["uplink_mtu"]) else MTU).found(
            link.name,
            seen=f"{link.mtu} bytes, ilax_config says {int(config['uplink_mtu'])}",
            expected="the same",
            command=restore.command(view),
        )
    gateway = str(Address(*(int(half) for half in config["gateway"])))
    known = view.here.neighbours.get((link.index, gateway))
    if known is not None and known.silent:
        yield GATEWAY_SILENT.found(
            gateway,
            seen=f"no answer on {link.name}",
            expected="a neighbour",
            command=restore.command(view).replace(f"--gateway {gateway}", "--gateway ADDRESS"),
        )


@check(Needs.HOME)
def sir_prefixes(view: View) -> Iterator[Finding]:
    """SIR prefixes leave by the uplink, by way of our next hop."""
    link = view.uplink
    if link is None:
        return
    here = view.here
    known = here.neighbours.get((link.index, SIR_GATEWAY))
    if known is None or not known.permanent or known.mac != SIR_GATEWAY_MAC:
        mac = SIR_GATEWAY_MAC.hex(":")
        yield SIR_NEIGHBOUR.found(
            f"{SIR_GATEWAY} on {link.name}",
            seen=f"{known.mac.hex(':') or 'no address'}" if known else "no neighbour",
            expected=f"{mac}, permanent",
            command=f"ip -6 neigh replace {SIR_GATEWAY} lladdr {mac} dev {quote(link.name)} "
            "nud permanent",
            step=partial(view.network.add_neighbour, link.index, SIR_GATEWAY, SIR_GATEWAY_MAC),
        )
    hosts = [str(e.sir) for e in view.endpoints if e.delivery == "host" and e.owns_link]
    source = hosts[0] if hosts else None
    for prefix in view.fabric.sir_prefixes:
        route = here.route_to(str(prefix), link.index)
        put = partial(_put_route, view, str(prefix), link.index, source)
        command = (
            f"ip -6 route replace {prefix} via {SIR_GATEWAY} dev {quote(link.name)} "
            f"proto {ROUTE_PROTOCOL}{f' src {source}' if source else ''}"
        )
        if route is None or route.gateway != SIR_GATEWAY:
            yield SIR_MISSING.found(
                prefix,
                seen="no route of ours",
                expected=f"via {SIR_GATEWAY} dev {link.name}",
                command=command,
                step=put,
            )
            continue
        if source is not None and route.source not in hosts:
            yield SIR_SOURCE.found(
                prefix,
                seen=f"source {route.source}" if route.source else "a route without source",
                expected=f"source {source}, on lo",
                command=f"ip -6 address replace {source}/128 dev lo; {command}",
                step=put,
            )
        taken = here.lookup(str(Address(prefix.upper, NOBODY)))
        if taken is None or (taken.index, taken.gateway) != (link.index, SIR_GATEWAY):
            yield _shadowed(view, str(prefix))


def _put_route(view: View, prefix: str, index: int, source: str | None) -> None:
    if source is not None:
        # The kernel takes no source that is not there.
        view.network.add_address(LOOPBACK, source, 128)
    view.network.add_route(prefix, index, gateway=SIR_GATEWAY, source=source, move=True)


def _shadowed(view: View, prefix: str) -> Finding:
    rival = view.here.rival(prefix)
    if rival is None:
        return SIR_SHADOWED.found(
            prefix,
            seen="a more specific route, or a rule that chooses another table",
            expected="our route is used",
            command="ip -6 rule; ip -6 route show table all",
        )
    where = f"dev {quote(view.here.name(rival.index))} " if rival.index else ""
    return SIR_SHADOWED.found(
        prefix,
        seen=f"{where}metric {rival.metric} protocol {rival.protocol}",
        expected="our route is used",
        command=f"ip -6 route del {prefix} {where}metric {rival.metric}",
    )


@check(Needs.HOME)
def leftovers(view: View) -> Iterator[Finding]:
    """Routes and neighbours by which nothing of ours goes any more."""
    beside = others.survey(view.name)
    # What an instance that lacks maps goes by cannot be told: then nothing is taken away unasked.
    unless = f", unless instance {beside.unread[0]} does" if beside.unread else ""
    own = {str(prefix) for prefix in view.fabric.sir_prefixes}
    foreign = {
        (str(prefix), other.uplink) for other in beside.at_work for prefix in other.sir_prefixes
    }
    used = set()
    for route in view.here.routes:
        if not route.ours or route.gateway != SIR_GATEWAY:
            continue
        key = route.destination, route.index
        if key in foreign or (route.destination in own and route.index == view.uplink_index):
            used.add(route.index)
            continue
        name = view.here.name(route.index)
        yield LEFTOVER.found(
            f"{route.destination} dev {name}",
            seen=f"a route via {SIR_GATEWAY}",
            expected=f"nothing: no instance here serves it by that interface{unless}",
            command=f"ip -6 route del {route.destination} dev {quote(name)} proto {ROUTE_PROTOCOL}",
            step=None if unless else partial(view.network.delete_route, *key),
        )
    for (index, address), neighbour in view.here.neighbours.items():
        ours = address == SIR_GATEWAY and neighbour.permanent and neighbour.mac == SIR_GATEWAY_MAC
        if ours and index not in used and index != view.uplink_index:
            name = view.here.name(index)
            yield LEFTOVER.found(
                f"{address} dev {name}",
                seen="a permanent neighbour",
                expected=f"nothing: no route leads there{unless}",
                command=f"ip -6 neigh del {address} dev {quote(name)}",
                step=None if unless else partial(view.network.delete_neighbour, index, address),
            )
