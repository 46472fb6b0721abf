# SPDX-License-Identifier: Apache-2.0
"""Endpoints: the tasks that this host delivers to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.address import Address
from ilax.bpf import Program, wait_for_programs
from ilax.bpf.map import ANY, EXIST, NO_EXIST
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.errors import AddressError, ConflictError, MapFullError, NotFoundError
from ilax.hooks import tc_attach
from ilax.hooks.modes import TcMode, tc_in_force
from ilax.hooks.places import CONTAINER
from ilax.instances.transaction import Transaction
from ilax.system.netlink import LOOPBACK, interface_names
from ilax.translation import fabric, mappings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ilax.contract.tables import Table
    from ilax.instances.instance import Instance
    from ilax.system.netlink import Interface, Network
    from ilax.translation.fabric import Fabric

# Host-side devices are named by this and a number, and known by their alias.
DEVICE_PREFIX = "iltask"

# The contract's mtu field has 16 bits; 0 means "not checked".
_MTU_MAX = 0xFFFF
_GENERATION_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of `ilax_endpoints`.

    Attributes:
        delivery: "stack", "xdp" or "host".
        ifindex: host-side device, 0 for "host".
        mac, host_mac: 6 bytes each, of the container's and the host's side.
        mtu: bytes of an IPv6 packet, 0 = not checked.
        slot: row of `ilax_traffic`.
        limit: row of `ilax_limits`, 0 = not limited.
        owns_link: ilax made the device (or the address) and removes it again.
    """

    sir: Address
    wire: Address
    delivery: str
    ifindex: int
    mac: bytes
    host_mac: bytes
    mtu: int
    slot: int
    generation: int
    owns_link: bool
    limit: int = 0

    def is_still(self, now: Endpoint) -> bool:
        """Whether a row that was read later is this task's, and not of one made since.

        Its limit and delivery may be others. A host's address has nothing but its
        generation to be told by.
        """
        made = (self.sir, self.wire, self.ifindex, self.mac)
        same = made == (now.sir, now.wire, now.ifindex, now.mac)
        return same and (self.ifindex != 0 or self.generation == now.generation)


def deliveries() -> dict[str, int]:
    """Ways of delivery by the name that the CLI uses."""
    return {
        name.removeprefix("ILAX_DELIVERY_").lower(): value
        for name, value in schema.enum("ilax_delivery").items()
    }


def _from_row(row: np.void) -> Endpoint:
    (endpoint,) = _from_rows(row.reshape(1))
    return endpoint


def _from_rows(rows: NDArray[np.void]) -> list[Endpoint]:
    """By SIR address. Whole columns are read: a field of a row takes a microsecond."""
    names = {value: name for name, value in deliveries().items()}
    owns = schema.enum("ilax_endpoint_flag")["ILAX_ENDPOINT_OWNS_LINK"]

    def addresses(name: str) -> Iterator[Address]:
        halves = rows[name]
        return map(Address, halves["prefix"].tolist(), halves["identifier"].tolist())

    plain = ("ifindex", "mtu", "slot", "generation", "flags", "limit")
    found = [
        Endpoint(
            sir=sir,
            wire=wire,
            delivery=names.get(delivery, str(delivery)),
            ifindex=ifindex,
            mac=bytes(mac),
            host_mac=bytes(host_mac),
            mtu=mtu,
            slot=slot,
            generation=generation,
            owns_link=bool(flags & owns),
            limit=limit,
        )
        for sir, wire, delivery, mac, host_mac, ifindex, mtu, slot, generation, flags, limit in zip(
            addresses("sir"),
            addresses("wire"),
            *(rows[name].tolist() for name in ("delivery", "mac", "host_mac", *plain)),
            strict=True,
        )
    ]
    return sorted(found, key=lambda e: e.sir)


def read_all(instance: Instance) -> list[Endpoint]:
    """All endpoints, by SIR address."""
    return read_table(instance.endpoints)


def read_table(table: Table) -> list[Endpoint]:
    """The same of an open `ilax_endpoints`."""
    return _from_rows(table.rows()[1])


def read_limited(instance: Instance) -> list[Endpoint]:
    """Endpoints that name a limit, by SIR address."""
    _, rows = instance.endpoints.rows()
    return _from_rows(rows[rows["limit"] != 0])


