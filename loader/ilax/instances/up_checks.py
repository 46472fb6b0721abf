# SPDX-License-Identifier: Apache-2.0
"""What `up` refuses before it touches anything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from ilax.endpoint import endpoints
from ilax.endpoint.endpoints import Endpoint
from ilax.errors import ConflictError, UsageError
from ilax.hooks import clsact, tc_order, xdp_attach, xdp_slot
from ilax.hooks.modes import TcMode, XdpMode
from ilax.hooks.places import uplink_hooks
from ilax.hooks.xdp_slot import Slot
from ilax.instances import others
from ilax.instances.instance import Instance
from ilax.instances.others import Survey
from ilax.instances.pins import PinFolder
from ilax.instances.up_options import UpOptions, check_addresses
from ilax.system import sysctls
from ilax.system.netlink import LOOPBACK, Interface, Network
from ilax.translation import fabric
from ilax.translation.fabric import Fabric

IPV6_MTU_MIN = 1280


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
    check_addresses(options)
    pins = PinFolder(instance)
    with Network() as network, ExitStack() as held:
        uplink, _ = place(network, instance, options)
        if opened is not None:
            check_upgrade(opened, options, orphans)
        slot = slot_for(pins, options, uplink, held)
        if slot is not None:
            xdp_slot.require_free(pins, slot)
        elif options.xdp is not XdpMode.OFF:
            xdp_attach.without(network, pins.links, uplink.index, options.xdp)
        if options.tc is TcMode.CLSACT:
            for hook in uplink_hooks(uplink.index):
                clsact.require_preference(network, hook)


def place(network: Network, instance: str, options: UpOptions) -> tuple[Interface, Survey]:
    """The uplink and the instances beside this one, if both allow it.

    Raises:
        NotFoundError, UsageError, ConflictError: why they do not; nothing was touched.
    """
    uplink = network.interface(options.uplink)
    _check_uplink(uplink, options)
    beside = others.survey(instance)
    others.refuse_shared(beside.at_work, uplink.index, options.fabric, options.tc)
    return uplink, beside


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
    tc_order.require(options.tc_order, uplink.index)


def slot_for(
    pins: PinFolder, options: UpOptions, uplink: Interface, held: ExitStack
) -> Slot | None:
    """Where our XDP program is to be called from by a foreign one; None: from nowhere."""
    if options.xdp_chain is not None:
        return held.enter_context(Slot.open(options.xdp_chain))
    # On the hook and in a slot: of a killed `up` from one to the other.
    if options.xdp is not XdpMode.AUTO or xdp_attach.program_on(pins.links, uplink.index):
        return None
    slots = held.enter_context(xdp_slot.remembered(pins))
    # One that is not ours any more is somebody else's place.
    return next((s for s in slots if not s.program() or xdp_slot.holds_ours(pins, s)), None)


def check_upgrade(opened: Instance, options: UpOptions, orphans: Sequence[Endpoint]) -> None:
    """Raise unless an instance that is up can be made to be as asked for.

    Raises:
        ConflictError, UsageError: why it cannot; nothing was touched.
    """
    opened.require_own_netns("bring it up again")
    _check_sizes(opened, options)
    _check_endpoints_fit(opened, options.fabric, orphans)
    if options.host_address is not None:
        endpoints.host_row(opened, options.host_address)
    fabric.check_fits(opened, options.fabric)


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
    going = {endpoint.sir for endpoint in still_there(opened, orphans)}
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


def still_there(opened: Instance, known: Sequence[Endpoint]) -> list[Endpoint]:
    """The rows of endpoints that were read before, but of those made anew since."""
    if not known:
        return []
    before = {endpoint.sir: endpoint for endpoint in known}
    rows = endpoints.read_all(opened)
    return [now for now in rows if now.sir in before and before[now.sir].is_still(now)]
