# SPDX-License-Identifier: Apache-2.0
"""Packet table: ICMPv6 errors from the underlay and what they quote."""

from __future__ import annotations

from scapy.layers import inet6
from scapy.packet import Raw

from datapath import packets as p
from datapath import plan
from datapath.packets import error, quoted
from datapath.plan import AUTO, CBIT, DOMAINS, PLAIN
from datapath.row import BY_XDP, TO_STACK, Row, arrives, passes
from model.address import address

WIRE, SIR = quoted(CBIT.there(plan.FAR_TASK)), quoted(CBIT.name(plan.FAR_TASK))
DROPPED = "DROP_ICMP_INNER"
ERROR_NAMES = {
    1: "destination unreachable",
    2: "packet too big",
    3: "time exceeded",
    4: "parameter problem",
    100: "an error for experiments",
    127: "the last error type",
}
# Wire addresses to which no mapping leads.
UNCONFIRMED = {
    "an address that moved away": CBIT.here(plan.FAR_TASK),
    "a mapping that leads elsewhere": CBIT.there(plan.MOVED_TASK),
    "an address that nobody published": CBIT.there(plan.UNKNOWN),
    "an unpublished address without C-bit": AUTO.there(plan.UNKNOWN),
    "an unpublished address without a type": PLAIN.there("1:2:3:4"),
    "another adjustment": CBIT.there(plan.FAR_TASK)[:-1] + b"\0",
}


def translated() -> list[Row]:
    rows = []
    for kind, name in ERROR_NAMES.items():
        rows += arrives(f"{name}: SIR address in the quote", error(WIRE, kind),
                        after=error(SIR, kind))  # fmt: skip
    for domain in DOMAINS:
        for name in (plan.FAR_TASK, plan.MULTICAST_TYPE_TASK, plan.STACK_TASK):
            mine = name == plan.STACK_TASK
            wire = domain.here(name) if mine else domain.there(name)
            rows += arrives(
                f"a quote of {address_text(wire)}", error(quoted(wire)), domain=domain,
                after=error(quoted(domain.name(name))),
            )  # fmt: skip
    untyped = PLAIN.there(plan.UNTYPED_TASK), PLAIN.name(plan.UNTYPED_TASK)
    rows += arrives("a quote of an identifier without a type", error(quoted(untyped[0])),
                    after=error(quoted(untyped[1])))  # fmt: skip
    rows += arrives("an error is delivered by XDP", error(WIRE), plan.XDP_TASK, BY_XDP,
                    after=error(SIR))  # fmt: skip
    rows += arrives("an error for the host's own task", error(WIRE), plan.HOST_TASK, "PASS_HOST",
                    after=error(SIR), becomes=TO_STACK)  # fmt: skip
    rows += arrives("an error whose hop limit is used up", error(WIRE), plan.STACK_TASK,
                    "PASS_HOP_LIMIT", after=error(SIR), becomes=TO_STACK, hop=1)  # fmt: skip
    rows += arrives("a tagged error", error(WIRE), after=error(SIR),
                    tags=(p.DOT1AD << 16 | 5, p.DOT1Q << 16 | 6))  # fmt: skip
    rows += arrives("a quote that ends behind its header", error(WIRE[:40]), after=error(SIR[:40]))
    return rows


def for_the_stack() -> list[Row]:
    """Errors for the host itself, and for somebody behind it.

    Routers that know no locator of the sender send them to SIR addresses.
    """
    rows = arrives("an error for the SIR address of a task of ours", error(WIRE),
                   after=error(SIR), by_sir=True)  # fmt: skip
    for dst in (
        CBIT.name(plan.FAR_TASK),
        AUTO.name(plan.UNKNOWN),
        p.FOREIGN,
        CBIT.there(plan.FAR_TASK),
        *(domain.own + address("::1")[8:] for domain in (CBIT, AUTO)),
        address("2001:db8:42:ffff::1"),
    ):
        to = address_text(dst)
        for kind, name in ERROR_NAMES.items():
            rows += passes(f"{name} for {to}: SIR address in the quote", _frame(dst, WIRE, kind),
                           "PASS_NOT_OURS", becomes=_frame(dst, SIR, kind))  # fmt: skip
        for kind in (3, 128):
            rows += passes(f"type {kind} for {to}: nothing to translate",
                           _frame(dst, quoted(p.FOREIGN), kind), "PASS_NOT_OURS")  # fmt: skip
        for what, inner in UNCONFIRMED.items():
            rows += passes(f"an error for {to} about {what} stays as it is",
                           _frame(dst, quoted(inner)), "PASS_NOT_OURS")  # fmt: skip
    for dst in (address("fe80::11"), address("ff02::1")):
        rows += passes(f"an error for {address_text(dst)} stays on the link", _frame(dst, WIRE),
                       "PASS_LINK_SCOPE")  # fmt: skip
    rows += passes("an error for an unknown identifier", _frame(CBIT.here(plan.UNKNOWN), WIRE),
                   "DROP_UNKNOWN_IDENTIFIER")  # fmt: skip
    return rows