def get(instance: Instance, wire: Address) -> Endpoint | None:
    """The endpoint of a wire address, or None."""
    row = instance.endpoints.get(wire.packed)
    return None if row is None else _from_row(row)


def find(instance: Instance, sir: Address) -> Endpoint:
    """The endpoint with a SIR address.

    Raises:
        UsageError: there is none, and none could have it.
        NotFoundError: there is none.
    """
    known = fabric.survey(instance).fabric
    for wire in _wires(known, sir) if known else ():
        found = get(instance, wire)
        if found is not None and found.sir == sir:
            return found
    # A row that another writer made may be of any address, and stand under any key.
    for row in _with_sir(instance, sir):
        return _from_row(row)
    if known:
        known.check_sir(sir)
    raise NotFoundError(f"no endpoint {sir} in instance {instance.name}; nothing was changed")


def _wires(known: Fabric, sir: Address) -> list[Address]:
    """Where an endpoint should stand; nowhere if no task can have the address."""
    try:
        return [known.to_wire(sir, locator) for locator in known.locators]
    except AddressError:
        return []


def exists(instance: Instance, sir: Address) -> bool:
    """Whether an endpoint has a SIR address, under whatever key."""
    return len(_with_sir(instance, sir)) > 0


def _with_sir(instance: Instance, sir: Address) -> NDArray[np.void]:
    """Rows with a SIR address, found without making objects of all others."""
    _, rows = instance.endpoints.rows()
    halves = rows["sir"]
    same = (halves["prefix"] == sir.prefix) & (halves["identifier"] == sir.identifier)
    found: NDArray[np.void] = rows[same]
    return found


def free_slot(instance: Instance) -> int:
    """A row of `ilax_traffic` that no endpoint uses, zeroed; 0 if all are used.

    Loaders hold the instance's lock until the endpoint is written. A daemon that
    does without may take the same slot: the traffic of both is then counted
    together, and nothing else happens.
    """
    _, rows = instance.endpoints.rows()
    used = set(rows["slot"].tolist())
    for slot in range(1, instance.traffic.map.max_entries):
        if slot not in used:
            zero = bytes(instance.traffic.map.value_bytes)
            instance.traffic.map.update(index_key(slot), zero)
            return slot
    return 0


def put(instance: Instance, endpoint: Endpoint, *, replace: bool = False) -> None:
    """Write the row; the packets that come from then on are delivered.

    Args:
        replace: whatever row is there; then this takes some 20 ms (`retire`).

    Raises:
        ConflictError: the wire address is taken; the row there was not changed.
        MapFullError: no room for another endpoint.
    """
    _write(instance, endpoint, ANY if replace else NO_EXIST)


def rewrite(instance: Instance, endpoint: Endpoint) -> None:
    """Change the row of an endpoint that is there, in some 20 ms (`retire`).

    Raises:
        ConflictError: it is gone; nothing was written.
    """
    _write(instance, endpoint, EXIST)


def _write(instance: Instance, endpoint: Endpoint, flags: int) -> None:
    row = instance.endpoints.new()[0]
    row["wire"] = (endpoint.wire.prefix, endpoint.wire.identifier)
    row["sir"] = (endpoint.sir.prefix, endpoint.sir.identifier)
    row["ifindex"] = endpoint.ifindex
    row["slot"] = endpoint.slot
    row["limit"] = endpoint.limit
    row["generation"] = endpoint.generation & _GENERATION_MAX
    row["mtu"] = endpoint.mtu if endpoint.mtu <= _MTU_MAX else 0
    known = deliveries()
    # A number: what another daemon has written, and is not what changes.
    delivery = endpoint.delivery
    row["delivery"] = known[delivery] if delivery in known else int(delivery)
    row["mac"] = list(endpoint.mac)
    row["host_mac"] = list(endpoint.host_mac)
    if endpoint.owns_link:
        row["flags"] = schema.enum("ilax_endpoint_flag")["ILAX_ENDPOINT_OWNS_LINK"]
    try:
        instance.endpoints.put(endpoint.wire.packed, row, flags)
    except MapFullError as error:
        raise MapFullError(
            f"add endpoint {endpoint.sir} to map ilax_endpoints", error.errno, 0
        ) from error
    if flags != NO_EXIST:
        wait_for_programs()


