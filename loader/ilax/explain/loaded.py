# SPDX-License-Identifier: Apache-2.0
"""Which of our programs are attached at a hook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.bpf import Program
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS
from ilax.endpoint.endpoints import CONTAINER_PROGRAM, port_hook
from ilax.errors import NotFoundError
from ilax.hooks import attach, xdp_slot

if TYPE_CHECKING:
    from ilax.instances.instance import Instance
    from ilax.system.netlink import Network


@dataclass(frozen=True, slots=True)
class Place:
    """A hook of the datapath.

    Attributes:
        hook: as counters name it.
        program: the name of the program that belongs there.
        object: the file that it comes from.
        ifindex: of the device.
    """

    hook: str
    program: str
    object: str
    ifindex: int

    @property
    def is_xdp(self) -> bool:
        """Whether packets come there before they are skbs."""
        return self.hook == "xdp_ingress"

    @property
    def tc(self) -> attach.Hook:
        """The tc hook; not for XDP."""
        if self.hook == "container":
            return port_hook(self.ifindex)
        out = self.hook == "uplink_egress"
        return attach.Hook(self.hook, self.ifindex, TCX_EGRESS if out else TCX_INGRESS)


def xdp_ingress(ifindex: int) -> Place:
    """XDP at the uplink."""
    return Place("xdp_ingress", "ilax_uplink_xdp", "ingress", ifindex)


def uplink_ingress(ifindex: int) -> Place:
    """From the network, by tc."""
    return Place("uplink_ingress", "ilax_uplink_in", "uplink_ingress", ifindex)


def uplink_egress(ifindex: int) -> Place:
    """Towards the network."""
    return Place("uplink_egress", "ilax_uplink_out", "uplink_egress", ifindex)


def container(ifindex: int) -> Place:
    """What a container sends."""
    return Place("container", CONTAINER_PROGRAM, "container", ifindex)


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


def find(network: Network, instance: Instance, place: Place) -> Loaded | None:
    """The program at a hook; None if none of ours is attached there.

    Raises:
        PrivilegeError: it is not the one that is pinned, and opening another by
            its number needs CAP_SYS_ADMIN.
    """
    links = instance.pins.links
    if place.is_xdp:
        number, attached = attach.xdp_program_on(links, place.ifindex), "xdp"
        if number is None:
            number = next((n for _, n in xdp_slot.programs(instance.pins) if n), None)
            attached = "slot"
    else:
        found = attach.program_on(network, links, place.tc)
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
