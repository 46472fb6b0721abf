# SPDX-License-Identifier: Apache-2.0
"""Which interfaces frames of the uplink come in by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax.system.netlink import errors

if TYPE_CHECKING:
    from ilax.system.netlink import Network


# Kinds of devices that stand above another one. A veth names its other end likewise.
_ABOVE = ("vlan", "macvlan", "ipvlan")


def below(network: Network, uplink: int) -> list[int]:
    """The uplink and what it is made of: ports of a bond, the device under a VLAN or macvlan.

    Drivers hand packets over under the name of the card, whatever is above it.

    Args:
        uplink: number of its interface.

    Returns:
        Numbers of interfaces; the uplink is the first.
    """
    with errors("list interfaces"):
        links = list(network.ipr.get_links())
    under: dict[int, list[int]] = {}
    for link in links:
        number, master = int(link["index"]), link.get_attr("IFLA_MASTER")
        if master:
            under.setdefault(int(master), []).append(number)
        kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
        below_it = link.get_attr("IFLA_LINK")
        # With a namespace beside it, the number is not one of ours.
        if kind in _ABOVE and below_it and link.get_attr("IFLA_LINK_NETNSID") is None:
            under.setdefault(number, []).append(int(below_it))
    found = [uplink]
    for each in found:
        found += [number for number in under.get(each, ()) if number not in found]
    return found
