# SPDX-License-Identifier: Apache-2.0
"""Packet table: from containers, and out of the uplink."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers import inet6

from datapath import packets as p
from datapath import plan
from datapath.packets import TASK
from datapath.plan import AUTO, CBIT, DOMAINS, PLAIN, PLAN
from datapath.row import Row, leaves, passes, sends
from datapath.world import Packet
from ilax.instances.sir_routes import SIR_GATEWAY
from model import Hook
from model.address import address
from model.tables import PREFIX_BLOCK, Prefix

FAR, FAR_WIRE = CBIT.name(plan.FAR_TASK), CBIT.there(plan.FAR_TASK)
NEAR = CBIT.name(plan.XDP_TASK)
CONTAINER = (Hook.CONTAINER,)
LINK_LOCAL = address("fe80::2")

PAYLOADS: dict[str, p.Builder] = {
    "TCP": p.tcp(src=TASK),
    "UDP": p.udp(src=TASK),
    "an echo request": p.echo(TASK),
    "an ICMPv6 error": p.error(p.quoted(TASK, FAR), 1, src=TASK),
    "hop-by-hop options": p.chain(p.hop_by_hop(), src=TASK),
    "a routing header": p.chain(p.routing(), src=TASK),
    "the first fragment": p.fragment(0, more=True, src=TASK),
    "a later fragment": p.fragment(185, more=True, src=TASK),
    "an unknown protocol": p.raw(253, src=TASK),
    "no next header": p.raw(59, b"", src=TASK),
}


def from_containers() -> list[Row]:
    rows = []
    for what, build in PAYLOADS.items():
        rows += sends(f"{what} to another host", build, FAR, "SEND_FORWARD", FAR_WIRE)
        rows += sends(f"{what} to a task of this host", build, NEAR, "SEND_LOCAL", NEAR)
    for domain in DOMAINS:
        rows += sends(
            f"to a task under {inet6.inet_ntop(10, domain.sir + bytes(8))}", p.tcp(src=TASK),
            domain.name(plan.FAR_TASK), "SEND_FORWARD", domain.there(plan.FAR_TASK),
        )  # fmt: skip
    tcp = p.tcp(src=TASK)
    untyped = PLAIN.name(plan.UNTYPED_TASK), PLAIN.there(plan.UNTYPED_TASK)
    rows += sends("to an identifier without a type", tcp, untyped[0], "SEND_FORWARD", untyped[1])
    rows += sends("to itself", tcp, TASK, "SEND_LOCAL", TASK)
    host = CBIT.name(plan.HOST_TASK)
    rows += sends("to a task in the host's namespace", tcp, host, "PASS_HOST")
    rows += sends("to a foreign address: the host's stack routes", tcp, p.FOREIGN, "PASS_NOT_OURS")
    rows += sends("to a SIR address without a row", tcp, CBIT.name(plan.UNKNOWN),
                  "DROP_NO_MAPPING")  # fmt: skip
    rows += sends("to a SIR address that moved from here before its row changed", tcp,
                  CBIT.name(plan.DANGLING), "DROP_UNKNOWN_IDENTIFIER")  # fmt: skip
    rows += sends("a recycled row is not used", tcp, CBIT.name(plan.RECYCLED_TASK),
                  "DROP_ROW_CHANGED")  # fmt: skip
    rows += sends("a zeroed mapping", tcp, CBIT.name(plan.NO_ACTION), "DROP_BAD_ACTION")
    rows += sends("a mapping of another age", tcp, CBIT.name(plan.BAD_ACTION), "DROP_BAD_ACTION")
    rows += sends("from a device that nobody announced", tcp, FAR, "DROP_UNKNOWN_PORT",
                  port=plan.STRANGER)  # fmt: skip
    gateway = replace(PLAN, config=replace(PLAN.config, gateway=address("fe80::99")))
    rows += sends("by a fixed next hop", tcp, FAR, "SEND_FORWARD", FAR_WIRE, tables=gateway)
    return rows


def sources() -> list[Row]:
    rows = []
    for what, src in {
        "another task's address": NEAR,
        "its own wire address": CBIT.here(plan.STACK_TASK),
        "its identifier under another prefix": AUTO.name(plan.STACK_TASK),
        "a neighbour of its address": TASK[:-1] + bytes([TASK[-1] ^ 1]),
        "a foreign address": p.FOREIGN,
        "the unspecified address": bytes(16),
        "a link-local address": LINK_LOCAL,
        "a multicast address": address("ff02::1"),
    }.items():
        for dst in (FAR, NEAR, p.FOREIGN, CBIT.far + address("::1")[8:]):
            rows += sends(f"from {what} to {inet6.inet_ntop(10, dst)}", p.udp(src=src), dst,
                          "DROP_SPOOFED_SOURCE")  # fmt: skip
    for near in ("fe80::1", "ff02::2"):
        rows += sends(f"a foreign source does not pass to {near}", p.udp(src=p.FOREIGN), near,
                      "DROP_SPOOFED_SOURCE")  # fmt: skip
        rows += sends(f"another task's source does not pass to {near}", p.udp(src=NEAR), near,
                      "DROP_SPOOFED_SOURCE")  # fmt: skip
        for what, src in {"its own": TASK, "a link-local": LINK_LOCAL,
                          "no": bytes(16)}.items():  # fmt: skip
            rows += sends(f"{what} source to {near}", p.udp(src=src), near, "PASS_LINK_SCOPE")
    solicit = p.of(inet6.ICMPv6ND_NS(tgt="fe80::1"), LINK_LOCAL)
    rows += sends("a neighbour solicitation", solicit, "ff02::1:ff00:1", "PASS_LINK_SCOPE", hop=255)
    dad = p.of(inet6.ICMPv6ND_NS(tgt="fe80::2"), bytes(16))
    rows += sends("address detection", dad, "ff02::1:ff00:2", "PASS_LINK_SCOPE", hop=255)
    rows += sends("own source to a wider multicast group", p.udp(src=TASK), "ff0e::101",
                  "PASS_LINK_SCOPE")  # fmt: skip
    for group in ("ff01::1", "ff12::1", "ff03::1", "ff05::1:3", "ff0e::101", "ff3e::1"):
        reason = "DROP_SPOOFED_SOURCE"
        if group in ("ff01::1", "ff12::1"):
            reason = "PASS_LINK_SCOPE"
        for what, src in {"a link-local": LINK_LOCAL, "no": bytes(16)}.items():
            rows += sends(f"{what} source to the group {group}", p.udp(src=src), group, reason)
    rows += sends("a router's port sends from any source", p.tcp(src=p.FOREIGN), FAR,
                  "SEND_FORWARD", FAR_WIRE, port=plan.TASK3)  # fmt: skip
    return rows


def refused() -> list[Row]:
    rows = []
    for what, dst in {
        "a far task's wire address": FAR_WIRE,
        "a near task's wire address": CBIT.here(plan.XDP_TASK),
        "its own wire address": CBIT.here(plan.STACK_TASK),
        "another host's own address": address("2001:db8:42:9::1"),
        "this host's own address below its locator": address("2001:db8:42:7::1"),
        "anything in the block": address("2001:db8:42:ffff:ffff::"),
        "anything in another block": address("2001:db8:44:1::1"),
    }.items():
        rows += sends(f"to {what}", p.tcp(src=TASK), dst, "DROP_LOCATOR_REFUSED")
    rows += sends("a router's port is refused, too", p.tcp(src=p.FOREIGN), FAR_WIRE,
                  "DROP_LOCATOR_REFUSED", port=plan.TASK3)  # fmt: skip
    rows += sends("just past the block", p.tcp(src=TASK), "2001:db8:45::1", "PASS_NOT_OURS")
    return rows


def prefixes() -> list[Row]:
    """The first row that matches decides, and nothing counts behind an empty one."""
    tcp = p.tcp(src=TASK)
    rows = []
    wide = replace(PLAN, prefixes=(Prefix(address("2000::")[:8], PREFIX_BLOCK, 3), *PLAN.prefixes))
    rows += sends("a wide block in front hides the SIR prefix", tcp, FAR, "DROP_LOCATOR_REFUSED",
                  tables=wide)  # fmt: skip
    rows += leaves("a wide block in front, out of the uplink", tcp, FAR, "PASS_WIRE", tables=wide)
    rows += sends("past a wide block", tcp, "4000::1", "PASS_NOT_OURS", tables=wide)
    behind = replace(PLAN, prefixes=(*PLAN.prefixes, *wide.prefixes[:1]))
    rows += sends("a wide block behind refuses the rest", tcp, p.FOREIGN, "DROP_LOCATOR_REFUSED",
                  tables=behind)  # fmt: skip
    rows += sends("a wide block behind leaves the SIR prefix alone", tcp, FAR, "SEND_FORWARD",
                  FAR_WIRE, tables=behind)  # fmt: skip
    bit = replace(PLAN, prefixes=(Prefix(b"\x80" + bytes(7), PREFIX_BLOCK, 1), *PLAN.prefixes))
    rows += sends("a block of one bit", tcp, "8000::1", "DROP_LOCATOR_REFUSED", tables=bit)
    rows += sends("beside a block of one bit", tcp, FAR, "SEND_FORWARD", FAR_WIRE, tables=bit)
    most = (Prefix(b"\xfd" + bytes(7), PREFIX_BLOCK),) * 13
    full = replace(PLAN, prefixes=(*most, *CBIT.rows()))
    rows += sends("the last of sixteen rows counts", tcp, "2001:db8:42:9::1",
                  "DROP_LOCATOR_REFUSED", tables=full)  # fmt: skip
    none = replace(PLAN, prefixes=(Prefix(bytes(8), 0), *PLAN.prefixes))
    rows += sends("no row counts behind an empty one", tcp, FAR, "PASS_NOT_OURS", tables=none)
    rows += leaves("no row counts behind an empty one", tcp, FAR, "PASS_NOT_OURS", tables=none)
    return rows


def limits() -> list[Row]:
    rows = []
    for dst, after, way in ((FAR, FAR_WIRE, "SEND_FORWARD"), (NEAR, NEAR, "SEND_LOCAL")):
        tcp = p.tcp(src=TASK)
        to = way.partition("_")[2].lower()
        rows += sends(f"hop limit 2 ({to})", tcp, dst, way, after, hop=2)
        rows += sends(f"hop limit 255 ({to})", tcp, dst, way, after, hop=255)
        for hop in (1, 0):
            rows += sends(f"hop limit {hop}: the stack answers ({to})", tcp, dst, "PASS_HOP_LIMIT",
                          hop=hop)  # fmt: skip
        full = p.sized(plan.MTU, TASK)
        rows += sends(f"as big as the next MTU ({to})", full, dst, way, after)
        above = p.sized(plan.MTU + 1, TASK)
        rows += sends(f"bigger than the next MTU: the stack answers ({to})", above, dst,
                      "PASS_TOO_BIG")  # fmt: skip
        rows += sends(f"a small super-packet ({to})", p.sized(1400, TASK), dst, way, after,
                      packet=Packet(b"", gso_size=700))  # fmt: skip
    unchecked = replace(PLAN, config=replace(PLAN.config, uplink_mtu=0))
    rows += sends("uplink MTU 0 is not checked", p.sized(plan.MTU + 1, TASK), FAR, "SEND_FORWARD",
                  FAR_WIRE, tables=unchecked)  # fmt: skip
    rows += sends("a local MTU of 0 is not checked", p.sized(plan.MTU + 1, TASK),
                  CBIT.name(plan.ANY_MTU_TASK), "SEND_LOCAL",
                  CBIT.name(plan.ANY_MTU_TASK))  # fmt: skip
    rows += sends("the last hop to the host's own task", p.tcp(src=TASK),
                  CBIT.name(plan.HOST_TASK), "PASS_HOST", hop=1)  # fmt: skip
    return rows


def odd_frames() -> list[Row]:
    mac = plan.mac(plan.TASK1)
    data = p.tcp(src=TASK)(FAR, 64)
    given = Packet(b"", ifindex=plan.TASK1)
    rows = []
    for what, frame, reason in (
        ("ARP", p.arp(), "PASS_NOT_IPV6"),
        ("IPv4", p.link(mac, p.ipv4()[14:], 0x0800), "PASS_NOT_IPV6"),
        ("an IPv4 header behind IPv6's type", p.link(mac, b"\x45" + data[1:]), "DROP_MALFORMED"),
        ("for another station", p.link(p.OTHER_MAC, data), "PASS_OTHER_HOST"),
        ("a tagged frame with half a header", p.link(mac, data[:20], tags=(0x81000005,)),
         "DROP_MALFORMED"),
        ("a cut tag", p.link(mac, data, tags=(0x81000005,))[:17], "DROP_MALFORMED"),
        # The stack would peel tags of VLAN 0 and route what nobody has checked.
        *((f"{count} tags", p.link(mac, data, tags=(0x81000000,) * count), "DROP_MALFORMED")
          for count in (3, 4, 5, 6)),
    ):  # fmt: skip
        rows += passes(f"from a container: {what}", frame, reason, CONTAINER, given)
    return rows


def out_of_the_uplink() -> list[Row]:
    rows = []
    for what, build in PAYLOADS.items():
        rows += leaves(f"{what} to another host", build, FAR, "SEND_FORWARD", FAR_WIRE)
    host = p.tcp(src=CBIT.name(plan.HOST_TASK))
    for domain in DOMAINS:
        rows += leaves(
            f"to a task under {inet6.inet_ntop(10, domain.sir + bytes(8))}", host,
            domain.name(plan.FAR_TASK), "SEND_FORWARD", domain.there(plan.FAR_TASK),
        )  # fmt: skip
    for hop in (0, 1, 255):
        rows += leaves(f"the stack has counted the hop already: {hop} stays", host, FAR,
                       "SEND_FORWARD", FAR_WIRE, hop=hop)  # fmt: skip
    for what, dst, reason in (
        ("a task of this host: nothing leads back in", NEAR, "DROP_NO_LOCAL_ROUTE"),
        ("a SIR address without a row", CBIT.name(plan.UNKNOWN), "DROP_NO_MAPPING"),
        ("a zeroed mapping", CBIT.name(plan.NO_ACTION), "DROP_BAD_ACTION"),
        ("a mapping of another age", CBIT.name(plan.BAD_ACTION), "DROP_BAD_ACTION"),
        ("a wire address, rewritten before", FAR_WIRE, "PASS_WIRE"),
        ("this host's wire address", CBIT.here(plan.STACK_TASK), "PASS_WIRE"),
        ("another host's own address", address("2001:db8:42:9::1"), "PASS_WIRE"),
        ("a foreign address", p.FOREIGN, "PASS_NOT_OURS"),
        ("multicast", address("ff02::1"), "PASS_NOT_OURS"),
        ("link-local", address("fe80::1"), "PASS_NOT_OURS"),
    ):
        rows += leaves(f"to {what}", host, dst, reason)
    rows += leaves("bigger than the uplink: the stack has looked at that",
                   p.sized(plan.MTU + 1), FAR, "SEND_FORWARD", FAR_WIRE)  # fmt: skip
    rows += redirects()
    data = host(FAR, 64)
    mac = plan.mac(plan.UPLINK)
    for what, frame, reason in (
        ("ARP", p.arp(), "PASS_NOT_IPV6"),
        ("IPv4", p.ipv4(), "PASS_NOT_IPV6"),
        ("version 4", p.link(mac, b"\x45" + data[1:]), "PASS_MALFORMED"),
        ("for another station", p.link(p.OTHER_MAC, data), "PASS_OTHER_HOST"),
    ):
        rows += passes(f"leaves untouched: {what}", frame, reason, (Hook.UPLINK_OUT,))
    return rows


def redirects() -> list[Row]:
    """The stack's advice to go by the next hop of SIR routes ends here, and no other."""
    rows = []
    advice = inet6.ICMPv6ND_Redirect(tgt=SIR_GATEWAY, dst=inet6.inet_ntop(10, FAR))
    other = inet6.ICMPv6ND_Redirect(tgt="fe80::11b", dst=inet6.inet_ntop(10, FAR))
    beyond = inet6.ICMPv6ND_Redirect(tgt="fe80:0:0:1::11a", dst=inet6.inet_ntop(10, FAR))
    solicit = inet6.ICMPv6ND_NS(tgt=SIR_GATEWAY)
    for what, dst, else_ in (
        ("a foreign address", p.FOREIGN, "PASS_NOT_OURS"),
        ("a link-local address", LINK_LOCAL, "PASS_NOT_OURS"),
        ("an address in the block of locators", address("2001:db8:42:9::1"), "PASS_WIRE"),
    ):
        for way, layers, src, reason in (
            ("to the next hop of SIR routes", advice, LINK_LOCAL, "DROP_REDIRECT"),
            ("to another next hop", other, LINK_LOCAL, else_),
            ("to one outside of it", beyond, LINK_LOCAL, else_),
            ("that is none: a solicitation", solicit, LINK_LOCAL, else_),
            ("from another source than a router's", advice, p.FOREIGN, else_),
        ):
            rows += leaves(f"a redirect {way}, for {what}", p.of(layers, src), dst, reason,
                           hop=255)  # fmt: skip
        cut = p.raw(58, bytes(advice)[:23], src=LINK_LOCAL)
        rows += leaves(f"a redirect without its end, for {what}", cut, dst, else_, hop=255)
        bare = p.raw(58, b"", src=LINK_LOCAL)
        rows += leaves(f"ICMPv6 without a header, for {what}", bare, dst, else_, hop=255)
    rows += leaves("a redirect for a SIR address", p.of(advice, LINK_LOCAL), FAR, "SEND_FORWARD",
                   FAR_WIRE, hop=255)  # fmt: skip
    tagged = p.link(plan.mac(plan.UPLINK), p.of(advice, LINK_LOCAL)(p.FOREIGN, 255),
                    tags=(0x81000005,))  # fmt: skip
    rows += passes("a redirect behind a tag", tagged, "DROP_REDIRECT", (Hook.UPLINK_OUT,))
    return rows


ROWS: list[Row] = [
    *from_containers(), *sources(), *refused(), *prefixes(), *limits(), *odd_frames(),
    *out_of_the_uplink(),
]  # fmt: skip
