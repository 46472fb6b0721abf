# SPDX-License-Identifier: Apache-2.0
"""One row of the packet table, and shorthands that make rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from datapath import plan
from datapath.packets import TASK, Builder, ether
from datapath.plan import CBIT, PLAN, Domain
from datapath.world import Packet
from model import Hook, Tables
from model.address import address

INGRESS = (Hook.XDP, Hook.UPLINK_IN)

# The two ways from the underlay into a task; what XDP cannot do alone, tc ends.
BY_STACK = {Hook.XDP: "SEND_META", Hook.UPLINK_IN: "SEND_PEER"}
BY_XDP = {Hook.XDP: "SEND_XDP", Hook.UPLINK_IN: "SEND_PEER"}

# What happens to the bytes.
SAME = "same"  # nothing
DELIVERED = "delivered"  # SIR destination, one hop less, no tags
TO_STACK = "to stack"  # SIR destination, everything else as it came


@dataclass(frozen=True)
class Row:
    """One packet at one hook.

    Attributes:
        out: the frame afterwards; None after a drop.
        handover: metadata that XDP puts in front.
        tag: skb->mark and skb->priority afterwards.
    """

    sentence: str
    hook: Hook
    packet: Packet
    reason: str
    out: bytes | None
    handover: bytes = b""
    tables: Tables = PLAN
    tag: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        return f"{self.hook.name.lower()}: {self.sentence}"


Reasons = str | Mapping[Hook, str]


def _reason(reasons: Reasons, hook: Hook) -> str:
    return reasons if isinstance(reasons, str) else reasons[hook]


def _handover(tables: Tables, wire: bytes) -> bytes:
    magic = 0x696C6178
    ifindex = tables.endpoints[wire].ifindex
    return magic.to_bytes(4, "little") + ifindex.to_bytes(4, "little")


def arrives(
    sentence: str,
    build: Builder,
    name: str = plan.STACK_TASK,
    reasons: Reasons = BY_STACK,
    *,
    becomes: str = DELIVERED,
    domain: Domain = CBIT,
    hop: int = 64,
    tags: tuple[int, ...] = (),
    after: Builder | None = None,
    hooks: tuple[Hook, ...] = INGRESS,
    packet: Packet | None = None,
    tables: Tables = PLAN,
) -> list[Row]:
    """A packet from the underlay to the wire address of an identifier.

    Args:
        after: builds the packet that comes out, if more than the header differs.
        packet: everything but its data is taken over.
    """
    wire, sir = domain.here(name), domain.name(name)
    given = replace(packet or Packet(b""), data=ether(build(wire, hop), tags=tags))
    rows = []
    for hook in hooks:
        reason = _reason(reasons, hook)
        out: bytes | None = given.data
        if becomes == DELIVERED:
            out = ether((after or build)(sir, hop - 1))
        elif becomes == TO_STACK:
            out = ether((after or build)(sir, hop), tags=tags)
        if reason == "SEND_XDP":
            assert out is not None
            ifindex = tables.endpoints[wire].ifindex
            out = plan.mac(ifindex, 1) + plan.mac(ifindex) + out[12:]
        if reason.startswith("DROP"):
            out = None
        handover = _handover(tables, wire) if reason == "SEND_META" else b""
        rows.append(Row(sentence, hook, given, reason, out, handover, tables))
    return rows


def passes(
    sentence: str,
    data: bytes,
    reason: str,
    hooks: tuple[Hook, ...] = INGRESS,
    packet: Packet | None = None,
    becomes: bytes | None = None,
) -> list[Row]:
    """A frame that nobody touches (or drops; then what is left does not matter).

    Args:
        becomes: the whole frame afterwards, if something inside is touched.
    """
    out = None if reason.startswith("DROP") else becomes or data
    given = replace(packet or Packet(b""), data=data)
    return [Row(sentence, hook, given, reason, out) for hook in hooks]


def sends(
    sentence: str,
    build: Builder,
    dst: bytes | str,
    reason: str,
    becomes: bytes | None = None,
    *,
    hop: int = 64,
    hops_after: int | None = None,
    port: int = plan.TASK1,
    tags: tuple[int, ...] = (),
    packet: Packet | None = None,
    tables: Tables = PLAN,
    hook: Hook = Hook.CONTAINER,
) -> list[Row]:
    """A packet of a container (or one that leaves by the uplink).

    Args:
        becomes: the destination afterwards; None: the frame is untouched.
        hops_after: the hop limit then; None: one less.
    """
    target = address(dst) if isinstance(dst, str) else dst
    data = ether(build(target, hop), port, tags)
    out: bytes | None = data
    if becomes is not None:
        out = ether(build(becomes, hop - 1 if hops_after is None else hops_after), port)
    if reason.startswith("DROP"):
        out = None
    given = replace(packet or Packet(b""), data=data, ifindex=port)
    return [Row(sentence, hook, given, reason, out, tables=tables)]


def leaves(
    sentence: str,
    build: Builder,
    dst: bytes | str,
    reason: str,
    becomes: bytes | None = None,
    *,
    hop: int = 64,
    tables: Tables = PLAN,
) -> list[Row]:
    """A packet that the host's stack sends out of the uplink."""
    return sends(
        sentence, build, dst, reason, becomes, hop=hop, hops_after=hop, port=plan.UPLINK,
        tables=tables, hook=Hook.UPLINK_OUT,
    )  # fmt: skip


__all__ = [
    "BY_STACK", "BY_XDP", "DELIVERED", "INGRESS", "SAME", "TASK", "TO_STACK", "Row",
    "arrives", "leaves", "passes", "sends",
]  # fmt: skip
