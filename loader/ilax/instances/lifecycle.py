# SPDX-License-Identifier: Apache-2.0
"""Bringing an instance up, upgrading it in place, and taking it down.

`up` loads everything beside what runs, then attaches; a second `up` swaps the
programs inside their links, so no packet sees a hook without a program. What
fails before the first swap leaves the old state; what fails after it goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from ilax.address import Address, Prefix, parse, parse_prefix
from ilax.bpf import Map, Object, Program
from ilax.contract import layout_check, schema
from ilax.contract.tables import Table, index_key
from ilax.endpoint import containers, endpoints
from ilax.endpoint.endpoints import Endpoint
from ilax.errors import ConflictError, NotFoundError, UsageError
from ilax.hooks import cgroup_attach, clsact, program_set, tc_attach, tc_order, xdp_attach, xdp_slot
from ilax.hooks.modes import TcMode, XdpMode
from ilax.hooks.places import CGROUP, CONTAINER, UPLINK_TC, XDP_INGRESS, uplink_hooks
from ilax.hooks.tc_order import Place
from ilax.hooks.xdp_slot import Slot, SlotName
from ilax.instances import others
from ilax.instances.instance import MAP_NAMES, Instance, own_netns, refuse_other_netns
from ilax.instances.others import Survey
from ilax.instances.pins import PinFolder, ensure_bpffs, hidden_hint, remove_folder
from ilax.instances.transaction import Transaction
from ilax.system import sysctls
from ilax.system.kernel import require_kernel
from ilax.system.netlink import LOOPBACK, Interface, Network
from ilax.system.privileges import require_capabilities
from ilax.translation import fabric, prefix_rows
from ilax.translation.fabric import Fabric
from ilax.upgrades import major_migration, migration

# The host's stack sends SIR destinations here; the uplink's egress program
# rewrites them and finds the real next hop. The address answers to nobody: a
# permanent neighbour keeps the kernel from asking for it.
SIR_GATEWAY = "fe80::11a"
SIR_GATEWAY_MAC = bytes.fromhex("02000000011a")

IPV6_MTU_MIN = 1280


@dataclass(frozen=True)
class UpOptions:
    """What `up` is asked for.

    Attributes:
        uplink: name of the interface towards the fabric.
        gateway: next hop for all wire addresses; None asks the kernel's routes
            for each packet.
        host_address: SIR address of the host's own processes.
        tc_order: place among the tcx programs of others on the uplink; None: last,
            or where ours are.
        xdp_chain: slot of a foreign program's array for our XDP program; None: the one
            that it is in, if XDP is AUTO.
        max_endpoints, max_mappings, max_limits: rows; used when the maps are made.
    """

    uplink: str
    fabric: Fabric
    gateway: Address | None = None
    host_address: Address | None = None
    xdp: XdpMode = XdpMode.AUTO
    tc: TcMode = TcMode.AUTO
    tc_order: Place | None = None
    xdp_chain: SlotName | None = None
    max_endpoints: int = 0
    max_mappings: int = 0
    max_limits: int = 0


@dataclass
class UpResult:
    """What `up` did.

    Attributes:
        fresh: the instance was new; False for an upgrade.
        notes: what the operator should know.
    """

    fresh: bool
    xdp: XdpMode
    tc: TcMode
    notes: list[str] = field(default_factory=list)


def up(instance: str, options: UpOptions, orphans: Sequence[Endpoint] = ()) -> UpResult:
    """Bring an instance up, or upgrade its programs in place.

    Args:
        orphans: endpoints that the new prefixes have no place for; they go when all
            else has succeeded. Others like them are a reason to refuse.

    Raises:
        PrivilegeError: a capability is missing; nothing was touched.
        NotFoundError: there is no such uplink; nothing was touched.
        UsageError: options that do not go together, or an interface that can be no
            uplink; nothing was touched.
        LayoutError: pinned maps of another contract; nothing was touched.
        VerifierError: the kernel refused a program; the old state runs on.
        ConflictError: an uplink that is down or without IPv6, a foreign XDP program or
            slot, another namespace's instance, or a mount namespace that would take all of
            it away with the command.
    """
    prepare(options)
    with PinFolder(instance).lock():
        return up_held(instance, options, orphans)


def prepare(options: UpOptions) -> None:
    """What `up` asks for before it takes the lock, and a place for it.

    Raises:
        PrivilegeError: a capability is missing; nothing was touched.
        UsageError, AddressError: the request contradicts itself; nothing was touched.
        ConflictError: nobody else would see what is pinned here.
    """
    require_kernel()
    require_capabilities("bring an instance up")
    _check_addresses(options)
    ensure_bpffs()


def up_held(instance: str, options: UpOptions, orphans: Sequence[Endpoint] = ()) -> UpResult:
    """`up` by whoever holds the lock and has called `prepare`; raises as `up` does."""
    pins = PinFolder(instance)
    with Network() as network, ExitStack() as held, Transaction() as change:
        uplink, beside = _place(network, instance, options)
        fresh = not pins.maps.is_dir()
        if fresh:
            _make_instance(pins, options, change)
        size = partial(_size_maps, options=options)
        older = None if fresh else migration.open_older(pins, size, change)
        opened = held.enter_context(older or Instance.open(instance))
        if not fresh:
            _check_upgrade(opened, options, orphans)
            # A killed `down` may have taken folders away.
            pins.create()
        slot = _slot(pins, options, uplink, held)
        linear = slot is not None and not slot.takes_frags()
        loaded = program_set.load(opened.maps, linear=linear)
        programs = {name: held.enter_context(p) for name, p in loaded.items()}
        previous = {name: _previous(pins, name, held) for name in programs}
        if fresh:
            # Before the first packet; an upgrade changes them last.
            _write_config(opened, uplink, options, change)
        ways = _Ways(uplink.index, options.fabric.sir_prefixes, options.host_address)
        before = None if fresh else _ways_of(opened)
        forgotten = [] if fresh else _forgotten(opened, options)
        if before is not None and ways.source is None:
            ways = replace(ways, source=_source(opened, but=orphans))
        result = _attach_all(network, pins, uplink.index, programs, previous, options, slot, change)
        result.fresh = fresh
        if fresh:
            # By its row the address is known to be ours, and routes name it.
            _put_host_address(network, opened, options, change)
        _route(network, ways, before, beside, change)
        if not fresh:
            _write_config(opened, uplink, options, change)
            # It may be of a prefix that is new.
            _put_host_address(network, opened, options, change)
        container = CONTAINER.program
        endpoints.swap_programs(
            network, opened, programs[container], result.tc, change, previous[container]
        )
        cgroup = CGROUP.program
        cgroup_attach.swap(pins, programs[cgroup], change, previous[cgroup])
        # Last: as long as none are pinned, a first `up` is not finished.
        program_set.install(pins, programs, change)
        if before is not None:
            change.on_success(_leave, network, before, ways, beside)
        if older is not None:
            change.on_success(migration.move_in, pins)
        for endpoint in _still_there(opened, orphans):
            # Last: until then a failure keeps what it is about to disconnect.
            change.on_success(containers.take_away, network, opened, endpoint)
    result.notes += forgotten + _advice(options)
    return result


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
        before = _ways_of(opened)
        if before is not None:
            _leave(network, before, None, beside)


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
        ways = _Ways(uplink, tuple(known), None)
        devices = {uplink, *network.interfaces_with_neighbour(SIR_GATEWAY, SIR_GATEWAY_MAC)}
        for index in devices - {0, *(other.uplink for other in beside.at_work)}:
            for hook in uplink_hooks(index):
                clsact.remove_filter(network, hook)
        _leave(network, ways, None, beside)
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


def _check_addresses(options: UpOptions) -> None:
    if options.host_address is not None:
        options.fabric.check_sir(options.host_address)
    for what, prefixes in (
        ("SIR prefix", options.fabric.sir_prefixes),
        ("locator", options.fabric.locators),
        ("block", options.fabric.blocks),
    ):
        for prefix in prefixes:
            if prefixes.count(prefix) > 1:
                raise UsageError(f"{what} {prefix} is given twice; nothing was changed")
    if options.tc_order is not None and options.tc is TcMode.CLSACT:
        raise UsageError(
            "an order among tcx programs needs tcx, not clsact, whose filters have preferences; "
            "nothing was changed"
        )
    if options.xdp_chain is not None and options.xdp is not XdpMode.AUTO:
        raise UsageError(
            "a slot of a foreign program goes with --xdp auto only; nothing was changed"
        )
    if options.gateway is not None and not options.gateway.is_unicast:
        raise UsageError(f"{options.gateway} cannot be a next hop; nothing was changed")


def why_no_uplink(interface: Interface) -> str | None:
    """What keeps an interface from ever being an uplink; None if nothing does."""
    if interface.index == LOOPBACK:
        return "the loopback interface cannot be an uplink"
    if not interface.ethernet:
        # What a program redirects needs a neighbour, which such a device has not.
        return f"interface {interface.name} cannot be an uplink: it is not Ethernet"
    return None


def _check_uplink(uplink: Interface, options: UpOptions) -> None:
    if why := why_no_uplink(uplink):
        raise UsageError(f"{why}; nothing was changed")
    name = uplink.name
    if not uplink.up:
        raise ConflictError(
            f"interface {name} is down, so the kernel takes no routes for it; nothing was changed",
            hint=f"`ip link set {name} up`, then try again",
        )
    if uplink.mtu < IPV6_MTU_MIN:
        raise ConflictError(
            f"interface {name} has an MTU of {uplink.mtu}, and below {IPV6_MTU_MIN} the kernel "
            "has no IPv6 on it; nothing was changed",
            hint=f"`ip link set {name} mtu 1500`, then try again",
        )
    if sysctls.read(name, "disable_ipv6"):
        raise ConflictError(
            f"IPv6 is switched off on interface {name}; nothing was changed",
            hint=f"`sysctl -w {sysctls.name(name, 'disable_ipv6')}=0`, then try again",
        )
    directions = [kind.attach_type for kind in UPLINK_TC]
    tc_order.require(options.tc_order, uplink.index, directions)


def check(
    instance: str, opened: Instance | None, options: UpOptions, orphans: Sequence[Endpoint] = ()
) -> None:
    """Raise if `up` would refuse, as far as that can be told without trying.

    Args:
        opened: the instance; None if it is not up.
        orphans: as for `up`.

    Raises:
        IlaxError: as `up`; nothing was touched.
    """
    _check_addresses(options)
    pins = PinFolder(instance)
    with Network() as network, ExitStack() as held:
        uplink, _ = _place(network, instance, options)
        if opened is not None:
            _check_upgrade(opened, options, orphans)
        slot = _slot(pins, options, uplink, held)
        if slot is not None:
            xdp_slot.require_free(pins, slot)
        elif options.xdp is not XdpMode.OFF:
            xdp_attach.without(network, pins.links, uplink.index, options.xdp)
        if options.tc is TcMode.CLSACT:
            for hook in uplink_hooks(uplink.index):
                clsact.require_preference(network, hook)


def _place(network: Network, instance: str, options: UpOptions) -> tuple[Interface, Survey]:
    """The uplink and the instances beside this one, if both allow it.

    Raises:
        NotFoundError, UsageError, ConflictError: why they do not; nothing was touched.
    """
    uplink = network.interface(options.uplink)
    _check_uplink(uplink, options)
    beside = others.survey(instance)
    others.refuse_shared(beside.at_work, uplink.index, options.fabric, options.tc)
    return uplink, beside


def _check_upgrade(opened: Instance, options: UpOptions, orphans: Sequence[Endpoint]) -> None:
    """Raise unless an instance that is up can be made to be as asked for.

    Raises:
        ConflictError, UsageError: why it cannot; nothing was touched.
    """
    opened.require_own_netns("bring it up again")
    _check_sizes(opened, options)
    _check_endpoints_fit(opened, options.fabric, orphans)
    fabric.check_fits(opened, options.fabric)


def _make_instance(pins: PinFolder, options: UpOptions, change: Transaction) -> None:
    if pins.other_versions():
        # Instance.open() says which contract that is.
        Instance.open(pins.instance).close()
    # What a killed `up` or `down` has left; without maps it is of no use.
    xdp_slot.leave(pins)
    pins.remove()
    change.on_failure(pins.remove)
    pins.create()
    _make_maps(pins, options)


def _make_maps(pins: PinFolder, options: UpOptions) -> None:
    """Create all maps, mark them, and let them appear at once."""
    remove_folder(pins.maps_new)
    pins.maps_new.mkdir(mode=0o700)
    with Object.open(schema.object_path("abi")) as obj:
        _size_maps(obj, options)
        obj.load()
        for name in MAP_NAMES:
            with obj.maps[name].open() as made:
                if name == "ilax_abi":
                    made.update(index_key(0), layout_check.abi_row())
                    made.freeze()
                if name == "ilax_config":
                    # So that even half an `up` knows its namespace.
                    table = Table(made)
                    row = table.new()[0]
                    row["netns"] = own_netns()
                    table.put(index_key(0), row)
                made.pin(pins.maps_new / name)
    pins.maps_new.rename(pins.maps)


def _size_maps(obj: Object, options: UpOptions) -> None:
    if options.max_endpoints:
        for name in ("ilax_endpoints", "ilax_ports", "ilax_devices"):
            obj.maps[name].set_max_entries(options.max_endpoints)
        obj.maps["ilax_traffic"].set_max_entries(options.max_endpoints + 1)
    if options.max_mappings:
        obj.maps["ilax_mappings"].set_max_entries(options.max_mappings)
    if options.max_limits:
        for name in ("ilax_limits", "ilax_backlogs", "ilax_cgroups"):
            obj.maps[name].set_max_entries(options.max_limits)


def _check_sizes(opened: Instance, options: UpOptions) -> None:
    for wanted, table, flag in (
        (options.max_endpoints, opened.endpoints, "--max-endpoints"),
        (options.max_mappings, opened.mappings, "--max-mappings"),
        (options.max_limits, opened.limits, "--max-limits"),
    ):
        if wanted and wanted != table.map.max_entries:
            raise ConflictError(
                f"{table.map.name} has room for {table.map.max_entries} rows, not {wanted}; "
                "nothing was changed",
                hint=f"a map cannot be resized: `ilax down` first, or leave {flag} out",
            )


def _check_endpoints_fit(opened: Instance, wanted: Fabric, orphans: Sequence[Endpoint]) -> None:
    """New prefixes must not orphan the endpoints that are there, but those that go."""
    going = {endpoint.sir for endpoint in _still_there(opened, orphans)}
    for endpoint in endpoints.read_all(opened):
        if endpoint.sir in going:
            continue
        if not any(endpoint.sir in prefix for prefix in wanted.sir_prefixes) or not (
            wanted.is_local(endpoint.wire)
        ):
            raise UsageError(
                f"endpoint {endpoint.sir} (wire address {endpoint.wire}) is outside of the new "
                "prefixes; nothing was changed"
            )
    current = fabric.survey(opened).fabric
    if current is None:
        return  # an `up` that was killed before it wrote its prefixes
    if (current.cbit, current.typed) != (wanted.cbit, wanted.typed) and (
        len(opened.endpoints.rows()[0]) or len(opened.mappings.rows()[0])
    ):
        raise ConflictError(
            "the rows of this instance were made with other --cbit or --typed; nothing was changed",
            hint="`ilax down` first: every wire address would be another one",
        )


def _still_there(opened: Instance, known: Sequence[Endpoint]) -> list[Endpoint]:
    """The rows of endpoints that were read before, but of those made anew since."""
    if not known:
        return []
    before = {endpoint.sir: endpoint for endpoint in known}
    rows = endpoints.read_all(opened)
    return [now for now in rows if now.sir in before and before[now.sir].is_still(now)]


def _previous(pins: PinFolder, name: str, held: ExitStack) -> Program | None:
    """The program that an earlier `up` left, to go back to."""
    path = pins.programs / name
    return held.enter_context(Program.open_pinned(path)) if path.exists() else None


def _attach_all(
    network: Network,
    pins: PinFolder,
    ifindex: int,
    programs: dict[str, Program],
    previous: dict[str, Program | None],
    options: UpOptions,
    slot: Slot | None,
    change: Transaction,
) -> UpResult:
    """Taker before giver: tc is in place before XDP hands packets over to it."""
    used = TcMode.AUTO
    for hook in uplink_hooks(ifindex):
        used = tc_attach.attach(
            network, pins.links, hook, programs[hook.program], options.tc, change,
            previous[hook.program], options.tc_order,
        )  # fmt: skip
    name = XDP_INGRESS.program
    if slot is not None:
        xdp_slot.attach(pins, slot, programs[name], change)
        change.on_success(xdp_attach.detach, pins.links)
        mode, note = XdpMode.CHAIN, _not_called(slot, ifindex)
    else:
        mode, note = xdp_attach.attach(
            network, pins.links, ifindex, programs[name], options.xdp, change, previous[name]
        )
        change.on_success(xdp_slot.leave, pins)
    return UpResult(fresh=True, xdp=mode, tc=used, notes=[note] if note else [])


def _slot(pins: PinFolder, options: UpOptions, uplink: Interface, held: ExitStack) -> Slot | None:
    """Where our XDP program is to be called from by a foreign one; None: from nowhere."""
    if options.xdp_chain is not None:
        return held.enter_context(Slot.open(options.xdp_chain))
    # On the hook and in a slot: of a killed `up` from one to the other.
    if options.xdp is not XdpMode.AUTO or xdp_attach.program_on(pins.links, uplink.index):
        return None
    slots = held.enter_context(xdp_slot.remembered(pins))
    # One that is not ours any more is somebody else's place.
    return next((s for s in slots if not s.program() or xdp_slot.holds_ours(pins, s)), None)


def _not_called(slot: Slot, ifindex: int) -> str | None:
    if slot.is_called_at(ifindex) is not False:
        return None
    return (
        f"no program on the XDP hook uses array {slot.array.name}: until one does, "
        "tc does the whole job"
    )


def _write_config(
    opened: Instance, uplink: Interface, options: UpOptions, change: Transaction
) -> None:
    """Prefixes, uplink and next hop; they are put back if the change fails."""
    old = opened.config.get(index_key(0))
    if old is not None:
        change.on_failure(opened.config.put, index_key(0), old)
    rows = prefix_rows.until_end(fabric.read_rows(opened))
    change.on_failure(fabric.write_rows, opened, rows)
    fabric.write(opened, options.fabric)
    row = opened.config.new()[0]
    row["netns"] = own_netns()
    row["uplink_ifindex"] = uplink.index
    row["uplink_mtu"] = uplink.mtu
    if options.gateway is not None:
        row["gateway"] = (options.gateway.prefix, options.gateway.identifier)
    opened.config.put(index_key(0), row)


def _put_host_address(
    network: Network, opened: Instance, options: UpOptions, change: Transaction
) -> None:
    if options.host_address is not None:
        endpoints.put_host(network, opened, options.host_address, change)


# --- the host's own traffic --------------------------------------------------


@dataclass(frozen=True)
class _Ways:
    """How the host's own traffic reaches SIR prefixes.

    Attributes:
        source: the host's own SIR address.
    """

    uplink: int
    sir_prefixes: tuple[Prefix, ...]
    source: Address | None


def _ways_of(opened: Instance) -> _Ways | None:
    """What an earlier `up` left; None if it was killed before it had begun."""
    row = opened.config.get(index_key(0))
    uplink = int(row["uplink_ifindex"]) if row is not None else 0
    # Also of rows that make no sense together: what was made for them has to go.
    known = fabric.sir_prefixes(prefix_rows.meant(fabric.read_rows(opened)))
    return _Ways(uplink, tuple(known), _source(opened)) if uplink else None


def _source(opened: Instance, but: Sequence[Endpoint] = ()) -> Address | None:
    """The host's own SIR address, the first of several."""
    going = {endpoint.sir for endpoint in but}
    return next(
        (
            endpoint.sir
            for endpoint in endpoints.read_all(opened)
            if endpoint.delivery == "host" and endpoint.sir not in going
        ),
        None,
    )


