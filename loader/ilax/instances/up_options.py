# SPDX-License-Identifier: Apache-2.0
"""What `up` is asked for, and what it says that it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ilax.errors import UsageError
from ilax.hooks.modes import TcMode, XdpMode

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.hooks.tc_order import Place
    from ilax.hooks.xdp_slot import SlotName
    from ilax.translation.fabric import Fabric


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


def check_addresses(options: UpOptions) -> None:
    """Raise if a request contradicts itself.

    Raises:
        UsageError, AddressError: it does; nothing was changed.
    """
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
