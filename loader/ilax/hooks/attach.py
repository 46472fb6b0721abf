# SPDX-License-Identifier: Apache-2.0
"""Putting programs on hooks and taking them off again.

XDP and tcx programs hang on pinned bpf_links: an update swaps the program in
place and no packet sees the hook empty. Kernels before 6.6 have no tcx; there
the same program becomes a clsact filter, which is replaced in place as well.
A link to another device is made beside the old one, which goes only when the
whole change has succeeded. Nothing here ever removes what is not ours.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ilax.bpf import Link, LinkInfo, Program
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS, XDP_NATIVE
from ilax.bpf.program import in_words
from ilax.errors import ConflictError, NotFoundError, SystemCallError
from ilax.hooks import places, tc_order
from ilax.hooks.modes import TcMode, XdpMode
from ilax.hooks.places import XDP_INGRESS, Hook
from ilax.hooks.tc_order import Place
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

_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP)


def attach_tc(
    network: Network,
    links: Path,
    hook: Hook,
    program: Program,
    mode: TcMode,
    change: Transaction,
    previous: Program | None = None,
    place: Place | None = None,
) -> TcMode:
    """Attach, or swap the program if ours is attached already.

    Args:
        change: what this is a step of.
        previous: the program to go back to if the change fails.
        place: among the tcx programs of others; None: last, or where it is.

    Returns:
        What was used: TCX or CLSACT.

    Raises:
        SystemCallError: the kernel refused.
    """
    pin = links / hook.link
    if mode is not TcMode.CLSACT:
        try:
            _put_link(
                pin,
                hook.ifindex,
                program,
                previous,
                lambda: _create_tcx(hook, program, place),
                change,
                None if place is None else partial(_is_misplaced, hook, place),
            )
        except SystemCallError as error:
            if mode is TcMode.TCX or error.errno not in _NO_TCX:
                raise
        else:
            change.on_success(remove_filter, network, hook)
            return TcMode.TCX
    _put_filter(network, hook, program, previous, change)
    change.on_success(_unpin, pin)
    return TcMode.CLSACT


def program_on(network: Network, links: Path, hook: Hook) -> tuple[int, TcMode] | None:
    """Number of our program at a hook and how it is attached; None without one."""
    with contextlib.suppress(NotFoundError), Link.open_pinned(links / hook.link) as link:
        info = link.info()
        if info.ifindex == hook.ifindex:
            return info.program_id, TcMode.TCX
    number = filter_program(network, hook)
    return None if number is None else (number, TcMode.CLSACT)


def xdp_program_on(links: Path, ifindex: int) -> int | None:
    """Number of our XDP program on a device; None without one."""
    with contextlib.suppress(NotFoundError), Link.open_pinned(links / XDP_INGRESS.link) as link:
        info = link.info()
        if info.ifindex == ifindex:
            return info.program_id
    return None


def _create_tcx(hook: Hook, program: Program, place: Place | None) -> Link:
    if place is None:
        return Link.tcx(program, hook.ifindex, hook.direction)
    other = tc_order.find(place, hook.ifindex, hook.direction)
    # One that only the other hook of the uplink has leaves us where we would be.
    flag = 0 if place.program and not other else place.flag
    return Link.tcx(program, hook.ifindex, hook.direction, flag, other)


def _is_misplaced(hook: Hook, place: Place, link: LinkInfo) -> bool:
    return not tc_order.holds(place, link.program_id, hook.ifindex, hook.direction)


def swap_filter(
    network: Network, hook: Hook, program: Program, previous: Program | None, change: Transaction
) -> bool:
    """Put a program into our filter of clsact; False if there is none.

    Args:
        previous: the program to go back to if the change fails.
    """
    if filter_program(network, hook) is None:
        return False
    _put_filter(network, hook, program, previous, change)
    return True


def filter_program(network: Network, hook: Hook) -> int | None:
    """Number of the program in our filter of clsact; None if there is no filter."""
    for item in _filters(network, hook):
        if _is_ours(item):
            return _filter_program(item)
    return None


def detach_tc(network: Network | None, links: Path, hook: Hook, program: str = "") -> None:
    """Take our program off, whichever way it was attached.

    Args:
        program: leave a filter alone that is another one of ours.
    """
    _unpin(links / hook.link)
    if network is not None:
        remove_filter(network, hook, program)


def is_attached(network: Network, links: Path, hook: Hook, program: str) -> bool:
    """Whether a program of ours is there; then the device is the one that it was put on.

    Both go with their device, so none is ever found at another one of its number.
    """
    if any(_is_ours(item) and _filter_name(item) == program for item in _filters(network, hook)):
        return True
    try:
        with Link.open_pinned(links / hook.link) as link:
            return link.info().ifindex == hook.ifindex
    except NotFoundError:
        return False


def detach_xdp(links: Path) -> None:
    """Take our XDP program off."""
    _unpin(links / XDP_INGRESS.link)


def _unpin(pin: Path) -> None:
    for path in (pin, _beside(pin)):
        path.unlink(missing_ok=True)


def _beside(pin: Path) -> Path:
    """Where a link to another device waits until the old one may go."""
    return pin.with_name(places.beside(pin.name))


def _put_link(
    pin: Path,
    ifindex: int,
    program: Program,
    previous: Program | None,
    create: Callable[[], Link],
    change: Transaction,
    moves: Callable[[LinkInfo], bool] | None = None,
) -> None:
    """Put a program into our link on a device; make that link if there is none.

    Args:
        moves: tells of our link whether it should be made anew, at another place.
            Until the old one goes, packets may pass both, which is better than
            none; what both leave to the stack is counted twice.
    """
    beside = _beside(pin)
    for path in (pin, beside):
        if moves is not None and _is_to_move(path, ifindex, moves):
            continue
        if _swap(path, ifindex, program):
            if previous is not None:
                change.on_failure(_swap, path, ifindex, previous)
            break
    else:
        # The trace of an `up` that was killed on its way to a third device.
        beside.unlink(missing_ok=True)
        path = beside if pin.exists() else pin
        with create() as link:
            link.pin(path)
        change.on_failure(path.unlink, missing_ok=True)
    if path == beside:
        change.on_success(beside.rename, pin)
    else:
        change.on_success(beside.unlink, missing_ok=True)


def _is_to_move(pin: Path, ifindex: int, moves: Callable[[LinkInfo], bool]) -> bool:
    try:
        with Link.open_pinned(pin) as link:
            info = link.info()
    except NotFoundError:
        return False
    return info.ifindex == ifindex and moves(info)


def _swap(pin: Path, ifindex: int, program: Program) -> bool:
    """Put a program into a pinned link; False if it is none on this device."""
    try:
        with Link.open_pinned(pin) as link:
            if link.info().ifindex != ifindex:
                return False
            link.update(program)
    except NotFoundError:
        return False
    return True


# --- clsact ------------------------------------------------------------------


def _put_filter(
    network: Network, hook: Hook, program: Program, previous: Program | None, change: Transaction
) -> None:
    had_one = any(_is_ours(item) for item in _filters(network, hook))
    _replace_filter(network, hook, program)
    if not had_one:
        change.on_failure(remove_filter, network, hook)
    elif previous is not None:
        change.on_failure(_replace_filter, network, hook, previous)


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
    remove_empty_clsact(network, hook.ifindex)


def remove_empty_clsact(network: Network, ifindex: int) -> None:
    """Remove the qdisc that filters stand in, if there are none."""
    if not any(_filters(network, one) for one in places.uplink_hooks(ifindex)):
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


# --- XDP ---------------------------------------------------------------------


def attach_xdp(
    network: Network,
    links: Path,
    ifindex: int,
    program: Program,
    mode: XdpMode,
    change: Transaction,
    previous: Program | None = None,
) -> tuple[XdpMode, str | None]:
    """Attach the XDP program, or swap it, or see that it is off.

    Args:
        change: what this is a step of.
        previous: the program to go back to if the change fails.

    Returns:
        The mode in force, and why it is not the one that AUTO would prefer.

    Raises:
        ConflictError: NATIVE, and another program holds the hook.
        SystemCallError: NATIVE, and the device has no native XDP.
    """
    pin = links / XDP_INGRESS.link
    if mode is XdpMode.OFF:
        change.on_success(_unpin, pin)
        return XdpMode.OFF, None
    reason = without_xdp(network, links, ifindex, mode)
    if reason is not None:
        change.on_success(_unpin, pin)
        return XdpMode.OFF, f"{reason}; tc does the whole job"
    try:
        _put_link(
            pin,
            ifindex,
            program,
            previous,
            lambda: Link.xdp(program, ifindex, XDP_NATIVE),
            change,
        )
    except SystemCallError as error:
        if mode is not XdpMode.AUTO:
            raise
        change.on_success(_unpin, pin)
        return XdpMode.OFF, f"no native XDP on this device ({error}); tc does the whole job"
    return XdpMode.NATIVE, None


def _is_on(pin: Path, ifindex: int) -> bool:
    """Whether our link, or the one beside it, ties something to a device."""
    for path in (pin, _beside(pin)):
        with contextlib.suppress(NotFoundError), Link.open_pinned(path) as link:
            if link.info().ifindex == ifindex:
                return True
    return False


def without_xdp(network: Network, links: Path, ifindex: int, mode: XdpMode) -> str | None:
    """Why AUTO does without XDP on a device; None if it should be tried, or ours is there.

    Raises:
        ConflictError: NATIVE, and another program holds the hook.
    """
    if _is_on(links / XDP_INGRESS.link, ifindex):
        return None
    foreign = _foreign_program(network, ifindex)
    if foreign is not None:
        note = f"XDP hook is held by foreign program {foreign}"
        if mode is XdpMode.AUTO:
            return note
        raise ConflictError(f"{note}; it was left alone", hint="use --xdp auto to do without XDP")
    if mode is XdpMode.AUTO and _costs_offload(network, ifindex):
        return (
            "native XDP on a veth switches segmentation offload of its peer off "
            "(--xdp native to insist)"
        )
    return None


def _costs_offload(network: Network, ifindex: int) -> bool:
    interface = network.interface_by_index(ifindex)
    return interface is not None and interface.kind == "veth"


def _foreign_program(network: Network, ifindex: int) -> str | None:
    interface = network.interface_by_index(ifindex)
    if interface is None or not interface.xdp_program:
        return None
    return in_words(interface.xdp_program)
