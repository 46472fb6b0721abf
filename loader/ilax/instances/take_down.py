# SPDX-License-Identifier: Apache-2.0
"""Taking an instance down, also one that is half gone: nothing of it is left."""

from __future__ import annotations

from contextlib import ExitStack

from ilax.address import parse, parse_prefix
from ilax.bpf import Map
from ilax.contract import layout_check
from ilax.contract.tables import Table, index_key
from ilax.endpoint import endpoints
from ilax.errors import NotFoundError
from ilax.hooks import clsact, tc_attach, xdp_attach, xdp_slot
from ilax.hooks.places import uplink_hooks
from ilax.instances import others, sir_routes
from ilax.instances.instance import Instance, own_netns, refuse_other_netns
from ilax.instances.pins import PinFolder, hidden_hint
from ilax.instances.sir_routes import SIR_GATEWAY, SIR_GATEWAY_MAC, Ways
from ilax.instances.transaction import Transaction
from ilax.system.netlink import LOOPBACK, Network
from ilax.system.privileges import require_capabilities
from ilax.translation import fabric
from ilax.upgrades import major_migration, migration


def down(instance: str, *, force: bool = False) -> list[str]:
    """Take an instance down and leave nothing of it.

    Args:
        force: also from outside of its network namespace, whose routes and
            addresses then stay (the namespace may be gone).

    Returns:
        What may be of the instance and was left, in words: only where maps were missing.

    Raises:
        NotFoundError: it is not up.
        ConflictError: it serves another network namespace.
    """
    require_capabilities("take an instance down")
    pins = PinFolder(instance)
    if not pins.base.is_dir():
        raise NotFoundError(
            f"instance {instance} is not up; nothing was changed", hint=hidden_hint()
        )
    with pins.lock():
        return down_held(instance, force=force)


def down_held(instance: str, *, force: bool = False) -> list[str]:
    """`down` by whoever holds the lock; returns and raises as `down` does."""
    pins = PinFolder(instance)
    left: list[str] = []
    if not pins.maps.is_dir() and pins.other_versions():
        # Instance.open() says which contract that is. A killed migration may have
        # moved some of it to our folder already.
        Instance.open(instance).close()
    major_migration.sweep_leftovers(pins)
    if pins.maps.is_dir():
        incomplete = False
        try:
            with Transaction() as change, ExitStack() as held:
                try:
                    older = migration.open_older(pins, lambda _: None, change)
                    opened = held.enter_context(older or Instance.open(instance))
                except NotFoundError:
                    incomplete = True
                    raise
                _take_down(opened, force=force)
        except NotFoundError:
            if not incomplete:
                raise
            left = _take_down_rest(pins, force=force)
    xdp_slot.leave(pins)
    pins.remove()
    return left


def _take_down(opened: Instance, *, force: bool) -> None:
    row = opened.config.get(index_key(0))
    at_home = row is not None and int(row["netns"]) == own_netns()
    if not at_home and not force:
        opened.require_own_netns("take the instance down")
    if not at_home or row is None:
        return
    pins = opened.pins
    # A first `up` pins its programs at its end.
    unfinished = not pins.doomed.is_dir() and not any(pins.programs.glob("*"))
    # Whoever finds half of it knows that nothing is to be mended.
    pins.doomed.mkdir(mode=0o700, exist_ok=True)
    uplink = int(row["uplink_ifindex"])
    beside = others.survey(opened.name)
    shared = any(other.uplink == uplink for other in beside.at_work)
    with Network() as network:
        # XDP first: from then on tc does the whole job until it is gone, too.
        xdp_attach.detach(pins.links)
        xdp_slot.leave(pins)
        endpoints.remove_all(network, opened)
        for hook in uplink_hooks(uplink):
            # Whoever shares an uplink does so by tcx: a filter there is not ours.
            tc_attach.detach(None if shared else network, pins.links, hook)
        if unfinished and not shared:
            # It may have been killed between the qdisc and its first filter.
            clsact.remove_empty(network, uplink)
        before = sir_routes.ways_of(network, opened)
        if before is not None:
            sir_routes.leave(network, before, None, beside)


def _take_down_rest(pins: PinFolder, *, force: bool) -> list[str]:
    """Take away what an instance made of which maps are missing.

    The maps that are left tell of it, and what carries our marks: aliases, protocol
    and next hop of routes, names of filters.

    Returns:
        Addresses that may have been the instance's: no mark tells.
    """
    beside = others.survey(pins.instance)
    foreign = {prefix for other in beside.at_work for prefix in other.sir_prefixes}
    with ExitStack() as held, Network() as network:
        config, prefixes, rows = (
            _remaining(pins, name, held)
            for name in ("ilax_config", "ilax_prefixes", "ilax_endpoints")
        )
        row = None if config is None else config.get(index_key(0))
        if row is not None and int(row["netns"]) != own_netns():
            if not force:
                refuse_other_netns(pins.instance, int(row["netns"]), "take it down")
            return []
        uplink = 0 if row is None else int(row["uplink_ifindex"])
        routes = network.routes_via(SIR_GATEWAY)
        sources = {destination: source for (destination, _), source in routes.items()}
        known = fabric.sir_prefixes(fabric.rows_of(prefixes)) if prefixes is not None else []
        # Without their table: all that nobody else has, if all others can be asked.
        if not known and not beside.unread:
            all_64 = [parse_prefix(text) for text in sources if text.endswith("/64")]
            known = [prefix for prefix in all_64 if prefix not in foreign]
        endpoints.remove_devices(network, pins.instance)
        hosts = {str(sources[str(p)]) for p in known if sources.get(str(p))}
        if rows is not None:
            hosts |= {str(one.sir) for one in endpoints.read_table(rows) if one.delivery == "host"}
        ways = Ways(uplink, tuple(known), None)
        devices = {uplink, *network.interfaces_with_neighbour(SIR_GATEWAY, SIR_GATEWAY_MAC)}
        for index in devices - {0, *(other.uplink for other in beside.at_work)}:
            for hook in uplink_hooks(index):
                clsact.remove_filter(network, hook)
        sir_routes.leave(network, ways, None, beside)
        for address in hosts:
            network.delete_address(LOOPBACK, address, 128)
        if rows is not None:
            return []
        return [
            f"address {address} on lo" for address in network.addresses_of(LOOPBACK)
            if any(parse(address) in prefix for prefix in known)
        ]  # fmt: skip


def _remaining(pins: PinFolder, name: str, held: ExitStack) -> Table | None:
    """A table of an instance that is incomplete; None if it is missing, or another."""
    try:
        opened = held.enter_context(Map.open_pinned(pins.maps / name))
    except NotFoundError:
        return None
    return None if layout_check.map_differences(name, opened) else Table(opened)
