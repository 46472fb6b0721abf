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
from ilax.contract.tables import index_key
from ilax.errors import IlaxError, NotFoundError
from ilax.hooks import clsact, xdp_slot
from ilax.hooks.places import (
    CGROUP,
    CONTAINER,
    UPLINK_EGRESS,
    UPLINK_INGRESS,
    XDP_INGRESS,
    Hook,
    uplink_hooks,
)
from ilax.system.netlink import interface_names

if TYPE_CHECKING:
    from ilax.hooks.program_set import Programs
    from ilax.instances.instance import Instance
    from ilax.instances.pins import PinFolder
    from ilax.instances.transaction import Transaction
    from ilax.system.netlink import Network

# Taker before giver: tc on the uplink takes what XDP hands over, so XDP comes last.
_ORDER = (UPLINK_INGRESS, CONTAINER, UPLINK_EGRESS, CGROUP, XDP_INGRESS)


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
    for hook in _filter_hooks(instance):
        number = clsact.filter_program(network, hook)
        if number is not None and number != programs[hook.program].id:
            before = _program(number, known, change)
            clsact.swap_filter(network, hook, programs[hook.program], before, change)
            changed += 1
    return changed + xdp_slot.swap(instance.pins, programs[XDP_INGRESS.program], change)


def at_work(network: Network, instance: Instance) -> set[int]:
    """Numbers of the programs on all hooks whose device or cgroup is there."""
    found = set()
    for pin, _ in _links(instance.pins):
        with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
            info = link.info()
            if info.ifindex or info.cgroup:
                found.add(info.program_id)
    for hook in _filter_hooks(instance):
        found.add(clsact.filter_program(network, hook) or 0)
    found |= {number for _, number in xdp_slot.programs(instance.pins)}
    return found - {0}


def _links(pins: PinFolder) -> Iterator[tuple[Path, str]]:
    """All pinned links and the names of their programs, in the order of a switch.

    Those that a killed `up` has left beside others are among them.
    """
    found = sorted(pins.links.iterdir()) if pins.links.is_dir() else []
    for kind in _ORDER:
        yield from ((pin, kind.program) for pin in found if pin.name.startswith(kind.link))


def _filter_hooks(instance: Instance) -> Iterator[Hook]:
    """Hooks that clsact may serve: those that have no link."""
    row = instance.config.get(index_key(0))
    uplink = int(row["uplink_ifindex"]) if row is not None else 0
    keys, _ = instance.ports.rows()
    hooks = [*uplink_hooks(uplink), *(CONTAINER.at(port) for port in keys.tolist())]
    present = interface_names()
    for hook in hooks:
        if hook.ifindex in present and not (instance.pins.links / hook.link).exists():
            yield hook


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
