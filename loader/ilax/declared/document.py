# SPDX-License-Identifier: Apache-2.0
"""What a file declares, as plain data. Names are those of the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ilax.address import Address, Prefix
from ilax.declared.positions import Path

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray

    from ilax.hooks.tc_order import Place
    from ilax.hooks.xdp_slot import SlotName
    from ilax.translation.fabric import Fabric

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Up:
    """`[up]`: the options of `ilax up`. 0 rows: not said.

    Attributes:
        sir_prefixes, locators, blocks: in the order of the file.
    """

    uplink: str
    sir_prefixes: tuple[Prefix, ...]
    locators: tuple[Prefix, ...]
    blocks: tuple[Prefix, ...] = ()
    cbit: bool = True
    typed: bool = True
    host_address: Address | None = None
    gateway: Address | None = None
    xdp: str = "auto"
    xdp_chain: SlotName | None = None
    tc: str = "auto"
    tc_order: Place | None = None
    max_endpoints: int = 0
    max_mappings: int = 0
    max_limits: int = 0


@dataclass(frozen=True, kw_only=True)
class EndpointWish:
    """`[[endpoint]]`: the options of `ilax endpoint add`.

    Attributes:
        path: where it stands in the file.
        netns: None for an address of the host itself.
        mtu: bytes, 0 = not said: the uplink's when the endpoint is made.
        cgroup: as it is written; None = names none.
    """

    path: Path
    sir: Address
    netns: str | None = None
    device: str = "eth0"
    delivery: str = "stack"
    link: str = "veth"
    mtu: int = 0
    any_source: bool = False
    cgroup: str | None = None


@dataclass(frozen=True, kw_only=True)
class MappingWish:
    """`[[mapping]]`: one row, or a file of them.

    Attributes:
        path: where it stands in the file.
        sir: None for a file.
        wire, locator: one of them, for a row.
        file: as it is written, relative to the document.
        format: "csv" or "jsonl"; None = by the name of the file.
    """

    path: Path
    sir: Address | None = None
    wire: Address | None = None
    locator: Prefix | None = None
    file: str | None = None
    format: str | None = None


@dataclass(frozen=True, kw_only=True)
class LimitWish:
    """`[[limit]]`: the options of `ilax limit set`. None = at its default.

    Attributes:
        path: where it stands in the file.
        cgroup: as it is written.
        rate: bits per second.
        pps: packets per second.
        burst, mark_at, drop_at, small_extra: ns.
        parent: "auto", "none", or a cgroup of another limit as it is written there.
    """

    path: Path
    cgroup: str
    rate: int | None = None
    pps: Fraction | None = None
    burst: int | None = None
    mark_at: int | None = None
    drop_at: int | None = None
    small_extra: int | None = None
    parent: str = "auto"
    action: Literal["drop", "mark", "tag", "count"] = "drop"
    tag_mark: int | None = None
    tag_priority: int | None = None


@dataclass(frozen=True)
class Placement:
    """All mappings that a document declares, in the order of their addresses.

    Attributes:
        sir, wire: uint64, (n, 2) each; no SIR address occurs twice.
    """

    sir: NDArray[np.uint64]
    wire: NDArray[np.uint64]


@dataclass(frozen=True)
class Document:
    """A file without contradictions.

    Attributes:
        placement: of `mappings`, read from inline rows and files.
        notes: doubts that forbid nothing.
    """

    up: Up
    fabric: Fabric
    placement: Placement
    endpoints: tuple[EndpointWish, ...] = ()
    mappings: tuple[MappingWish, ...] = ()
    limits: tuple[LimitWish, ...] = ()
    notes: tuple[str, ...] = ()


Table = dict[str, Any]


@dataclass
class Raw:
    """What could be read of a file; parts that are wrong are left out."""

    up: Up | None = None
    endpoints: list[EndpointWish] = field(default_factory=list)
    mappings: list[MappingWish] = field(default_factory=list)
    limits: list[LimitWish] = field(default_factory=list)
