# SPDX-License-Identifier: Apache-2.0
"""Connecting a container: pair of devices, addresses, routes, rows. All or nothing."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ilax.address import Address
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.endpoint.endpoints import Endpoint
from ilax.errors import ConflictError, NotFoundError, SystemCallError, UsageError
from ilax.hooks import tc_attach
from ilax.hooks.places import CONTAINER
from ilax.instances import sir_routes
from ilax.instances.instance import Instance, own_netns
from ilax.instances.transaction import Transaction
from ilax.limiting import limits
from ilax.system import sysctls
from ilax.system.cgroups import Cgroup
from ilax.system.ethtool import driver_of, turn_gro_on
from ilax.system.netlink import (
    LOOPBACK,
    Interface,
    Network,
    inside,
    interface_names,
    namespace_path,
    random_mac,
)
from ilax.system.privileges import require_capabilities
from ilax.translation import fabric

# The host's address on every container link, and the container's next hop.
GATEWAY = "fe80::1"


@dataclass(frozen=True)
class AddOptions:
    """How to connect one container.

    Attributes:
        sir: its address for life.
        netns: name, path or process number of its network namespace.
        device: name of the interface inside.
        delivery: "stack" or "xdp".
        mtu: bytes, 0 = as the uplink.
        any_source: let it send with any source address.
        cgroup: whose limit counts for what it receives.
        link: kind of the pair of devices: "veth" or "netkit".
    """

    sir: Address
    netns: str
    device: str = "eth0"
    delivery: str = "stack"
    mtu: int = 0
    any_source: bool = False
    cgroup: Cgroup | None = None
    link: str = "veth"


def add(instance: Instance, options: AddOptions, *, swept: bool = False) -> Endpoint:
    """Connect a container. If any step fails, all steps are undone.

    Args:
        swept: `sweep` has been called for this address, and need not be again.

    Raises:
        UsageError, AddressError: the address cannot be a task's, or the device's
            name not a device's; or the namespace is the host's own.
        ConflictError: the address, or a route or device of the container, is
            taken.
        NotFoundError: there is no such namespace.
        MapFullError: no room for another endpoint.
    """
    require_capabilities("connect a container", admin=True)
    instance.require_own_netns("connect a container")
    check_device_name(options.device)
    check_delivery(options.delivery, options.link)
    path = namespace_path(options.netns)
    if path.stat().st_ino == own_netns():
        raise UsageError(
            f"network namespace {options.netns} is the host's own; nothing was changed",
            hint="use --host for an address of the host's own processes",
        )
    with instance.locked(), Network() as network, Transaction() as change:
        # Under the lock: an `up` that was waited for may have changed the prefixes.
        known = fabric.read(instance)
        known.check_sir(options.sir)
        wire = known.to_wire(options.sir)
        _refuse_taken(instance, wire, options.sir)
        limit = limits.claim(instance, options.cgroup, change)
        if not swept:
            _sweep(network, instance, {options.sir})
        uplink = int(instance.config.get(index_key(0))["uplink_ifindex"])  # type: ignore[index]
        uplink_device = network.interface_by_index(uplink)
        mtu = options.mtu or (uplink_device.mtu if uplink_device else 1500)
        alias = endpoints.link_alias(instance.name, options.sir)
        host, inner = _make_link(network, options, alias, path, mtu, change)

        endpoint = Endpoint(
            sir=options.sir,
            wire=wire,
            delivery=options.delivery,
            ifindex=host.index,
            mac=inner.mac,
            host_mac=host.mac,
            mtu=mtu,
            slot=endpoints.free_slot(instance),
            generation=1,
            owns_link=True,
            limit=limit,
        )
        _guard(network, instance, endpoint, options, change)
        sysctls.enable_ipv6(host.name)
        _ignore_advertisements(host.name)
        # Only now can the container send: there is no moment without checks.
        network.set_up(host.index)
        network.add_address(host.index, GATEWAY, 64)
        network.add_neighbour(host.index, str(options.sir), inner.mac)
        network.add_route(f"{options.sir}/128", host.index)
        endpoints.publish(instance, endpoint, change)
    return endpoint


def add_host(instance: Instance, sir: Address, cgroup: Cgroup | None = None) -> Endpoint:
    """Make `sir` an address of the host's own processes. All or nothing.

    Args:
        cgroup: whose limit counts for what it receives; None keeps what it has.

    Raises:
        UsageError, AddressError: the address cannot be a task's.
        ConflictError: a container has the address.
        MapFullError: no room for another endpoint, mapping or limit.
    """
    require_capabilities("add an address of the host")
    instance.require_own_netns("add an address of the host")
    with instance.locked(), Network() as network, Transaction() as change:
        limit = limits.claim(instance, cgroup, change)
        before = next((e.limit for e in endpoints.read_limited(instance) if e.sir == sir), 0)
        endpoint = endpoints.put_host(network, instance, sir, change, limit)
        # If it is taken back, the kernel takes it out of the routes as well.
        sir_routes.renew_source(network, instance)
        # A slot that it named before may be nobody's now.
        if before != endpoint.limit:
            change.on_success(limits.endpoint_gone, instance, before)
    return endpoint


def change(
    instance: Instance,
    sir: Address,
    *,
    delivery: str | None = None,
    any_source: bool | None = None,
) -> Endpoint:
    """Change a container's endpoint while its packets pass. None keeps what it has.

    Args:
        delivery: "stack" or "xdp".

    Raises:
        NotFoundError: there is no such endpoint, or its device is gone.
        UsageError: it is an address of the host, or packets cannot be delivered that way.
        MapFullError: no room for another device of XDP; nothing was changed.
    """
    require_capabilities("change an endpoint")
    instance.require_own_netns("change an endpoint")
    with instance.locked():
        endpoint = endpoints.find(instance, sir)
        key = index_key(endpoint.ifindex)
        device, now = _port(instance, endpoint)
        changed = replace(
            endpoint,
            delivery=delivery or endpoint.delivery,
            generation=endpoint.generation + 1,
        )
        if changed.delivery == "xdp":
            check_delivery("xdp", driver_of(device))
            instance.devices.update(key, key)
        endpoints.put_port(
            instance,
            endpoint.ifindex,
            sir,
            endpoint.slot,
            any_source=now if any_source is None else any_source,
        )
        endpoints.rewrite(instance, changed)
        if changed.delivery != "xdp":
            # Nobody holds the old row any more, by which the device is looked up.
            instance.devices.delete(key)
    return changed


def _port(instance: Instance, endpoint: Endpoint) -> tuple[str, bool]:
    """The device of a container, and whether it may send with any source.

    Raises:
        UsageError: it is no container.
        NotFoundError: its device is gone.
    """
    if endpoint.delivery == "host":
        raise UsageError(
            f"endpoint {endpoint.sir} is an address of the host: delivery and source checks "
            "have no meaning for it; nothing was changed"
        )
    port = instance.ports.get(index_key(endpoint.ifindex))
    device = interface_names().get(endpoint.ifindex)
    if port is None or device is None:
        raise NotFoundError(
            f"the device of endpoint {endpoint.sir} is gone; nothing was changed",
            hint=f"`ilax endpoint del {endpoint.sir}` and add it again",
        )
    return device, bool(port["flags"])


def check_device_name(name: str) -> None:
    """Raise unless an interface can have a name.

    Raises:
        UsageError: it cannot.
    """
    # As dev_valid_name() of the kernel, in ASCII; `%` would be a template to it.
    if not re.fullmatch(r"[!-~]{1,15}", name) or set("/:%") & set(name) or name in (".", ".."):
        raise UsageError(f"{name!r} is no name for an interface; nothing was changed")


def check_delivery(delivery: str, link: str) -> None:
    """Raise unless packets can be delivered that way into a link of a kind.

    Raises:
        UsageError: they cannot.
    """
    if link == "netkit" and delivery == "xdp":
        raise UsageError(
            "XDP cannot redirect into a netkit device; nothing was changed",
            hint="deliver to the stack, or take a veth",
        )


def delete(instance: Instance, sir: Address) -> Endpoint:
    """Disconnect a container (or a host address) and remove what `add` made.

    Raises:
        NotFoundError: there is no such endpoint.
    """
    require_capabilities("disconnect a container")
    instance.require_own_netns("disconnect a container")
    with instance.locked(), Network() as network:
        endpoint = endpoints.find(instance, sir)
        take_away(network, instance, endpoint)
    return endpoint


def delete_known(instance: Instance, known: Endpoint) -> bool:
    """`delete` an endpoint that was read before; one made anew since stays.

    Returns:
        Whether there is none with its address now.
    """
    require_capabilities("disconnect a container")
    instance.require_own_netns("disconnect a container")
    with instance.locked(), Network() as network:
        try:
            now = endpoints.find(instance, known.sir)
        except (NotFoundError, UsageError):
            return True
        if not known.is_still(now):
            return False
        take_away(network, instance, now)
    return True


def take_away(network: Network, instance: Instance, endpoint: Endpoint) -> None:
    """`delete` by whoever holds the lock."""
    endpoints.remove(network, instance, endpoint)
    limits.endpoint_gone(instance, endpoint.limit)
    if endpoint.delivery == "host":
        # The routes that named it name none now.
        sir_routes.renew_source(network, instance)


def _refuse_taken(instance: Instance, wire: Address, sir: Address) -> None:
    # By SIR address, too: an earlier `up` may have made it at another locator.
    if endpoints.exists(instance, sir) or instance.endpoints.get(wire.packed) is not None:
        raise ConflictError(
            f"endpoint {sir} exists already; nothing was changed",
            hint=f"`ilax endpoint del {sir}` first",
        )


def sweep(instance: Instance, sirs: Collection[Address]) -> None:
    """Remove what loaders left that were killed before they wrote these endpoints.

    `add` does that by itself; for many endpoints it is done once for all, since it
    looks at all interfaces.
    """
    require_capabilities("remove what killed commands left")
    with instance.locked(), Network() as network:
        _sweep(network, instance, sirs)


def _sweep(network: Network, instance: Instance, sirs: Collection[Address]) -> None:
    aliases = {endpoints.link_alias(instance.name, sir) for sir in sirs}
    _, rows = instance.endpoints.rows()
    used = set(rows["ifindex"].tolist())
    for index, name in interface_names().items():
        if not name.startswith(endpoints.DEVICE_PREFIX) or index in used:
            continue
        device = network.interface_by_index(index)
        if device is not None and (endpoints.is_unfinished(device) or device.alias in aliases):
            # The device before its program: a container is never without checks.
            network.delete_interface(index)
            tc_attach.detach(None, instance.pins.links, CONTAINER.at(index))
            instance.ports.delete(index_key(index))
    endpoints.sweep_ports(instance)


def _make_link(
    network: Network,
    options: AddOptions,
    alias: str,
    namespace: Path,
    mtu: int,
    change: Transaction,
) -> tuple[Interface, Interface]:
    """The pair of devices, and everything on its inner side; the host's side stays down."""
    fd = os.open(namespace, os.O_RDONLY)
    with ExitStack() as closing:
        closing.callback(os.close, fd)
        _add_pair(network, options, fd, mtu)
        with inside(fd), Network() as inner_network:
            inner = inner_network.interface(options.device)
            change.on_failure(network.delete_interface, inner.peer)
            network.set_alias(inner.peer, alias)
            host = network.interface_by_index(inner.peer)
            if host is None:
                raise NotFoundError(f"the new device of {options.sir} has disappeared")
            if options.link == "netkit":
                network.set_mac(host.index, random_mac())
                inner_network.set_mac(inner.index, random_mac())
                host = network.interface(host.name)
                inner = inner_network.interface(options.device)
            turn_gro_on(options.device)
            # Container runtimes switch it off for what they do not know of.
            sysctls.enable_ipv6(options.device)
            inner_network.set_up(LOOPBACK)
            inner_network.add_address(inner.index, str(options.sir), 128)
            inner_network.set_up(inner.index)
            inner_network.add_neighbour(inner.index, GATEWAY, host.mac)
            try:
                inner_network.add_route("::/0", inner.index, gateway=GATEWAY)
            except ConflictError as error:
                raise ConflictError(
                    f"network namespace {options.netns}: {error}; endpoint {options.sir} was not "
                    "added, and what was made for it is undone",
                    hint="a container has its default route from ilax: remove the other one first",
                ) from error
    return host, inner


