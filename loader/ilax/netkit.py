# SPDX-License-Identifier: Apache-2.0
"""Links of kind netkit for pyroute2, which does not know them.

netkit (Linux 6.7 and later) is a pair like veth, made for BPF: without the queue of
packets between its ends. Loaded only by who makes one.
"""

from __future__ import annotations

import errno
from typing import Any

from pyroute2.netlink import nla
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg, ifinfveth

# enum netkit_mode of <linux/if_link.h>: Ethernet frames, as on veth; and none.
_MODE_L2 = 0
_NO_MODE = 0xFFFFFFFF


class _NetkitData(nla):  # type: ignore[misc]
    prefix = "IFLA_"
    nla_map = (
        ("IFLA_NETKIT_UNSPEC", "none"),
        ("IFLA_NETKIT_PEER_INFO", "peer_info"),
        ("IFLA_NETKIT_PRIMARY", "uint8"),
        ("IFLA_NETKIT_POLICY", "uint32"),
        ("IFLA_NETKIT_PEER_POLICY", "uint32"),
        ("IFLA_NETKIT_MODE", "uint32"),
    )

    @staticmethod
    def peer_info(*_: Any, **__: Any) -> Any:
        """The other end is described like an interface."""
        return ifinfveth


def is_known(ipr: Any) -> bool:
    """Whether this kernel can make such pairs. Nothing is made.

    It is asked for one that cannot be: a kernel with netkit objects to the mode, any
    other one to the kind.

    Args:
        ipr: an IPRoute.
    """
    _register()
    refusal = 0
    try:
        ipr.link("add", kind="netkit", netkit_mode=_NO_MODE)
    except NetlinkError as error:
        refusal = error.code
    return refusal != errno.EOPNOTSUPP


def arguments(peer: str, namespace: int, mtu: int) -> dict[str, Any]:
    """What `IPRoute.link("add", ...)` has to be told about a pair.

    Args:
        peer: name of the other end.
        namespace: descriptor of where that is born.
        mtu: bytes, of that end.
    """
    _register()
    attributes = [["IFLA_IFNAME", peer], ["IFLA_NET_NS_FD", namespace], ["IFLA_MTU", mtu]]
    return {
        "kind": "netkit",
        "netkit_mode": _MODE_L2,
        "netkit_peer_info": {"attrs": attributes},
    }


def _register() -> None:
    ifinfmsg.ifinfo.register_link_kind(module={"netkit": _NetkitData})
