# SPDX-License-Identifier: Apache-2.0
"""Our tc programs on devices: by pinned tcx links, or by filters of clsact.

Kernels before 6.6 have no tcx; there the same program becomes a filter.
"""

from __future__ import annotations

import contextlib
import errno
from functools import partial
from pathlib import Path

from ilax.bpf import Link, LinkInfo, Program
from ilax.errors import NotFoundError, SystemCallError
from ilax.hooks import clsact, pinned_link, tc_order
from ilax.hooks.modes import TcMode
from ilax.hooks.places import Hook
from ilax.hooks.tc_order import Place
from ilax.instances.transaction import Transaction
from ilax.system.netlink import Network

_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP)


def attach(
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
            pinned_link.put(
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
            change.on_success(clsact.remove_filter, network, hook)
            return TcMode.TCX
    clsact.put_filter(network, hook, program, previous, change)
    change.on_success(pinned_link.unpin, pin)
    return TcMode.CLSACT


def program_on(network: Network, links: Path, hook: Hook) -> tuple[int, TcMode] | None:
    """Number of our program at a hook and how it is attached; None without one."""
    with contextlib.suppress(NotFoundError), Link.open_pinned(links / hook.link) as link:
        info = link.info()
        if info.ifindex == hook.ifindex:
            return info.program_id, TcMode.TCX
    number = clsact.filter_program(network, hook)
    return None if number is None else (number, TcMode.CLSACT)


def _create_tcx(hook: Hook, program: Program, place: Place | None) -> Link:
    if place is None:
        return Link.tcx(program, hook.ifindex, hook.direction)
    other = tc_order.Standing.read(hook.ifindex, hook.direction).find(place)
    # One that only the other hook of the uplink has leaves us where we would be.
    flag = 0 if place.program and not other else place.flag
    return Link.tcx(program, hook.ifindex, hook.direction, flag, other)


def _is_misplaced(hook: Hook, place: Place, link: LinkInfo) -> bool:
    return not tc_order.Standing.read(hook.ifindex, hook.direction).holds(place, link.program_id)


def detach(network: Network | None, links: Path, hook: Hook, program: str = "") -> None:
    """Take our program off, whichever way it was attached.

    Args:
        program: leave a filter alone that is another one of ours.
    """
    pinned_link.unpin(links / hook.link)
    if network is not None:
        clsact.remove_filter(network, hook, program)


def is_attached(network: Network, links: Path, hook: Hook, program: str) -> bool:
    """Whether a program of ours is there; then the device is the one that it was put on.

    Both go with their device, so none is ever found at another one of its number.
    """
    if any(item.ours and item.name == program for item in clsact.filters(network, hook)):
        return True
    try:
        with Link.open_pinned(links / hook.link) as link:
            return link.info().ifindex == hook.ifindex
    except NotFoundError:
        return False
