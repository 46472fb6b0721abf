# SPDX-License-Identifier: Apache-2.0
"""Changing the programs on all hooks of an instance, and nothing else about the hooks.

The pinned links and the filters of clsact say by themselves which hooks there are,
so this needs none of the settings of `ilax up`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ilax.bpf import Link, Program
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.errors import IlaxError, NotFoundError
from ilax.hooks import attach, cgroup_attach, xdp_slot
from ilax.hooks.attach import Hook
from ilax.hooks.program_set import IN_PROGRAM, OUT_PROGRAM, XDP_PROGRAM, Programs
from ilax.system.netlink import interface_names

if TYPE_CHECKING:
    from ilax.instances.instance import Instance
    from ilax.instances.pins import PinFolder
    from ilax.instances.transaction import Transaction
    from ilax.system.netlink import Network

# How names of links begin, and their programs. Taker before giver: tc on the uplink
# takes what XDP hands over, so XDP comes last.
_LINKS = {
    "uplink_ingress": IN_PROGRAM,
    "port_": endpoints.CONTAINER_PROGRAM,
    "uplink_egress": OUT_PROGRAM,
    "cgroup_": cgroup_attach.PROGRAM,
    attach.XDP_LINK: XDP_PROGRAM,
}


def switch(
    network: Network,
    instance: Instance,
    programs: Programs,
    known: Mapping[int, Program],
    change: Transaction,
) -> int:
    """Put a set of programs on all hooks; each of them is swapped in place.

    Args:
        known: programs by number, to go back to if the change fails.

    Returns:
        Hooks that were changed; those that have the program already are left alone.

    Raises:
        SystemCallError: the kernel refused one.
    """
    changed = 0
    for pin, program in _links(instance.pins):
        with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
            now = link.info().program_id
            if now == programs[program].id:
                continue
            # Before its link lets go of it: that may be all that keeps it.
            before = _program(now, known, change)
            link.update(programs[program])
            changed += 1
            change.on_failure(_put_back, pin, before)
    for hook, program in _filter_hooks(instance):
        number = attach.filter_program(network, hook)
        if number is not None and number != programs[program].id:
            before = _program(number, known, change)
            attach.swap_filter(network, hook, programs[program], before, change)
            changed += 1
    return changed + xdp_slot.swap(instance.pins, programs[XDP_PROGRAM], change)


def at_work(network: Network, instance: Instance) -> set[int]:
    """Numbers of the programs on all hooks whose device or cgroup is there."""
    found = set()
    for pin, _ in _links(instance.pins):
        with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
            info = link.info()
            if info.ifindex or info.cgroup:
                found.add(info.program_id)
    for hook, _ in _filter_hooks(instance):
        found.add(attach.filter_program(network, hook) or 0)
    found |= {number for _, number in xdp_slot.programs(instance.pins)}
    return found - {0}


def _links(pins: PinFolder) -> Iterator[tuple[Path, str]]:
    """All pinned links and the names of their programs, in the order of a switch.

    Those that a killed `up` has left beside others are among them.
    """
    found = sorted(pins.links.iterdir()) if pins.links.is_dir() else []
    for start, program in _LINKS.items():
        yield from ((pin, program) for pin in found if pin.name.startswith(start))


def _filter_hooks(instance: Instance) -> Iterator[tuple[Hook, str]]:
    """Hooks that clsact may serve: those that have no link."""
    row = instance.config.get(index_key(0))
    uplink = int(row["uplink_ifindex"]) if row is not None else 0
    keys, _ = instance.ports.rows()
    hooks = [
        (Hook("uplink_ingress", uplink, TCX_INGRESS), IN_PROGRAM),
        (Hook("uplink_egress", uplink, TCX_EGRESS), OUT_PROGRAM),
        *((endpoints.port_hook(port), endpoints.CONTAINER_PROGRAM) for port in keys.tolist()),
    ]
    present = interface_names()
    for hook, program in hooks:
        if hook.ifindex in present and not (instance.pins.links / hook.link).exists():
            yield hook, program


def _program(number: int, known: Mapping[int, Program], change: Transaction) -> Program | None:
    """A program by number; None if we may not open it (CAP_SYS_ADMIN) or it has just gone."""
    if number in known:
        return known[number]
    try:
        return change.hold(Program.by_id(number))
    except IlaxError:
        return None


def _put_back(pin: Path, program: Program | None) -> None:
    if program is None:
        raise NotFoundError(f"the program that was in link {pin.name} cannot be opened")
    with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
        link.update(program)