def retire(instance: Instance, wire: Address) -> None:
    """Remove the row, and return when no program can still hold it.

    The kernel gives the room of a row that was removed or replaced to the next one that
    is written. Without this a program that has looked the old one up could read half of
    another task's row and deliver to that task. Loaders hold the instance's lock
    meanwhile, so nobody else writes a row too early.
    """
    instance.endpoints.delete(wire.packed)
    wait_for_programs()


def host_row(instance: Instance, sir: Address) -> Endpoint | None:
    """The row of an address of the host; None if there is none.

    Raises:
        ConflictError: a container has the address.
    """
    # By SIR address: an earlier `up` may have made it at another locator.
    existing = next((endpoint for endpoint in read_all(instance) if endpoint.sir == sir), None)
    if existing is not None and existing.delivery != "host":
        raise ConflictError(
            f"{sir} is a container's endpoint; nothing was changed",
            hint=f"`ilax endpoint del {sir}` first",
        )
    return existing


def put_host(
    network: Network, instance: Instance, sir: Address, change: Transaction, limit: int = 0
) -> Endpoint:
    """Make `sir` an address of the host's own processes, as a step of a change.

    The address stands on the loopback interface; packets for it are rewritten
    and given to the host's stack. An address that is there keeps its limit.

    Args:
        limit: row of `ilax_limits`, 0 = none.
    """
    known = fabric.read(instance)
    known.check_sir(sir)
    existing = host_row(instance, sir)
    wire = known.to_wire(sir) if existing is None else existing.wire
    slot, generation = free_slot(instance), 1
    if existing is not None:
        slot, generation = existing.slot, existing.generation + 1
        limit = limit or existing.limit
        change.on_failure(put, instance, existing, replace=True)
    endpoint = Endpoint(
        sir, wire, "host", 0, bytes(6), bytes(6), 0, slot, generation, owns_link=True, limit=limit
    )
    publish(instance, endpoint, change, replace=existing is not None)
    # By its row it is known to be ours, also to those who come after a kill.
    if network.add_address(LOOPBACK, str(sir), 128):
        change.on_failure(network.delete_address, LOOPBACK, str(sir), 128)
    return endpoint


def publish(
    instance: Instance, endpoint: Endpoint, change: Transaction, *, replace: bool = False
) -> None:
    """The rows by which others reach an endpoint: last, or they would lead nowhere."""
    put(instance, endpoint, replace=replace)
    if not replace:
        change.on_failure(retire, instance, endpoint.wire)
    previous = mappings.put_local(instance, endpoint.sir, endpoint.wire)
    change.on_failure(mappings.restore, instance, endpoint.sir, previous)


def put_port(
    instance: Instance, ifindex: int, sir: Address, slot: int, *, any_source: bool
) -> None:
    """Let a device send: as `sir` only, unless `any_source`."""
    row = instance.ports.new()[0]
    row["sir"] = (sir.prefix, sir.identifier)
    row["slot"] = slot
    row["flags"] = schema.enum("ilax_port_flag")["ILAX_PORT_ANY_SOURCE"] if any_source else 0
    instance.ports.put(index_key(ifindex), row)


def attach_program(network: Network, instance: Instance, ifindex: int, change: Transaction) -> None:
    """Put the pinned container program on a device, as a step of a change."""
    links = instance.pins.links
    # As on the uplink: an instance uses one way of attaching throughout.
    mode = TcMode.AUTO if tc_in_force(links) is TcMode.TCX else TcMode.CLSACT
    with Program.open_pinned(instance.pins.programs / CONTAINER.program) as program:
        tc_attach.attach(network, links, CONTAINER.at(ifindex), program, mode, change)


def swap_programs(
    network: Network,
    instance: Instance,
    program: Program,
    mode: TcMode,
    change: Transaction,
    previous: Program | None,
) -> None:
    """Put a new container program on every port whose device is there."""
    present = interface_names()
    keys, _ = instance.ports.rows()
    for ifindex in keys.tolist():
        if ifindex in present:
            hook = CONTAINER.at(ifindex)
            tc_attach.attach(network, instance.pins.links, hook, program, mode, change, previous)


def remove(network: Network, instance: Instance, endpoint: Endpoint) -> None:
    """Undo an endpoint: rows first, so that nothing is sent to a dying device.

    What is gone already is fine, so a half-removed endpoint can be removed
    again.
    """
    _remove(network, instance, endpoint)
    wait_for_programs()


