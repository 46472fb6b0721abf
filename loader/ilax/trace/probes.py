# SPDX-License-Identifier: Apache-2.0
"""What is attached to, and what of the picture is missing where a probe is."""

from __future__ import annotations

import enum
from collections.abc import Container
from dataclasses import dataclass


class Kind(enum.Enum):
    """How a program gets to see something."""

    TRACEPOINT = "tracepoint"
    FUNCTION = "function"


class Part(enum.Enum):
    """What can be told by itself."""

    STACK = "latency of packets that tc delivers"
    XDP = "latency of packets that XDP delivers"
    EXCEPTIONS = "XDP exceptions"
    REDIRECTS = "errors of XDP redirect"
    TRANSMITS = "frames that a device refused after XDP redirect"
    DROPS = "drops of the kernel"


LATENCY = frozenset({Part.STACK, Part.XDP})


@dataclass(frozen=True, slots=True)
class Probe:
    """A tracepoint or a function of the kernel.

    Attributes:
        parts: what it is needed for.
        one_of_many: each kernel and driver uses some of these; a single one that is
            absent is no loss.
    """

    name: str
    kind: Kind
    parts: frozenset[Part]
    one_of_many: bool = False

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"


def _tracepoint(name: str, *parts: Part, one_of_many: bool = False) -> Probe:
    return Probe(name, Kind.TRACEPOINT, frozenset(parts), one_of_many)


def _function(name: str, *parts: Part) -> Probe:
    return Probe(name, Kind.FUNCTION, frozenset(parts))


# In the order of attachment: the ends of a way first, or what is under way at that
# moment would look as if it never arrived.
PROBES = (
    _function("ip6_input", *LATENCY),
    _tracepoint("netif_receive_skb", *LATENCY),
    _tracepoint("napi_gro_receive_entry", Part.STACK, one_of_many=True),
    _tracepoint("napi_gro_frags_entry", Part.STACK, one_of_many=True),
    _tracepoint("netif_receive_skb_entry", Part.STACK, one_of_many=True),
    _tracepoint("netif_receive_skb_list_entry", Part.STACK, one_of_many=True),
    _tracepoint("netif_rx_entry", Part.STACK, one_of_many=True),
    _function("__xdp_build_skb_from_frame", Part.XDP),
    _function("xdp_do_redirect", Part.XDP),
    _tracepoint("xdp_exception", Part.EXCEPTIONS),
    _tracepoint("xdp_redirect_err", Part.REDIRECTS, one_of_many=True),
    _tracepoint("xdp_redirect_map_err", Part.REDIRECTS, one_of_many=True),
    _tracepoint("xdp_devmap_xmit", Part.TRANSMITS),
    _tracepoint("kfree_skb", Part.DROPS),
)


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the picture that is missing.

    Attributes:
        part: what is not measured.
        because: which probes are missing, and why.
    """

    part: Part
    because: list[str]


def gaps(wanted: Container[Part] | type[Part], failed: dict[Probe, str]) -> list[Gap]:
    """What cannot be told.

    Args:
        wanted: what was asked for.
        failed: probes that are not attached, and why.
    """
    found = []
    for part in Part:
        mine = [probe for probe in PROBES if part in probe.parts]
        alternatives = [probe for probe in mine if probe.one_of_many]
        lacking = [probe for probe in mine if probe in failed and not probe.one_of_many]
        if alternatives and all(probe in failed for probe in alternatives):
            lacking += alternatives
        if part in wanted and lacking:
            found.append(Gap(part, [f"{probe}: {failed[probe]}" for probe in lacking]))
    return found
