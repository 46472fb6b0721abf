# SPDX-License-Identifier: Apache-2.0
"""The host's own traffic to SIR prefixes: routes, their next hop, and the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ilax.address import Address, Prefix
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.endpoint.endpoints import Endpoint
from ilax.hooks import clsact
from ilax.hooks.places import uplink_hooks
from ilax.instances.instance import Instance
from ilax.instances.others import Survey
from ilax.instances.transaction import Transaction
from ilax.system.netlink import LOOPBACK, Network
from ilax.translation import fabric, prefix_rows

# The host's stack sends SIR destinations here; the uplink's egress program
# rewrites them and finds the real next hop. The address answers to nobody: a
# permanent neighbour keeps the kernel from asking for it.
SIR_GATEWAY = "fe80::11a"
SIR_GATEWAY_MAC = bytes.fromhex("02000000011a")


@dataclass(frozen=True)
class Ways:
    """How the host's own traffic reaches SIR prefixes.

    Attributes:
        source: the host's own SIR address.
    """

    uplink: int
    sir_prefixes: tuple[Prefix, ...]
    source: Address | None


def ways_of(network: Network, opened: Instance) -> Ways | None:
    """What an earlier `up` left; None if it was killed before it had begun."""
    row = opened.config.get(index_key(0))
    uplink = int(row["uplink_ifindex"]) if row is not None else 0
    # Also of rows that make no sense together: what was made for them has to go.
    known = fabric.sir_prefixes(prefix_rows.meant(fabric.read_rows(opened)))
    return Ways(uplink, tuple(known), source_of(network, opened)) if uplink else None


def source_of(network: Network, opened: Instance, but: Sequence[Endpoint] = ()) -> Address | None:
    """The host's own SIR address; of several the one that routes name, or the first."""
    going = {endpoint.sir for endpoint in but}
    own = [
        endpoint.sir
        for endpoint in endpoints.read_all(opened)
        if endpoint.delivery == "host" and endpoint.sir not in going
    ]
    named = set(network.routes_via(SIR_GATEWAY).values())
    return next((sir for sir in own if str(sir) in named), own[0] if own else None)


def route(
    network: Network,
    ways: Ways,
    before: Ways | None,
    beside: Survey,
    change: Transaction,
) -> None:
    """Route the SIR prefixes by way of the uplink, instead of as before."""
    change.on_failure(leave, network, ways, before, beside)
    if before is not None and network.interface_by_index(before.uplink) is not None:
        change.on_failure(_put_routes, network, before)
    if ways.source is not None and network.add_address(LOOPBACK, str(ways.source), 128):
        change.on_failure(network.delete_address, LOOPBACK, str(ways.source), 128)
    _put_routes(network, ways)


def _put_routes(network: Network, ways: Ways) -> None:
    network.add_neighbour(ways.uplink, SIR_GATEWAY, SIR_GATEWAY_MAC)
    for prefix in ways.sir_prefixes:
        _put_route(network, prefix, ways)


def _put_route(network: Network, prefix: Prefix, ways: Ways) -> None:
    # The route names it as a source, so it has to be there before.
    source = str(ways.source) if ways.source else None
    # No other instance here has the prefix, so a route of ours is this one's.
    network.add_route(str(prefix), ways.uplink, gateway=SIR_GATEWAY, source=source, move=True)


def renew_source(network: Network, opened: Instance) -> None:
    """Let routes to SIR prefixes name an address of the host's own, where there is one."""
    ways = ways_of(network, opened)
    if ways is None or ways.source is None:
        return
    there, source = network.routes_via(SIR_GATEWAY), str(ways.source)
    for prefix in ways.sir_prefixes:
        # A route that is missing is not for this to make.
        if there.get((str(prefix), ways.uplink), source) != source:
            _put_route(network, prefix, ways)


def leave(network: Network, before: Ways, now: Ways | None, beside: Survey) -> None:
    """Take away what is not needed any more, and nothing that others use.

    What an `up` left that was killed on its way to another uplink is among it:
    our next hop tells routes and neighbours. Beside an instance that cannot be read
    only routes to our prefixes are known to be ours.
    """
    foreign = {str(prefix) for other in beside.at_work for prefix in other.sir_prefixes}
    wanted = {(str(prefix), now.uplink) for prefix in now.sir_prefixes} if now else set()
    ours = {str(prefix) for prefix in before.sir_prefixes}
    found = network.routes_via(SIR_GATEWAY)
    doomed = [
        (destination, index)
        for destination, index in found
        if (destination, index) not in wanted
        and destination not in foreign
        and (destination in ours or (index == before.uplink and not beside.unread))
    ]
    for destination, index in doomed:
        network.delete_route(destination, index)
    in_use = {route[1] for route in found if route not in doomed}
    for index in network.interfaces_with_neighbour(SIR_GATEWAY, SIR_GATEWAY_MAC):
        if index not in in_use:
            network.delete_neighbour(index, SIR_GATEWAY)
    shared = any(other.uplink == before.uplink for other in beside.at_work)
    if now and now.uplink != before.uplink and not shared:
        for hook in uplink_hooks(before.uplink):
            clsact.remove_filter(network, hook)
