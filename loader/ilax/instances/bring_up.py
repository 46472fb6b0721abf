# SPDX-License-Identifier: Apache-2.0
"""Bringing an instance up, or upgrading it in place.

`up` loads everything beside what runs, then attaches; a second `up` swaps the
programs inside their links, so no packet sees a hook without a program. What
fails before the first swap leaves the old state; what fails after it goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from ilax.address import Address
from ilax.bpf import Program
from ilax.contract.tables import index_key
from ilax.endpoint import containers, endpoints
from ilax.endpoint.endpoints import Endpoint
from ilax.hooks import cgroup_attach, program_set, tc_attach, xdp_attach, xdp_slot
from ilax.hooks.modes import TcMode, XdpMode
from ilax.hooks.places import CGROUP, CONTAINER, XDP_INGRESS, uplink_hooks
from ilax.hooks.xdp_slot import Slot
from ilax.instances import new_maps, sir_routes, up_checks
from ilax.instances.instance import Instance, own_netns
from ilax.instances.pins import PinFolder, ensure_bpffs
from ilax.instances.sir_routes import Ways
from ilax.instances.transaction import Transaction
from ilax.instances.up_options import UpOptions, UpResult, check_addresses
from ilax.system import sysctls
from ilax.system.kernel import require_kernel
from ilax.system.netlink import Interface, Network
from ilax.system.privileges import require_capabilities
from ilax.translation import fabric, prefix_rows
from ilax.upgrades import migration


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
    check_addresses(options)
    ensure_bpffs()


def up_held(instance: str, options: UpOptions, orphans: Sequence[Endpoint] = ()) -> UpResult:
    """`up` by whoever holds the lock and has called `prepare`; raises as `up` does."""
    pins = PinFolder(instance)
    with Network() as network, ExitStack() as held, Transaction() as change:
        uplink, beside = up_checks.place(network, instance, options)
        fresh = not pins.maps.is_dir()
        if fresh:
            new_maps.make_instance(pins, options, change)
        size = partial(new_maps.size_maps, options=options)
        older = None if fresh else migration.open_older(pins, size, change)
        opened = held.enter_context(older or Instance.open(instance))
        if not fresh:
            up_checks.check_upgrade(opened, options, orphans)
            # A killed `down` may have taken folders away.
            pins.create()
        slot = up_checks.slot_for(pins, options, uplink, held)
        linear = slot is not None and not slot.takes_frags()
        loaded = program_set.load(opened.maps, linear=linear)
        programs = {name: held.enter_context(p) for name, p in loaded.items()}
        previous = {name: _previous(pins, name, held) for name in programs}
        if fresh:
            # Before the first packet; an upgrade changes them last.
            _write_config(opened, uplink, options, change)
        ways = Ways(uplink.index, options.fabric.sir_prefixes, options.host_address)
        before = None if fresh else sir_routes.ways_of(network, opened)
        forgotten = [] if fresh else _forgotten(opened, options)
        if before is not None and ways.source is None:
            ways = replace(ways, source=sir_routes.source_of(network, opened, but=orphans))
        result = _attach_all(network, pins, uplink.index, programs, previous, options, slot, change)
        result.fresh = fresh
        if fresh:
            # By its row the address is known to be ours, and routes name it.
            _put_host_address(network, opened, options, change)
        sir_routes.route(network, ways, before, beside, change)
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
            change.on_success(sir_routes.leave, network, before, ways, beside)
        if older is not None:
            change.on_success(migration.move_in, pins)
        for endpoint in up_checks.still_there(opened, orphans):
            # Last: until then a failure keeps what it is about to disconnect.
            change.on_success(containers.take_away, network, opened, endpoint)
    result.notes += forgotten + _advice(options)
    return result


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