def _add_pair(network: Network, options: AddOptions, namespace: int, mtu: int) -> None:
    """The bare pair of devices.

    Raises:
        ConflictError: the name is taken on the inner side.
        SystemCallError: of netkit, where the kernel does not know it, with what to do.
    """
    template = f"{endpoints.DEVICE_PREFIX}%d"
    try:
        network.add_pair(options.link, template, options.device, namespace, mtu)
    except SystemCallError as error:
        if error.errno == errno.EEXIST:
            raise ConflictError(
                f"interface {options.device} exists already in network namespace "
                f"{options.netns}; nothing was changed",
                hint="give the endpoint's interface another name: --device",
            ) from error
        if error.errno == errno.EOPNOTSUPP and options.link == "netkit":
            error.hint = (
                "this kernel cannot make netkit devices (Linux 6.7 with CONFIG_NETKIT can); "
                "nothing was changed: leave --link netkit out, or take veth"
            )
        raise


def _ignore_advertisements(device: str) -> None:
    """A task is no router of its host, whatever the host's defaults are.

    Raises:
        SystemCallError: the kernel would listen to a task, and it cannot be changed.
    """
    accept = sysctls.read(device, "accept_ra")
    if accept == 0:
        return
    try:
        sysctls.write(device, "accept_ra", 0)
    except OSError as error:
        # Where /proc/sys is read-only, a router does not listen by default.
        if accept is None or sysctls.accepts_advertisements(device):
            raise SystemCallError(
                f"set accept_ra of {device} to 0, so nothing was changed",
                error.errno or 0,
                hint="make /proc/sys/net writable, or set net.ipv6.conf.default.accept_ra=0",
            ) from error


def _guard(
    network: Network,
    instance: Instance,
    endpoint: Endpoint,
    options: AddOptions,
    change: Transaction,
) -> None:
    """Port row and program, while the host's side is still down."""
    key = index_key(endpoint.ifindex)
    if endpoint.delivery == "xdp":
        change.on_failure(instance.devices.delete, key)
        instance.devices.update(key, key)
    change.on_failure(instance.ports.delete, key)
    endpoints.put_port(
        instance, endpoint.ifindex, endpoint.sir, endpoint.slot, any_source=options.any_source
    )
    endpoints.attach_program(network, instance, endpoint.ifindex, change)
    # Undone before its program is: the device goes first.
    change.on_failure(network.delete_interface, endpoint.ifindex)
