# SPDX-License-Identifier: Apache-2.0
"""Filters of clsact: ours, where the kernel has no tcx, and those of others.

A filter is replaced in place, as the program of a link is. Nothing here ever removes
what is not ours.
"""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from typing import Any

from ilax.bpf import Program
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS
from ilax.errors import ConflictError
from ilax.hooks.places import Hook, uplink_hooks
from ilax.instances.transaction import Transaction
from ilax.system.netlink import Network, errors

# Our place among the filters of clsact: preference and handle.
_PREFERENCE = 105
_HANDLE = 1
# Names of all our programs begin so; a filter keeps its program's name.
_OURS = "ilax_"
_PARENT = {TCX_INGRESS: "ffff:fff2", TCX_EGRESS: "ffff:fff3"}
_PARENT_NUMBER = {TCX_INGRESS: 0xFFFFFFF2, TCX_EGRESS: 0xFFFFFFF3}
_ETH_P_ALL = 3
# <linux/pkt_cls.h>, <linux/netlink.h>
_TCA_BPF_ID = 11
_ATTRIBUTE_HEADER = 4

# The device, its clsact or the filter is not there.
_NO_FILTERS = (errno.ENODEV, errno.ENOENT, errno.EINVAL)


def put_filter(
    network: Network, hook: Hook, program: Program, previous: Program | None, change: Transaction
) -> None:
    """Put a program into our filter, which is made if there is none.

    Args:
        previous: the program to go back to if the change fails.
    """
    had_one = any(_is_ours(item) for item in _filters(network, hook))
    _replace_filter(network, hook, program)
    if not had_one:
        change.on_failure(remove_filter, network, hook)
    elif previous is not None:
        change.on_failure(_replace_filter, network, hook, previous)


def swap_filter(
    network: Network, hook: Hook, program: Program, previous: Program | None, change: Transaction
) -> bool:
    """Put a program into our filter of clsact; False if there is none.

    Args:
        previous: the program to go back to if the change fails.
    """
    if filter_program(network, hook) is None:
        return False
    put_filter(network, hook, program, previous, change)
    return True


def _replace_filter(network: Network, hook: Hook, program: Program) -> None:
    require_preference(network, hook)
    action = f"attach program {program.name} to interface {hook.ifindex} by clsact"
    with errors(action, fine=(errno.EEXIST,)):
        network.ipr.tc("add", "clsact", hook.ifindex)
    with errors(action):
        network.ipr.tc(
            "replace-filter",
            "bpf",
            hook.ifindex,
            _HANDLE,
            fd=program.fd,
            name=program.name,
            parent=_PARENT[hook.direction],
            prio=_PREFERENCE,
            protocol=_ETH_P_ALL,
            direct_action=True,
            classid=1,
        )


def filter_program(network: Network, hook: Hook) -> int | None:
    """Number of the program in our filter of clsact; None if there is no filter."""
    for item in _filters(network, hook):
        if _is_ours(item):
            return _filter_program(item)
    return None


def require_preference(network: Network, hook: Hook) -> None:
    """Raise unless our place among the filters of clsact is free, or ours.

    Raises:
        ConflictError: a foreign filter has it.
    """
    for item in _filters(network, hook):
        if int(item["info"]) >> 16 == _PREFERENCE and not _is_ours(item):
            raise ConflictError(
                f"cannot attach to interface {hook.ifindex} by clsact: filter "
                f"{_filter_name(item) or 'of another kind'} has preference {_PREFERENCE}; "
                "it was left alone"
            )


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of clsact.

    Attributes:
        preference: those with lower ones run earlier.
        ours: ilax made it.
    """

    name: str
    preference: int
    ours: bool


def filters(network: Network, hook: Hook) -> list[Filter]:
    """The filters of a hook, ours and foreign ones."""
    return [
        Filter(_filter_name(item) or "of another kind", int(item["info"]) >> 16, _is_ours(item))
        for item in _filters(network, hook)
    ]


def _filters(network: Network, hook: Hook) -> list[Any]:
    found: list[Any] = []
    with errors(f"list filters of interface {hook.ifindex}", fine=_NO_FILTERS):
        parent = _PARENT_NUMBER[hook.direction]
        found = list(network.ipr.get_filters(index=hook.ifindex, parent=parent))
    # The dump has a line of its own for each preference, with handle 0.
    return [item for item in found if item["handle"]]


def remove_filter(network: Network, hook: Hook, program: str = "") -> None:
    """Remove our filter, and the qdisc with it if nobody else uses it.

    Args:
        program: only if it is that one.
    """
    ours = [_filter_name(item) for item in _filters(network, hook) if _is_ours(item)]
    if not ours or (program and program not in ours):
        return
    action = f"remove the filter of interface {hook.ifindex}"
    with errors(action, fine=_NO_FILTERS):
        network.ipr.tc(
            "del-filter",
            "bpf",
            hook.ifindex,
            _HANDLE,
            parent=_PARENT[hook.direction],
            prio=_PREFERENCE,
            protocol=_ETH_P_ALL,
        )
    remove_empty(network, hook.ifindex)


def remove_empty(network: Network, ifindex: int) -> None:
    """Remove the qdisc that filters stand in, if there are none."""
    if not any(_filters(network, one) for one in uplink_hooks(ifindex)):
        with errors(f"remove clsact of interface {ifindex}", fine=_NO_FILTERS):
            network.ipr.tc("del", "clsact", ifindex)


def _filter_name(message: Any) -> str:
    return str(message.get_nested("TCA_OPTIONS", "TCA_BPF_NAME") or "")


def _filter_program(message: Any) -> int:
    """Number of a filter's program, an attribute that pyroute2 does not know."""
    for name, item in message.get_attr("TCA_OPTIONS")["attrs"]:
        if name == "UNKNOWN" and item["header"]["type"] == _TCA_BPF_ID:
            begin = item.offset + _ATTRIBUTE_HEADER
            return int.from_bytes(bytes(item.data[begin : begin + 4]), sys.byteorder)
    return 0


def _is_ours(message: Any) -> bool:
    return int(message["info"]) >> 16 == _PREFERENCE and _filter_name(message).startswith(_OURS)
