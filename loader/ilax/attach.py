# SPDX-License-Identifier: Apache-2.0
"""Putting programs on hooks and taking them off again.

XDP and tcx programs hang on pinned bpf_links: an update swaps the program in
place and no packet sees the hook empty. Kernels before 6.6 have no tcx; there
the same program becomes a clsact filter, which is replaced in place as well.
Nothing here ever removes what is not ours.
"""

from __future__ import annotations

import contextlib
import enum
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from ilax.bpf import Link, Program
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS, XDP_NATIVE
from ilax.errors import ConflictError, NotFoundError, SystemCallError
from ilax.netlink import Network

# Our place among the filters of clsact: preference and handle.
_PREFERENCE = 105
_HANDLE = 1
# Names of all our programs begin so; a filter keeps its program's name.
_OURS = "ilax_"
_PARENT = {TCX_INGRESS: "ffff:fff2", TCX_EGRESS: "ffff:fff3"}
_PARENT_NUMBER = {TCX_INGRESS: 0xFFFFFFF2, TCX_EGRESS: 0xFFFFFFF3}
_ETH_P_ALL = 3

_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP)


class XdpMode(enum.StrEnum):
    """How XDP is attached to the uplink.

    Generic XDP is not offered: it runs on finished skbs, where tc does the same
    job for less.
    """

    AUTO = "auto"  # native where it pays, or not at all
    NATIVE = "native"
    OFF = "off"


class TcMode(enum.StrEnum):
    """How tc programs are attached."""

    AUTO = "auto"  # tcx, or clsact on kernels before 6.6
    TCX = "tcx"
    CLSACT = "clsact"


@dataclass(frozen=True, slots=True)
class Hook:
    """One place for a tc program.

    Attributes:
        link: name of the pinned link.
        ifindex: the device.
        direction: TCX_INGRESS or TCX_EGRESS.
    """

    link: str
    ifindex: int
    direction: int


def attach_tc(network: Network, links: Path, hook: Hook, program: Program, mode: TcMode) -> TcMode:
    """Attach, or swap the program if ours is attached already.

    Returns:
        What was used: TCX or CLSACT.

    Raises:
        SystemCallError: the kernel refused.
    """
    if mode is not TcMode.CLSACT:
        try:
            _attach_link(links / hook.link, hook.ifindex, program, hook.direction)
        except SystemCallError as error:
            if mode is TcMode.TCX or error.errno not in _NO_TCX:
                raise
        else:
            remove_filter(network, hook)
            return TcMode.TCX
    _replace_filter(network, hook, program)
    (links / hook.link).unlink(missing_ok=True)
    return TcMode.CLSACT


def detach_tc(network: Network | None, links: Path, hook: Hook) -> None:
    """Take our program off, whichever way it was attached."""
    (links / hook.link).unlink(missing_ok=True)
    if network is not None:
        remove_filter(network, hook)


def _attach_link(pin: Path, ifindex: int, program: Program, direction: int) -> None:
    existing = _open_live(pin, ifindex)
    if existing is not None:
        with existing:
            existing.update(program)
        return
    with Link.tcx(program, ifindex, direction) as link:
        link.pin(pin)


def _open_live(pin: Path, ifindex: int) -> Link | None:
    """The pinned link, if it still ties something to this device."""
    try:
        link = Link.open_pinned(pin)
    except NotFoundError:
        return None
    if link.info().ifindex == ifindex:
        return link
    link.close()
    pin.unlink()
    return None


# --- clsact ------------------------------------------------------------------


def _replace_filter(network: Network, hook: Hook, program: Program) -> None:
    action = f"attach program {program.name} to interface {hook.ifindex} by clsact"
    for item in _filters(network, hook):
        if int(item["info"]) >> 16 == _PREFERENCE and not _is_ours(item):
            raise ConflictError(
                f"cannot {action}: filter {_filter_name(item) or 'of another kind'} has "
                f"preference {_PREFERENCE}; it was left alone"
            )
    try:
        network.ipr.tc("add", "clsact", hook.ifindex)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise SystemCallError(action, error.code) from error
    try:
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
    except NetlinkError as error:
        raise SystemCallError(action, error.code) from error


def _filters(network: Network, hook: Hook) -> list[Any]:
    with contextlib.suppress(NetlinkError):
        found = network.ipr.get_filters(index=hook.ifindex, parent=_PARENT_NUMBER[hook.direction])
        # The dump has a line of its own for each preference, with handle 0.
        return [item for item in found if item["handle"]]
    return []


def remove_filter(network: Network, hook: Hook) -> None:
    """Remove our filter, and the qdisc with it if nobody else uses it."""
    if not any(_is_ours(item) for item in _filters(network, hook)):
        return
    with contextlib.suppress(NetlinkError):
        network.ipr.tc(
            "del-filter",
            "bpf",
            hook.ifindex,
            _HANDLE,
            parent=_PARENT[hook.direction],
            prio=_PREFERENCE,
            protocol=_ETH_P_ALL,
        )
    both = [Hook(hook.link, hook.ifindex, direction) for direction in _PARENT]
    if not any(_filters(network, one) for one in both):
        with contextlib.suppress(NetlinkError):
            network.ipr.tc("del", "clsact", hook.ifindex)


def _filter_name(message: Any) -> str:
    return str(message.get_nested("TCA_OPTIONS", "TCA_BPF_NAME") or "")


def _is_ours(message: Any) -> bool:
    return int(message["info"]) >> 16 == _PREFERENCE and _filter_name(message).startswith(_OURS)


# --- XDP ---------------------------------------------------------------------


def attach_xdp(
    network: Network, pin: Path, ifindex: int, program: Program, mode: XdpMode
) -> tuple[XdpMode, str | None]:
    """Attach the XDP program, or swap it, or see that it is off.

    Returns:
        The mode in force, and why it is not the one that AUTO would prefer.

    Raises:
        ConflictError: NATIVE, and another program holds the hook.
        SystemCallError: NATIVE, and the device has no native XDP.
    """
    if mode is XdpMode.OFF:
        pin.unlink(missing_ok=True)
        return XdpMode.OFF, None
    existing = _open_live(pin, ifindex)
    if existing is not None:
        with existing:
            existing.update(program)
        return XdpMode.NATIVE, None

    foreign = _foreign_program(network, ifindex)
    if foreign is not None:
        note = f"XDP hook is held by foreign program {foreign}"
        if mode is XdpMode.AUTO:
            return XdpMode.OFF, note + "; tc does the whole job"
        raise ConflictError(f"{note}; it was left alone", hint="use --xdp auto to do without XDP")
    if mode is XdpMode.AUTO and _costs_offload(network, ifindex):
        return XdpMode.OFF, (
            "native XDP on a veth switches segmentation offload of its peer off; "
            "tc does the whole job (--xdp native to insist)"
        )
    try:
        with Link.xdp(program, ifindex, XDP_NATIVE) as link:
            link.pin(pin)
    except SystemCallError as error:
        if mode is not XdpMode.AUTO:
            raise
        return XdpMode.OFF, f"no native XDP on this device ({error}); tc does the whole job"
    return XdpMode.NATIVE, None


def _costs_offload(network: Network, ifindex: int) -> bool:
    interface = network.interface_by_index(ifindex)
    return interface is not None and interface.kind == "veth"


def _foreign_program(network: Network, ifindex: int) -> str | None:
    interface = network.interface_by_index(ifindex)
    if interface is None or not interface.xdp_program:
        return None
    try:
        with Program.by_id(interface.xdp_program) as program:
            return f"{program.name} (number {program.id})"
    except SystemCallError:
        return f"number {interface.xdp_program}"
