# SPDX-License-Identifier: Apache-2.0
"""Our XDP program on the hook of the uplink, by a pinned link.

Behind a foreign program it is in a slot of that one's array instead: `xdp_slot`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ilax.bpf import Link, Program
from ilax.bpf.link import XDP_NATIVE
from ilax.bpf.program import in_words
from ilax.errors import ConflictError, NotFoundError, SystemCallError
from ilax.hooks import pinned_link
from ilax.hooks.modes import XdpMode
from ilax.hooks.places import XDP_INGRESS
from ilax.instances.transaction import Transaction
from ilax.system.netlink import Network


def attach(
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
        change.on_success(pinned_link.unpin, pin)
        return XdpMode.OFF, None
    reason = without(network, links, ifindex, mode)
    if reason is not None:
        change.on_success(pinned_link.unpin, pin)
        return XdpMode.OFF, f"{reason}; tc does the whole job"
    try:
        pinned_link.put(
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
        change.on_success(pinned_link.unpin, pin)
        return XdpMode.OFF, f"no native XDP on this device ({error}); tc does the whole job"
    return XdpMode.NATIVE, None


def program_on(links: Path, ifindex: int) -> int | None:
    """Number of our XDP program on a device; None without one."""
    with contextlib.suppress(NotFoundError), Link.open_pinned(links / XDP_INGRESS.link) as link:
        info = link.info()
        if info.ifindex == ifindex:
            return info.program_id
    return None


def detach(links: Path) -> None:
    """Take our XDP program off."""
    pinned_link.unpin(links / XDP_INGRESS.link)


def without(network: Network, links: Path, ifindex: int, mode: XdpMode) -> str | None:
    """Why AUTO does without XDP on a device; None if it should be tried, or ours is there.

    Raises:
        ConflictError: NATIVE, and another program holds the hook.
    """
    if pinned_link.is_on(links / XDP_INGRESS.link, ifindex):
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
