# SPDX-License-Identifier: Apache-2.0
"""Bringing an instance up, upgrading it in place, and taking it down.

`up` loads everything beside what runs, then attaches; a second `up` swaps the
programs inside their links, so no packet sees a hook without a program. What
fails before the first swap leaves the old state; what fails after it goes back.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ilax import attach, cgroup_attach, endpoints, fabric, layout_check, migration, schema
from ilax.address import Address
from ilax.attach import Hook, TcMode, XdpMode
from ilax.bpf import Map, Object, Program
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS
from ilax.errors import ConflictError, NotFoundError, UsageError
from ilax.fabric import Fabric
from ilax.instance import MAP_NAMES, Instance, own_netns
from ilax.kernel import require_kernel
from ilax.netlink import Interface, Network
from ilax.pins import PinFolder, ensure_bpffs, remove_folder
from ilax.privileges import require_capabilities
from ilax.tables import Table, index_key

# Object -> its one program; the name of the link or pin follows from it.
_OBJECTS = {
    "ingress": "ilax_uplink_xdp",
    "uplink_ingress": "ilax_uplink_in",
    "uplink_egress": "ilax_uplink_out",
    "container": endpoints.CONTAINER_PROGRAM,
    "cgroup_ingress": cgroup_attach.PROGRAM,
}

# The host's stack sends SIR destinations here; the uplink's egress program
# rewrites them and finds the real next hop. The address answers to nobody: a
# permanent neighbour keeps the kernel from asking for it.
SIR_GATEWAY = "fe80::11a"
_SIR_GATEWAY_MAC = bytes.fromhex("02000000011a")


@dataclass(frozen=True)
class UpOptions:
    """What `up` is asked for.

    Attributes:
        uplink: name of the interface towards the fabric.
        gateway: next hop for all wire addresses; None asks the kernel's routes
            for each packet.
        host_address: SIR address of the host's own processes.
        max_endpoints, max_mappings, max_limits: rows; used when the maps are made.
    """

    uplink: str
    fabric: Fabric
    gateway: Address | None = None
    host_address: Address | None = None
    xdp: XdpMode = XdpMode.AUTO
    tc: TcMode = TcMode.AUTO
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


def up(instance: str, options: UpOptions) -> UpResult:
    """Bring an instance up, or upgrade its programs in place.

    Raises:
        PrivilegeError: a capability is missing; nothing was touched.
        NotFoundError: there is no such uplink; nothing was touched.
        LayoutError: pinned maps of another contract; nothing was touched.
        VerifierError: the kernel refused a program; the old state runs on.
        ConflictError: a foreign XDP program, or another namespace's instance.
    """
    require_kernel()
    require_capabilities("bring an instance up")
    pins = PinFolder(instance)
    ensure_bpffs()
    with Network() as network, pins.lock(), ExitStack() as held, ExitStack() as undo:
        uplink = network.interface(options.uplink)
        fresh = not pins.maps.is_dir()
        if fresh:
            others = pins.other_versions()
            if others:
                # Instance.open() says which contract that is.
                Instance.open(instance).close()
            undo.callback(pins.remove)
        # Also for a second `up`: a killed `down` may have taken folders away.
        pins.create()
        if fresh:
            _make_maps(pins, options)
        older = None if fresh else migration.open_older(pins, partial(_size_maps, options=options))
        if older:
            undo.callback(remove_folder, pins.maps_new)
        with older or Instance.open(instance) as opened:
            if not fresh:
                opened.require_own_netns("bring it up again")
                _check_sizes(opened, options)
                _check_endpoints_fit(opened, options.fabric)
            programs = {name: held.enter_context(p) for name, p in _load(opened.maps).items()}
            if fresh:
                # Before the first packet; an upgrade changes them last.
                _write_config(opened, uplink, options)
            previous = {name: _previous(pins, name, held) for name in programs}
            result = _attach_all(network, pins, uplink.index, programs, previous, options, undo)
            result.fresh = fresh
            if fresh:
                undo.callback(_unroute, network, uplink.index)
            else:
                _leave_old_uplink(network, opened, uplink.index)
            host_address = options.host_address or _host_address(opened)
            _route_sir_prefixes(network, uplink.index, options.fabric, host_address)
            if not fresh:
                _write_config(opened, uplink, options)
            endpoints.swap_programs(
                network, opened, programs[endpoints.CONTAINER_PROGRAM], result.tc
            )
            cgroup_attach.swap(pins, programs[cgroup_attach.PROGRAM])
            for name, program in programs.items():
                pins.replace_program(name, program)
            if options.host_address is not None:
                endpoints.put_host(network, opened, options.host_address)
        if older:
            migration.move_in(pins)
        undo.pop_all()
    result.notes += _advice(options)
    return result


def down(instance: str, *, force: bool = False) -> None:
    """Take an instance down and leave nothing of it.

    Args:
        force: also from outside of its network namespace, whose routes and
            addresses then stay (the namespace may be gone).

    Raises:
        NotFoundError: it is not up.
        ConflictError: it serves another network namespace.
    """
    require_capabilities("take an instance down")
    pins = PinFolder(instance)
    if not pins.base.is_dir():
        raise NotFoundError(f"instance {instance} is not up; nothing was changed")
    with pins.lock():
        if pins.maps.is_dir():
            try:
                with migration.open_older(pins, lambda _: None) or Instance.open(
                    instance
                ) as opened:
                    _take_down(opened, force=force)
            except NotFoundError:
                # A map is missing: what is left has no use but to be removed.
                pass
        pins.remove()


def _take_down(opened: Instance, *, force: bool) -> None:
    row = opened.config.get(index_key(0))
    at_home = row is not None and int(row["netns"]) == own_netns()
    if not at_home and not force:
        opened.require_own_netns("take it down")
    if not at_home or row is None:
        return
    uplink = int(row["uplink_ifindex"])
    with Network() as network:
        # XDP first: from then on tc does the whole job until it is gone, too.
        (opened.pins.links / "xdp_ingress").unlink(missing_ok=True)
        endpoints.remove_all(network, opened)
        for hook in _uplink_hooks(uplink):
            attach.detach_tc(network, opened.pins.links, hook)
        _unroute(network, uplink)


def _uplink_hooks(ifindex: int) -> tuple[Hook, Hook]:
    return (
        Hook("uplink_ingress", ifindex, TCX_INGRESS),
        Hook("uplink_egress", ifindex, TCX_EGRESS),
    )


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
        for name in ("ilax_limits", "ilax_backlogs", "ilax_policed", "ilax_cgroups"):
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


def _check_endpoints_fit(opened: Instance, wanted: Fabric) -> None:
    """New prefixes must not orphan the endpoints that are there."""
    for endpoint in endpoints.read_all(opened):
        if not any(endpoint.sir in prefix for prefix in wanted.sir_prefixes) or not (
            wanted.is_local(endpoint.wire)
        ):
            raise UsageError(
                f"endpoint {endpoint.sir} (wire address {endpoint.wire}) is outside of the new "
                "prefixes; nothing was changed"
            )
    try:
        current = fabric.read(opened)
    except ConflictError:
        return  # an `up` that was killed before it wrote its prefixes
    if (current.cbit, current.typed) != (wanted.cbit, wanted.typed) and (
        len(opened.endpoints.rows()[0]) or len(opened.mappings.rows()[0])
    ):
        raise ConflictError(
            "the rows of this instance were made with other --cbit or --typed; nothing was changed",
            hint="`ilax down` first: every wire address would be another one",
        )


def _load(maps: dict[str, Map]) -> dict[str, Program]:
    """All programs over the pinned maps, attached to nothing yet."""
    programs = {}
    for object_name, program_name in _OBJECTS.items():
        with Object.open(schema.object_path(object_name)) as obj:
            obj.reuse_maps(maps)
            obj.load()
            programs[program_name] = obj.programs[program_name].open()
    return programs


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
    undo: ExitStack,
) -> UpResult:
    """Taker before giver: tc is in place before XDP hands packets over to it."""
    into, out = _uplink_hooks(ifindex)
    used = TcMode.AUTO
    for hook, name in ((into, "ilax_uplink_in"), (out, "ilax_uplink_out")):
        old = previous[name]
        if old is None:
            undo.callback(attach.detach_tc, network, pins.links, hook)
        else:
            undo.callback(attach.attach_tc, network, pins.links, hook, old, options.tc)
        used = attach.attach_tc(network, pins.links, hook, programs[name], options.tc)
    pin = pins.links / "xdp_ingress"
    mode, note = attach.attach_xdp(network, pin, ifindex, programs["ilax_uplink_xdp"], options.xdp)
    old = previous["ilax_uplink_xdp"]
    if old is None:
        undo.callback(pin.unlink, missing_ok=True)
    elif mode is not XdpMode.OFF:
        undo.callback(attach.attach_xdp, network, pin, ifindex, old, mode)
    return UpResult(fresh=True, xdp=mode, tc=used, notes=[note] if note else [])


def _leave_old_uplink(network: Network, opened: Instance, ifindex: int) -> None:
    """After a move to another uplink: its links moved, routes and filters did not."""
    row = opened.config.get(index_key(0))
    old = int(row["uplink_ifindex"]) if row is not None else 0
    if old and old != ifindex and network.interface_by_index(old) is not None:
        for hook in _uplink_hooks(old):
            attach.remove_filter(network, hook)
        _unroute(network, old)


def _write_config(opened: Instance, uplink: Interface, options: UpOptions) -> None:
    fabric.write(opened, options.fabric)
    row = opened.config.new()[0]
    row["netns"] = own_netns()
    row["uplink_ifindex"] = uplink.index
    row["uplink_mtu"] = uplink.mtu
    if options.gateway is not None:
        row["gateway"] = (options.gateway.prefix, options.gateway.identifier)
    opened.config.put(index_key(0), row)


def _host_address(opened: Instance) -> Address | None:
    """The address that an earlier `up` gave to the host."""
    return next((e.sir for e in endpoints.read_all(opened) if e.delivery == "host"), None)


def _route_sir_prefixes(
    network: Network, ifindex: int, known: Fabric, host_address: Address | None
) -> None:
    network.add_neighbour(ifindex, SIR_GATEWAY, _SIR_GATEWAY_MAC)
    if host_address is not None:
        # The route names it as a source, so it has to be there before.
        network.add_address(1, str(host_address), 128)
    source = str(host_address) if host_address else None
    for prefix in known.sir_prefixes:
        network.add_route(str(prefix), ifindex, gateway=SIR_GATEWAY, source=source)


def _unroute(network: Network, ifindex: int) -> None:
    if network.interface_by_index(ifindex) is not None:
        network.delete_routes_by(ifindex)
        network.delete_neighbour(ifindex, SIR_GATEWAY)


def _advice(options: UpOptions) -> list[str]:
    notes = []
    if Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text().strip() != "1":
        notes.append(
            "net.ipv6.conf.all.forwarding is 0: this host will not answer with Time Exceeded or "
            "Packet Too Big, nor route between containers and other networks"
        )
    if not options.fabric.blocks:
        notes.append(
            "no --block: tasks can address the locators of other hosts, and errors that quote "
            "them are not translated back"
        )
    return notes
