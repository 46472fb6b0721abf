# SPDX-License-Identifier: Apache-2.0
"""Packet table: VLAN tags, in the frame and beside it."""

from __future__ import annotations

from datapath import packets as p
from datapath import plan
from datapath.packets import DOT1AD, DOT1Q, OLD_QINQ
from datapath.plan import CBIT
from datapath.row import BY_XDP, TO_STACK, Row, arrives, passes, sends
from datapath.world import Packet
from model import Hook

FAR = CBIT.name(plan.FAR_TASK)
TC_ONLY = (Hook.UPLINK_IN,)
ALL_HOOKS = tuple(Hook)

TAGS = {
    "one tag": (DOT1Q << 16 | 5,),
    "one service tag": (DOT1AD << 16 | 5,),
    "a priority tag": (DOT1Q << 16 | 0xE000,),
    "two tags": (DOT1AD << 16 | 5, DOT1Q << 16 | 6),
    "two tags of one type": (DOT1Q << 16 | 5, DOT1Q << 16 | 6),
}


def in_the_frame() -> list[Row]:
    rows = []
    for what, tags in TAGS.items():
        rows += arrives(f"{what}: gone on delivery by the stack", p.tcp(), tags=tags)
        rows += arrives(
            f"{what}: gone on delivery by XDP", p.udp(), plan.XDP_TASK, BY_XDP, tags=tags
        )
        rows += arrives(
            f"{what}: kept for the host's stack", p.tcp(), plan.HOST_TASK, "PASS_HOST",
            becomes=TO_STACK, tags=tags,
        )  # fmt: skip
        rows += arrives(
            f"{what}: kept where the stack answers", p.tcp(), plan.STACK_TASK, "PASS_HOP_LIMIT",
            becomes=TO_STACK, tags=tags, hop=1,
        )  # fmt: skip
        rows += arrives(f"{what}: no part of the MTU", p.sized(plan.MTU), tags=tags)
        rows += passes(
            f"{what}: an unknown identifier", p.ether(p.tcp()(CBIT.here(plan.UNKNOWN), 9),
            tags=tags), "DROP_UNKNOWN_IDENTIFIER",
        )  # fmt: skip
        rows += passes(
            f"{what}: ARP", p.link(b"\xff" * 6, bytes(28), 0x0806, tags), "PASS_NOT_IPV6", ALL_HOOKS
        )
        rows += sends(
            f"{what} from a container: gone on the way out", p.tcp(src=p.TASK), FAR,
            "SEND_FORWARD", CBIT.there(plan.FAR_TASK), tags=tags,
        )  # fmt: skip
    return rows


def limits() -> list[Row]:
    data = p.tcp()(CBIT.here(plan.STACK_TASK), 64)
    one = DOT1Q << 16 | 5
    three = p.ether(data, tags=(one,) * 3)
    rows = passes("three tags are one too many", three, "PASS_MANY_TAGS", (Hook.XDP,))
    rows += passes("three tags are one too many", three, "DROP_MALFORMED", TC_ONLY)
    rows += passes("three tags for another station", b"\2" + b"\x77" * 5 + three[6:],
                   "PASS_MANY_TAGS", TC_ONLY)  # fmt: skip
    hidden = p.ether(p.tcp()(CBIT.name(plan.OVER_TASK), 64), tags=(DOT1Q << 16,) * 3)
    rows += passes("no way around a limit: three tags of VLAN 0", hidden, "DROP_MALFORMED", TC_ONLY)
    # To Linux this type is no tag, so neither may XDP take it for one.
    for tags in ((OLD_QINQ << 16 | 5,), (OLD_QINQ << 16 | 5, one), (one, OLD_QINQ << 16 | 5)):
        what = " then ".join(f"{tag >> 16:04x}" for tag in tags)
        rows += passes(f"a tag that Linux does not know ({what})", p.ether(data, tags=tags),
                       "PASS_NOT_IPV6")  # fmt: skip
    tagged = p.ether(data, tags=(one,))
    rows += passes("a tag without what follows", tagged[:17], "PASS_MANY_TAGS", (Hook.XDP,))
    rows += passes("a tag without what follows", tagged[:17], "DROP_MALFORMED", TC_ONLY)
    rows += passes("half an IPv6 header behind a tag", tagged[:40], "PASS_MALFORMED")
    return rows


def beside_the_frame() -> list[Row]:
    """Tags as devices hand them over: the outermost is not in the frame any more."""
    rows = []
    beside = Packet(b"", tag=DOT1Q << 16 | 5)
    inner = (DOT1Q << 16 | 6, DOT1Q << 16 | 7)
    for count, what in enumerate(("", " and one in the frame", " and two in the frame")):
        rows += arrives(
            f"a tag beside the frame{what}: delivered without", p.tcp(), hooks=TC_ONLY,
            tags=inner[:count], packet=beside,
        )  # fmt: skip
        rows += sends(
            f"a container's tag beside the frame{what}: sent without", p.tcp(src=p.TASK), FAR,
            "SEND_FORWARD", CBIT.there(plan.FAR_TASK), tags=inner[:count], packet=beside,
        )  # fmt: skip
    return rows


ROWS: list[Row] = [*in_the_frame(), *limits(), *beside_the_frame()]
