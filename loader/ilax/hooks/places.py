# SPDX-License-Identifier: Apache-2.0
"""The hooks of the datapath under all their names: one row for each program of ours.

What counters, pins, files and the kernel call a hook is said here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from ilax.bpf.link import ATTACH_XDP, CGROUP_INET_INGRESS, TCX_EGRESS, TCX_INGRESS

# A link to another device waits under this name until the old one may go.
_BESIDE = "_new"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of hook; of the uplink there is one of each, of the others many.

    Attributes:
        name: as counters and the packet table call it.
        link: name of the pinned link; where there are many, what stands before the number.
        objects: files of the program without their ending; the first is the usual one.
        program: its name, and that of its pin.
        attach_type: enum bpf_attach_type.
    """

    name: str
    link: str
    objects: tuple[str, ...]
    program: str
    attach_type: int

    @property
    def object(self) -> str:
        """The file that new hooks are given, as a rule."""
        return self.objects[0]

    @property
    def many(self) -> bool:
        """Whether links of it have a number: that of a device, or of a cgroup."""
        return self.link.endswith("_")

    def link_of(self, number: int) -> str:
        """Name of the pinned link at a device or cgroup."""
        return f"{self.link}{number}" if self.many else self.link

    def number_of(self, link: str) -> int | None:
        """The number in the name of a link; None if it is no link of this kind."""
        number = link.removeprefix(self.link)
        return int(number) if self.many and number != link and number.isdigit() else None

    def at(self, ifindex: int) -> Hook:
        """The hook of this kind at a device."""
        return Hook(self, ifindex)


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook of a device."""

    kind: Kind
    ifindex: int

    @property
    def name(self) -> str:
        """As counters call it."""
        return self.kind.name

    @property
    def program(self) -> str:
        """Name of the program that belongs there."""
        return self.kind.program

    @property
    def object(self) -> str:
        """The file that it comes from, as a rule."""
        return self.kind.object

    @property
    def link(self) -> str:
        """Name of the pinned link."""
        return self.kind.link_of(self.ifindex)

    @property
    def is_xdp(self) -> bool:
        """Whether packets come there before they are skbs."""
        return self.kind is XDP_INGRESS

    @property
    def direction(self) -> int:
        """TCX_INGRESS or TCX_EGRESS; not for XDP."""
        return self.kind.attach_type


# XDP has a second object, without "frags": for arrays that take no other, see
# `xdp/ingress_linear.bpf.c`.
XDP_INGRESS = Kind(
    "xdp_ingress", "xdp_ingress", ("ingress", "ingress_linear"), "ilax_uplink_xdp", ATTACH_XDP
)
UPLINK_INGRESS = Kind(
    "uplink_ingress", "uplink_ingress", ("uplink_ingress",), "ilax_uplink_in", TCX_INGRESS
)
UPLINK_EGRESS = Kind(
    "uplink_egress", "uplink_egress", ("uplink_egress",), "ilax_uplink_out", TCX_EGRESS
)
CONTAINER = Kind("container", "port_", ("container",), "ilax_from_task", TCX_INGRESS)
CGROUP = Kind("cgroup", "cgroup_", ("cgroup_ingress",), "ilax_cgroup_in", CGROUP_INET_INGRESS)

# In the order of the contract.
ALL = (XDP_INGRESS, UPLINK_INGRESS, UPLINK_EGRESS, CONTAINER, CGROUP)
# Where tc programs sit on an uplink: towards us, and away from us.
UPLINK_TC = (UPLINK_INGRESS, UPLINK_EGRESS)


def uplink_hooks(ifindex: int) -> tuple[Hook, Hook]:
    """The tc hooks of an uplink, as in UPLINK_TC."""
    return UPLINK_INGRESS.at(ifindex), UPLINK_EGRESS.at(ifindex)


def of_link(name: str) -> Kind | None:
    """The kind that a pinned link is of; None for what waits beside a link of the uplink."""
    return next(
        (kind for kind in ALL if name == kind.link or (kind.many and name.startswith(kind.link))),
        None,
    )


def beside(link: str) -> str:
    """Name under which a link to another device waits until the old one may go."""
    return f"{link}{_BESIDE}"


def is_beside(link: str) -> bool:
    """Whether a name is one of those."""
    return link.endswith(_BESIDE)