def _remove(network: Network, instance: Instance, endpoint: Endpoint) -> None:
    host = endpoint.delivery == "host"
    if host and endpoint.owns_link:
        # By its row only the address is known to be ours.
        network.delete_address(LOOPBACK, str(endpoint.sir), 128)
    for key in _keys(instance, endpoint):
        instance.endpoints.delete(key)
    mappings.delete_local(instance, endpoint.sir, endpoint.wire)
    if host:
        return
    device = network.interface_by_index(endpoint.ifindex)
    if device is not None and _is_anothers(instance, device, endpoint):
        return  # with its port and its program; a row may say anything
    if device is not None and endpoint.owns_link and _made_it(network, instance, device, endpoint):
        # The device before its program: a container is never without checks.
        network.delete_interface(endpoint.ifindex)
        device = None
    hook = CONTAINER.at(endpoint.ifindex)
    if device is not None:
        network.delete_route(f"{endpoint.sir}/128", endpoint.ifindex)
        network.delete_neighbour(endpoint.ifindex, str(endpoint.sir))
        tc_attach.detach(network, instance.pins.links, hook, CONTAINER.program)
        instance.ports.delete(index_key(endpoint.ifindex))
        instance.devices.delete(index_key(endpoint.ifindex))
    else:
        forget_port(instance, endpoint.ifindex)


def _is_anothers(instance: Instance, device: Interface, endpoint: Endpoint) -> bool:
    """Whether a device says that it is of another endpoint of ours."""
    own = link_alias(instance.name, endpoint.sir)
    return device.alias.startswith(link_alias(instance.name, "")) and device.alias != own


def _made_it(network: Network, instance: Instance, device: Interface, endpoint: Endpoint) -> bool:
    """Whether a device is the one that was made for an endpoint.

    Its alias says so; and where somebody has written another one, our program on it.
    """
    return device.alias == link_alias(instance.name, endpoint.sir) or tc_attach.is_attached(
        network, instance.pins.links, CONTAINER.at(device.index), CONTAINER.program
    )


def _keys(instance: Instance, endpoint: Endpoint) -> list[bytes]:
    """Where an endpoint stands: under its wire address, unless another writer made it."""
    here = get(instance, endpoint.wire)
    if here is not None and here.sir == endpoint.sir:
        return [endpoint.wire.packed]
    keys, rows = instance.endpoints.rows()
    return [
        key.tobytes() for key, row in zip(keys, rows, strict=True) if _from_row(row) == endpoint
    ]


def remove_all(network: Network, instance: Instance) -> None:
    """Undo every endpoint of an instance, and what killed loaders left of others."""
    for endpoint in read_all(instance):
        _remove(network, instance, endpoint)
    remove_devices(network, instance.name)
    sweep_ports(instance)
    keys, _ = instance.ports.rows()
    for ifindex in keys.tolist():
        tc_attach.detach(network, instance.pins.links, CONTAINER.at(ifindex), CONTAINER.program)
        instance.ports.delete(index_key(ifindex))


def remove_devices(network: Network, instance: str) -> None:
    """Remove all container devices of an instance, known by their alias."""
    for device in network.interfaces():
        if device.alias.startswith(link_alias(instance, "")) or is_unfinished(device):
            network.delete_interface(device.index)


def sweep_ports(instance: Instance) -> None:
    """Forget ports whose device is gone: the trace of a killed loader or container."""
    present = interface_names()
    keys, _ = instance.ports.rows()
    for ifindex in keys.tolist():
        if ifindex not in present:
            forget_port(instance, ifindex)


def forget_port(instance: Instance, ifindex: int) -> None:
    """Forget a port whose device is gone."""
    tc_attach.detach(None, instance.pins.links, CONTAINER.at(ifindex))
    instance.devices.delete(index_key(ifindex))
    instance.ports.delete(index_key(ifindex))


def is_unfinished(device: Interface) -> bool:
    """A device whose loader was killed before it could write the alias.

    Loaders that live hold the lock until the alias is there.
    """
    return (
        not device.alias
        and not device.up
        and device.kind in ("veth", "netkit")
        and device.name.startswith(DEVICE_PREFIX)
    )


def link_alias(instance: str, sir: Address | str) -> str:
    """Written on devices that we make; only such a device is ever deleted."""
    return f"ilax:{instance}:{sir}"
