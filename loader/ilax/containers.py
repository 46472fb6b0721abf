# SPDX-License-Identifier: Apache-2.0
"""Connecting a container: veth pair, addresses, routes, rows. All or nothing."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ilax import attach, endpoints, fabric, limits, mappings
from ilax.address import Address
from ilax.attach import TcMode
from ilax.bpf import Program
from ilax.cgroups import Cgroup
from ilax.endpoints import Endpoint
from ilax.errors import ConflictError, NotFoundError
from ilax.instance import Instance
from ilax.netlink import Interface, Network, inside, namespace_path, turn_gro_on
from ilax.privileges import require_capabilities
from ilax.tables import index_key

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
    """

    sir: Address
    netns: str
    device: str = "eth0"
    delivery: str = "stack"
    mtu: int = 0
    any_source: bool = False
    cgroup: Cgroup | None = None


def host_device_name(sir: Address) -> str:
    """Name of the host-side device: from the identifier, at most 15 letters."""
    return f"il{sir.identifier & 0xFFFFFFFFFFFF:012x}"


def add(instance: Instance, options: AddOptions) -> Endpoint:
    """Connect a container. If any step fails, all steps are undone.

    Raises:
        UsageError, AddressError: the address cannot be a task's.
        ConflictError: the address, or a device of that name, is taken.
        NotFoundError: there is no such namespace.
        MapFullError: no room for another endpoint.
    """
    require_capabilities("connect a container", namespaces=True)
    instance.require_own_netns("connect a container")
    known = fabric.read(instance)
    known.check_sir(options.sir)
    wire = known.to_wire(options.sir)
    _refuse_taken(instance, wire, options.sir)
    path = namespace_path(options.netns)

    with (
        instance.locked(),
        limits.claimed(instance, options.cgroup) as limit,
        Network() as network,
        ExitStack() as undo,
    ):
        _remove_stale_device(network, instance, options.sir)
        endpoints.sweep_ports(network, instance)
        uplink = int(instance.config.get(index_key(0))["uplink_ifindex"])  # type: ignore[index]
        uplink_device = network.interface_by_index(uplink)
        mtu = options.mtu or (uplink_device.mtu if uplink_device else 1500)
        host, inner = _make_link(
            network, options, endpoints.link_alias(instance, options.sir), path, mtu, undo
        )

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
        _guard(network, instance, endpoint, options, undo)
        # Only now can the container send: there is no moment without checks.
        network.set_up(host.index)
        network.add_address(host.index, GATEWAY, 64)
        network.add_neighbour(host.index, str(options.sir), inner.mac)
        network.add_route(f"{options.sir}/128", host.index)
        _publish(instance, endpoint, undo)
        undo.pop_all()
    return endpoint


def add_host(instance: Instance, sir: Address, cgroup: Cgroup | None = None) -> Endpoint:
    """Make `sir` an address of the host's own processes; see `endpoints.put_host`.

    Args:
        cgroup: whose limit counts for what it receives; None keeps what it has.
    """
    with (
        instance.locked(),
        limits.claimed(instance, cgroup) as limit,
        Network() as network,
    ):
        before = next((e.limit for e in endpoints.read_limited(instance) if e.sir == sir), 0)
        endpoint = endpoints.put_host(network, instance, sir, limit)
        # A slot that it named before may be nobody's now.
        if before != endpoint.limit:
            limits.endpoint_gone(instance, before)
    return endpoint


def delete(instance: Instance, sir: Address) -> Endpoint:
    """Disconnect a container (or a host address) and remove what `add` made.

    Raises:
        NotFoundError: there is no such endpoint.
    """
    require_capabilities("disconnect a container")
    instance.require_own_netns("disconnect a container")
    with instance.locked(), Network() as network:
        endpoint = endpoints.find(instance, sir)
        endpoints.remove(network, instance, endpoint)
        limits.endpoint_gone(instance, endpoint.limit)
    return endpoint


def _refuse_taken(instance: Instance, wire: Address, sir: Address) -> None:
    # By SIR address: an earlier `up` may have made it at another locator.
    taken = any(endpoint.sir == sir for endpoint in endpoints.read_all(instance))
    if taken or instance.endpoints.get(wire.packed) is not None:
        raise ConflictError(
            f"endpoint {sir} exists already; nothing was changed",
            hint=f"`ilax endpoint del {sir}` first",
        )


def _remove_stale_device(network: Network, instance: Instance, sir: Address) -> None:
    """A loader that was killed may have left the device without its rows."""
    try:
        stale = network.interface(host_device_name(sir))
    except NotFoundError:
        return
    # It gets its alias a moment after its name, so both states are ours.
    if stale.kind == "veth" and stale.alias in ("", endpoints.link_alias(instance, sir)):
        attach.detach_tc(network, instance.pins.links, endpoints.port_hook(stale.index))
        network.delete_interface(stale.index)
        instance.ports.delete(index_key(stale.index))


def _make_link(
    network: Network, options: AddOptions, alias: str, namespace: Path, mtu: int, undo: ExitStack
) -> tuple[Interface, Interface]:
    """The veth pair, and everything on its inner side; the host's side stays down."""
    fd = os.open(namespace, os.O_RDONLY)
    with ExitStack() as closing:
        closing.callback(os.close, fd)
        host = network.add_veth(host_device_name(options.sir), options.device, fd, mtu)
        undo.callback(network.delete_interface, host.index)
        network.set_alias(host.index, alias)
        with inside(fd), Network() as inner_network:
            inner = inner_network.interface(options.device)
            turn_gro_on(options.device)
            inner_network.set_up(1)
            inner_network.add_address(inner.index, str(options.sir), 128)
            inner_network.set_up(inner.index)
            inner_network.add_neighbour(inner.index, GATEWAY, host.mac)
            inner_network.add_route("::/0", inner.index, gateway=GATEWAY)
    return host, inner


def _guard(
    network: Network,
    instance: Instance,
    endpoint: Endpoint,
    options: AddOptions,
    undo: ExitStack,
) -> None:
    """Port row and program, while the host's side is still down."""
    key = index_key(endpoint.ifindex)
    if endpoint.delivery == "xdp":
        undo.callback(instance.devices.delete, key)
        instance.devices.update(key, key)
    undo.callback(instance.ports.delete, key)
    endpoints.put_port(
        instance, endpoint.ifindex, endpoint.sir, endpoint.slot, any_source=options.any_source
    )
    hook = endpoints.port_hook(endpoint.ifindex)
    undo.callback(attach.detach_tc, network, instance.pins.links, hook)
    # The last undone is the first done: the device goes before its program.
    undo.callback(network.delete_interface, endpoint.ifindex)
    with Program.open_pinned(instance.pins.programs / endpoints.CONTAINER_PROGRAM) as program:
        # As on the uplink: an instance uses one way of attaching throughout.
        by_link = (instance.pins.links / "uplink_ingress").exists()
        mode = TcMode.AUTO if by_link else TcMode.CLSACT
        attach.attach_tc(network, instance.pins.links, hook, program, mode)


def _publish(instance: Instance, endpoint: Endpoint, undo: ExitStack) -> None:
    """The rows by which others reach it: last, or they would lead to a deaf device."""
    endpoints.put(instance, endpoint)
    undo.callback(instance.endpoints.delete, endpoint.wire.packed)
    previous = mappings.put_local(instance, endpoint.sir, endpoint.wire)
    undo.callback(mappings.restore, instance, endpoint.sir, previous)