def _route(
    network: Network,
    ways: _Ways,
    before: _Ways | None,
    beside: Survey,
    change: Transaction,
) -> None:
    """Route the SIR prefixes by way of the uplink, instead of as before."""
    change.on_failure(_leave, network, ways, before, beside)
    if before is not None and network.interface_by_index(before.uplink) is not None:
        change.on_failure(_put_routes, network, before)
    if ways.source is not None and network.add_address(LOOPBACK, str(ways.source), 128):
        change.on_failure(network.delete_address, LOOPBACK, str(ways.source), 128)
    _put_routes(network, ways)


def _put_routes(network: Network, ways: _Ways) -> None:
    network.add_neighbour(ways.uplink, SIR_GATEWAY, SIR_GATEWAY_MAC)
    # The route names it as a source, so it has to be there before.
    source = str(ways.source) if ways.source else None
    for prefix in ways.sir_prefixes:
        # No other instance here has the prefix, so a route of ours is this one's.
        network.add_route(str(prefix), ways.uplink, gateway=SIR_GATEWAY, source=source, move=True)


def _leave(network: Network, before: _Ways, now: _Ways | None, beside: Survey) -> None:
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


def _forgotten(opened: Instance, options: UpOptions) -> list[str]:
    """What the last `up` was told and this one is not, so that it ends."""
    notes = []
    before, now = fabric.survey(opened).fabric, options.fabric
    if before is not None:  # else an `up` was killed before it wrote its prefixes
        for what, old, new in (
            ("SIR prefix", before.sir_prefixes, now.sir_prefixes),
            ("locator", before.locators, now.locators),
            ("block", before.blocks, now.blocks),
        ):
            notes += [
                f"{what} {prefix} is removed: this `up` did not name it"
                for prefix in old
                if prefix not in new
            ]
    row = opened.config.get(index_key(0))
    if row is not None and options.gateway is None:
        gateway = Address(*(int(half) for half in row["gateway"]))
        if gateway.is_unicast:
            notes.append(
                f"gateway {gateway} is removed: this `up` did not name it, so the kernel's "
                "routes decide"
            )
    return notes


def _advice(options: UpOptions) -> list[str]:
    notes = []
    if sysctls.read("all", "forwarding") != 1:
        notes.append(
            "net.ipv6.conf.all.forwarding is 0: this host will not answer with Time Exceeded or "
            "Packet Too Big, nor route between containers and other networks"
        )
    if not options.fabric.blocks:
        notes.append(
            "no --block: tasks can address the locators of other hosts, and errors that quote "
            "them are not translated back"
        )
    notes += [note for one in options.fabric.locators if (note := options.fabric.doubt(one))]
    return notes