def _frame(dst: bytes, inner: bytes, kind: int = 3) -> bytes:
    return p.ether(error(inner, kind)(dst, 64))


def address_text(raw: bytes) -> str:
    return str(inet6.inet_ntop(10, raw))


def behind_headers() -> list[Row]:
    rows = []
    for what, headers in {
        "hop-by-hop options": [p.hop_by_hop()],
        "destination options": [p.destination_options()],
        "a routing header": [p.routing()],
        "six extension headers": [p.destination_options()] * 6,
        "the first fragment's header": [inet6.IPv6ExtHdrFragment(m=1, id=1)],
        "an atomic fragment's header": [p.hop_by_hop(), inet6.IPv6ExtHdrFragment(id=1)],
    }.items():
        rows += arrives(f"an error behind {what}", error(WIRE, 3, *headers),
                        after=error(SIR, 3, *headers))  # fmt: skip
    for what, headers in {
        "seven extension headers": [p.destination_options()] * 7,
        "a later fragment's header": [inet6.IPv6ExtHdrFragment(offset=1, id=1)],
    }.items():
        rows += arrives(f"an error behind {what} stays as it is", error(WIRE, 3, *headers))
    rows += arrives("UDP behind options is no error", p.chain(p.hop_by_hop()))
    return rows


def dropped() -> list[Row]:
    rows = []
    for what, inner in UNCONFIRMED.items():
        for name, delivery in ((plan.STACK_TASK, "stack"), (plan.XDP_TASK, "XDP")):
            rows += arrives(f"an error about {what} ({delivery})", error(quoted(inner)), name,
                            DROPPED)  # fmt: skip
    return rows


def untouched() -> list[Row]:
    rows = []
    for what, inner in {
        "a foreign address": p.FOREIGN,
        "a SIR address": CBIT.name(plan.FAR_TASK),
        "an unknown SIR address": CBIT.name(plan.UNKNOWN),
        "a locator address without the C-bit": AUTO.there(plan.FAR_TASK)[:4]
        + CBIT.far[4:] + address(f"::{plan.FAR_TASK}")[8:],
        "a host's address": address("2001:db8:42:9::1"),
        "a host's address, with C-bits unused": address("2001:db8:43:9::1"),
        "a host's address that has the C-bit": address("2001:db8:42:9:1000::1"),
        "this host's address": address("2001:db8:42:7::1"),
        "multicast": address("ff02::1"),
    }.items():  # fmt: skip
        rows += arrives(f"an error about {what} is only delivered", error(quoted(inner)))
    for length in (0, 7, 24, 25, 39):
        rows += arrives(f"a quote of {length} bytes is too short to say", error(WIRE[:length]))
    for kind in (128, 129, 130, 143, 160, 255):
        rows += arrives(f"type {kind} is no error", error(WIRE, kind))
    for what, build in {
        "nothing of ICMPv6 but its announcement": p.raw(58, b""),
        "one byte of ICMPv6": p.raw(58, b"\3"),
        "the whole header of ICMPv6 and no quote": p.raw(58, b"\3" + bytes(7)),
        "a query": p.of(inet6.ICMPv6EchoReply(data=b"\3" * 60)),
        "UDP that looks like an error": p.udp(bytes(p.error_layer(WIRE))),
        "a protocol above ICMPv6": p.of(Raw(bytes(p.error_layer(WIRE))), nh=59),
    }.items():
        rows += arrives(f"{what}: delivered", build)
        rows += arrives(f"{what}: delivered by XDP", build, plan.XDP_TASK, BY_XDP)
    return rows


ROWS: list[Row] = [
    *translated(), *for_the_stack(), *behind_headers(), *dropped(), *untouched()
]  # fmt: skip
