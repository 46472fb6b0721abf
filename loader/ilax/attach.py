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

from pyroute2.netlink.exceptions import NetlinkError

from ilax.bpf import Link, Program
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS, XDP_GENERIC, XDP_NATIVE
from ilax.errors import ConflictError, NotFoundError, SystemCallError
from ilax.netlink import Network

# Our place among the filters of clsact: preference and handle.
_PREFERENCE = 105
_HANDLE = 1
_PARENT = {TCX_INGRESS: "ffff:fff2", TCX_EGRESS: "ffff:fff3"}
_PARENT_NUMBER = {TCX_INGRESS: 0xFFFFFFF2, TCX_EGRESS: 0xFFFFFFF3}
_ETH_P_ALL = 3

_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP)


class XdpMode(enum.StrEnum):
    """How XDP is attached to the uplink."""

    AUTO = "auto"  # native, or not at all
    NATIVE = "native"
    GENERIC = "generic"
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
            _remove_filter(network, hook)
            return TcMode.TCX
    _replace_filter(network, hook, program)
    (links / hook.link).unlink(missing_ok=True)
    return TcMode.CLSACT


def detach_tc(network: Network | None, links: Path, hook: Hook) -> None:
    """Take our program off, whichever way it was attached."""
    (links / hook.link).unlink(missing_ok=True)
    if network is not None:
        _remove_filter(network, hook)


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


def _filters(network: Network, hook: Hook) -> list[object]:
    with contextlib.suppress(NetlinkError):
        return list(
            network.ipr.get_filters(index=hook.ifindex, parent=_PARENT_NUMBER[hook.direction])
        )
    return []


def _remove_filter(network: Network, hook: Hook) -> None:
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


def _is_ours(message: object) -> bool:
    return int(message["info"]) >> 16 == _PREFERENCE  # type: ignore[index]


# --- XDP ---------------------------------------------------------------------


def attach_xdp(
    network: Network, pin: Path, ifindex: int, program: Program, mode: XdpMode
) -> tuple[XdpMode, str | None]:
    """Attach the XDP program, or swap it, or see that it is off.

    Returns:
        The mode in force, and why it is not the one that AUTO would prefer.

    Raises:
        ConflictError: NATIVE or GENERIC, and another program holds the hook.
        SystemCallError: the device cannot do what NATIVE or GENERIC asks for.
    """
    existing = _open_live(pin, ifindex)
    if existing is not None:
        with existing:
            current = _xdp_mode(network, ifindex)
            if mode is current or (mode is XdpMode.AUTO and current is XdpMode.NATIVE):
                existing.update(program)
                return current, None
        pin.unlink()  # lets go of the device: a mode cannot be changed in place
    if mode is XdpMode.OFF:
        return XdpMode.OFF, None

    foreign = _foreign_program(network, ifindex)
    if foreign is not None:
        note = f"XDP hook is held by foreign program {foreign}"
        if mode is XdpMode.AUTO:
            return XdpMode.OFF, note + "; tc does the whole job"
        raise ConflictError(f"{note}; it was left alone", hint="use --xdp auto to do without XDP")
    flags = XDP_GENERIC if mode is XdpMode.GENERIC else XDP_NATIVE
    try:
        with Link.xdp(program, ifindex, flags) as link:
            link.pin(pin)
    except SystemCallError as error:
        if mode is not XdpMode.AUTO:
            raise
        return XdpMode.OFF, f"no native XDP on this device ({error}); tc does the whole job"
    return _xdp_mode(network, ifindex), None


def _foreign_program(network: Network, ifindex: int) -> str | None:
    interface = network.interface_by_index(ifindex)
    if interface is None or not interface.xdp_program:
        return None
    try:
        with Program.by_id(interface.xdp_program) as program:
            return f"{program.name} (number {program.id})"
    except SystemCallError:
        return f"number {interface.xdp_program}"


def _xdp_mode(network: Network, ifindex: int) -> XdpMode:
    interface = network.interface_by_index(ifindex)
    if interface is None or not interface.xdp_program:
        return XdpMode.OFF
    return XdpMode.GENERIC if interface.xdp_generic else XdpMode.NATIVE
