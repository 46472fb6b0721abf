# SPDX-License-Identifier: Apache-2.0
"""Packet table: packets for tasks with a limit, on every way to them."""

from __future__ import annotations

from dataclasses import replace

from datapath import packets as p
from datapath import plan
from datapath.plan import CBIT, LIMITS
from datapath.row import BY_STACK, BY_XDP, TO_STACK, Row, arrives, sends
from model import Hook

NOT_ECT, ECT_1, ECT_0, CE = range(4)
WORDS = {CE: "is marked already", ECT_0: "asks for marks", ECT_1: "asks for marks, too"}


def _ecn(bits: int, build: p.Builder | None = None) -> p.Builder:
    def with_bits(dst: bytes, hop: int) -> bytes:
        packet = bytearray((build or p.tcp())(dst, hop))
        packet[1] = packet[1] & 0xCF | bits << 4
        return bytes(packet)

    return with_bits


def _tagged(rows: list[Row], slot: int, ifindex: int) -> list[Row]:
    """tc sets both in the skb, XDP writes them into a larger handover."""
    mark, prio = LIMITS[slot].mark, LIMITS[slot].prio
    words = (0x696C6174, ifindex, mark, prio)
    handover = b"".join(word.to_bytes(4, "little") for word in words)
    return [
        replace(row, handover=handover) if row.hook is Hook.XDP else replace(row, tag=(mark, prio))
        for row in rows
    ]


def from_the_underlay() -> list[Row]:
    rows = [
        *arrives("below its limit a task is served as ever", p.tcp(), plan.WITHIN_TASK),
        *arrives("over its limit a packet is dropped", p.tcp(), plan.OVER_TASK, "DROP_LIMIT"),
        *arrives(
            "over its limit a packet is dropped before XDP redirects it",
            p.udp(), plan.OVER_XDP_TASK, "DROP_LIMIT",
        ),
        *arrives(
            "over its limit a packet for the host's namespace is dropped",
            p.udp(), plan.OVER_HOST_TASK, "DROP_LIMIT",
        ),
        *arrives(
            "over its limit a packet with hop limit 1 is dropped: nobody has to answer it",
            p.udp(), plan.OVER_TASK, "DROP_LIMIT", hop=1,
        ),
        *arrives(
            "a parent's limit ends a packet, too",
            p.tcp(), plan.PARENT_OVER_TASK, "DROP_LIMIT",
        ),
        *arrives(
            "a packet that asks for no marks gets none",
            _ecn(NOT_ECT), plan.MARKED_TASK,
        ),
        *arrives(
            "a charged packet with hop limit 1 is the stack's, and not charged again",
            p.tcp(), plan.WITHIN_TASK, "PASS_HOP_LIMIT", becomes=TO_STACK, hop=1,
        ),
        *arrives(
            "a SIR address from the underlay is no way around the limit",
            p.udp(), plan.OVER_TASK, "DROP_LIMIT", by_sir=True,
        ),
        *_tagged(arrives("a tag of mark and priority", p.udp(), plan.TAGGED_TASK),
                 plan.TAGS, plan.TASK1),
        *_tagged(arrives(
            "a tagged packet for the host's namespace",
            p.udp(), plan.TAGGED_HOST_TASK, "PASS_HOST", becomes=TO_STACK,
        ), plan.TAGS, 0),
        *_tagged(arrives(
            "the nearest tag counts, and a parent's mark as well",
            _ecn(ECT_0), plan.PARENT_MARKED_TASK, after=_ecn(CE),
        ), plan.PARENT_MARKS, plan.TASK1),
        *arrives(
            "a tagged VLAN frame over its limit is dropped",
            p.tcp(), plan.OVER_TASK, "DROP_LIMIT", tags=(0x81000005,),
        ),
        *arrives(
            "a VLAN frame is marked behind its tag",
            _ecn(ECT_0), plan.MARKED_TASK, tags=(0x81000005,), after=_ecn(CE),
        ),
        *arrives(
            "UDP is marked like TCP",
            _ecn(ECT_0, p.udp()), plan.MARKED_TASK, after=_ecn(CE, p.udp()),
        ),
    ]  # fmt: skip
    for bits, words in WORDS.items():
        for name, reasons in ((plan.MARKED_TASK, BY_STACK), (plan.MARKED_XDP_TASK, BY_XDP)):
            rows += arrives(
                f"{name}: a packet that {words}", _ecn(bits), name, reasons, after=_ecn(CE)
            )
    return rows


def between_containers() -> list[Row]:
    """At delivery, in the hook of the sender."""
    rows = []
    for name, reason in (
        (plan.WITHIN_TASK, "SEND_LOCAL"),
        (plan.OVER_TASK, "DROP_LIMIT"),
        (plan.PARENT_OVER_TASK, "DROP_LIMIT"),
        (plan.OVER_HOST_TASK, "DROP_LIMIT"),
    ):
        to = CBIT.name(name)
        rows += sends(f"from a neighbour to {name}", p.tcp(src=p.TASK), to, reason, to)
    to = CBIT.name(plan.MARKED_TASK)
    (row,) = sends("a neighbour's packet is marked", _ecn(ECT_0), to, "SEND_LOCAL", to)
    source = _ecn(ECT_0, p.tcp(src=p.TASK))(to, 64)
    marked = _ecn(CE, p.tcp(src=p.TASK))(to, 63)
    rows.append(
        replace(
            row,
            packet=replace(row.packet, data=p.ether(source, plan.TASK1)),
            out=p.ether(marked, plan.TASK1),
        )
    )
    return rows


def unlimited_directions() -> list[Row]:
    """Limits are about what arrives; what leaves for another host has none here."""
    return sends(
        "a limited task sends without limit",
        p.tcp(src=p.TASK), CBIT.name(plan.FAR_TASK), "SEND_FORWARD", CBIT.there(plan.FAR_TASK),
    )  # fmt: skip


ROWS = [*from_the_underlay(), *between_containers(), *unlimited_directions()]
