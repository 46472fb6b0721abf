# SPDX-License-Identifier: Apache-2.0
"""Which of our programs are attached at a hook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.bpf import Program
from ilax.errors import NotFoundError
from ilax.hooks import tc_attach, xdp_attach, xdp_slot

if TYPE_CHECKING:
    from ilax.hooks.places import Hook
    from ilax.instances.instance import Instance
    from ilax.system.netlink import Network


@dataclass(frozen=True, slots=True)
class Loaded:
    """A program that runs for packets now.

    Attributes:
        number: the kernel's.
        tag: hash of its instructions.
        attached: "xdp", "slot" (of a foreign XDP program's array), "tcx" or "clsact".
        maps: numbers of the maps that it uses, in the order of their first use.
    """

    name: str
    number: int
    tag: str
    attached: str
    maps: tuple[int, ...]


def find(network: Network, instance: Instance, place: Hook) -> Loaded | None:
    """The program at a hook; None if none of ours is attached there.

    Raises:
        PrivilegeError: it is not the one that is pinned, and opening another by
            its number needs CAP_SYS_ADMIN.
    """
    links = instance.pins.links
    if place.is_xdp:
        number, attached = xdp_attach.program_on(links, place.ifindex), "xdp"
        if number is None:
            number = next((n for _, n in xdp_slot.programs(instance.pins) if n), None)
            attached = "slot"
    else:
        found = tc_attach.program_on(network, links, place)
        number, attached = (None, "") if found is None else (found[0], found[1].value)
    if not number:
        return None
    with _open(instance, place.program, number) as program:
        return Loaded(program.name, program.id, program.tag, attached, tuple(program.map_ids()))


def _open(instance: Instance, name: str, number: int) -> Program:
    """By its pin, which needs less privilege than its number does."""
    try:
        program = Program.open_pinned(instance.pins.programs / name)
    except NotFoundError:
        return Program.by_id(number)
    if program.id == number:
        return program
    program.close()
    return Program.by_id(number)
