# SPDX-License-Identifier: Apache-2.0
"""Packet table: from the underlay, addresses, delivery and headers."""

from __future__ import annotations

from itertools import chain as join

from scapy.layers import inet, inet6
from scapy.packet import Raw

from datapath import packets as p
from datapath import plan
from datapath.plan import AUTO, CBIT, DOMAINS, PLAIN
from datapath.row import BY_STACK, BY_XDP, SAME, TO_STACK, Row, arrives, passes
from datapath.world import Packet
from model import Hook
from model.address import address

XDP_ONLY = (Hook.XDP,)
TC_ONLY = (Hook.UPLINK_IN,)


def _to(dst: str | bytes, build: p.Builder | None = None, hop: int = 64) -> bytes:
    raw = address(dst) if isinstance(dst, str) else dst
    return p.ether((build or p.tcp())(raw, hop))


def _multicast(dst: str, build: p.Builder) -> bytes:
    raw = address(dst)
    return p.link(b"\x33\x33" + raw[-4:], build(raw, 255))


def delivery() -> list[Row]:
    label = {CBIT: "with C-bit", AUTO: "without C-bit", PLAIN: "without types"}
    rows = [
        *arrives("TCP for a task is delivered by the stack", p.tcp()),
        *arrives("a SYN is delivered", p.tcp(b"", flags="S")),
        *arrives("UDP for a task is delivered", p.udp()),
        *arrives("an echo request for a task is delivered", p.echo()),
        *arrives("TCP is delivered by XDP", p.tcp(), plan.XDP_TASK, BY_XDP),
        *arrives("an echo is delivered by XDP", p.echo(), plan.XDP_TASK, BY_XDP),
        *arrives(
            "a task in the host's namespace: the host's stack gets it, no hop is counted",
            p.tcp(), plan.HOST_TASK, "PASS_HOST", becomes=TO_STACK,
        ),
        *arrives(
            "a task in the host's namespace is the last hop: hop limit 1 is enough",
            p.tcp(), plan.HOST_TASK, "PASS_HOST", becomes=TO_STACK, hop=1,
        ),
        *arrives(
            "XDP delivery into a device that is gone ends in XDP, but not in tc",
            p.tcp(), plan.DEVICELESS_TASK, BY_XDP | {Hook.XDP: "DROP_NO_DEVICE"},
        ),
        *arrives(
            "a row that was recycled under our hands is not used",
            p.tcp(), plan.RECYCLED_TASK, "DROP_ROW_CHANGED",
        ),
    ]  # fmt: skip
    for domain in DOMAINS:
        rows += arrives(f"a wire address {label[domain]} is known", p.udp(), domain=domain)
        rows += passes(
            f"an unknown identifier {label[domain]} is dropped",
            _to(domain.here(plan.UNKNOWN)), "DROP_UNKNOWN_IDENTIFIER",
        )  # fmt: skip
    return rows


def addresses() -> list[Row]:
    known = CBIT.here(plan.STACK_TASK)
    without_c = known[:8] + bytes([known[8] & 0xEF]) + known[9:]
    other_type = known[:8] + bytes([known[8] ^ 0x60]) + known[9:]
    other_end = known[:-1] + bytes([known[-1] ^ 1])
    return list(join(
        passes("a known identifier without its C-bit is unknown", _to(without_c),
               "DROP_UNKNOWN_IDENTIFIER"),
        passes("a known identifier of another type is unknown", _to(other_type),
               "DROP_UNKNOWN_IDENTIFIER"),
        passes("the last bit of an identifier counts", _to(other_end), "DROP_UNKNOWN_IDENTIFIER"),
        passes("a host address below the locator (type 0) is exempt", _to("2001:db8:42:7::1"),
               "PASS_NOT_OURS"),
        passes("type 0 is exempt without C-bit, too", _to("2001:db8:43:7::1"), "PASS_NOT_OURS"),
        passes("without types nothing is exempt", _to("2001:db8:44:7::1"),
               "DROP_UNKNOWN_IDENTIFIER"),
        arrives("the SIR address of a task of ours is as good as its wire address",
                p.tcp(), by_sir=True),
        arrives("the SIR address of a task of the host", p.tcp(), plan.HOST_TASK, "PASS_HOST",
                becomes=TO_STACK, by_sir=True),
        passes("the SIR address of a task elsewhere is the stack's",
               _to(CBIT.name(plan.FAR_TASK)), "PASS_NOT_OURS"),
        passes("a SIR address whose mapping leads to no endpoint is the stack's",
               _to(CBIT.name(plan.DANGLING)), "PASS_NOT_OURS"),
        passes("a SIR address without a mapping is the stack's",
               _to(CBIT.name(plan.UNKNOWN)), "PASS_NOT_OURS"),
        passes("another host's locator is not ours", _to(CBIT.there(plan.FAR_TASK)),
               "PASS_NOT_OURS"),
        passes("a foreign address is not ours", _to(p.FOREIGN), "PASS_NOT_OURS"),
        passes("the unspecified address is not ours", _to("::"), "PASS_NOT_OURS"),
        passes("loopback is not ours", _to("::1"), "PASS_NOT_OURS"),
        passes("link-local", _to("fe80::1"), "PASS_LINK_SCOPE"),
        passes("the end of link-local", _to("febf::1"), "PASS_LINK_SCOPE"),
        passes("past link-local", _to("fec0::1"), "PASS_NOT_OURS"),
        passes("a neighbour solicitation for a multicast group",
               _multicast("ff02::1:ff00:1",
                          p.of(inet6.ICMPv6ND_NS(tgt="fe80::1"), address("fe80::2"))),
               "PASS_LINK_SCOPE"),
        passes("a neighbour advertisement for a link-local address",
               _to("fe80::1", p.of(inet6.ICMPv6ND_NA(tgt="fe80::2"), address("fe80::2"))),
               "PASS_LINK_SCOPE"),
        passes("a router advertisement",
               _multicast("ff02::1", p.of(inet6.ICMPv6ND_RA(), address("fe80::2"))),
               "PASS_LINK_SCOPE"),
        passes("multicast of any scope", _multicast("ff0e::101", p.udp()), "PASS_LINK_SCOPE"),
        passes("a frame for another station is left to tc's rules",
               p.link(p.OTHER_MAC, p.tcp()(known, 64)), "PASS_OTHER_HOST", TC_ONLY),
    ))  # fmt: skip


def like_a_lost_header() -> list[Row]:
    """Frames that might begin at their IPv6 header, and do not."""
    rows = arrives("the source says IPv6 where a lost header would leave the type",
                   p.tcp(src=p.LIKE_ETHERNET))  # fmt: skip
    far_wire = CBIT.there(plan.FAR_TASK)
    for hook, wire, after, hop, reason in (
        (Hook.UPLINK_IN, CBIT.here(plan.STACK_TASK), CBIT.name(plan.STACK_TASK), 63, "SEND_PEER"),
        (Hook.CONTAINER, CBIT.name(plan.FAR_TASK), far_wire, 63, "SEND_FORWARD"),
        (Hook.UPLINK_OUT, CBIT.name(plan.FAR_TASK), far_wire, 64, "SEND_FORWARD"),
    ):
        build = p.tcp(src=p.TASK)
        port = plan.TASK1 if hook is Hook.CONTAINER else plan.UPLINK
        given = Packet(p.link(p.LIKE_IPV6_MAC, build(wire, 64)), ifindex=port)
        rows.append(Row("an Ethernet destination that begins as IPv6 does", hook, given, reason,
                        p.link(p.LIKE_IPV6_MAC, build(after, hop))))  # fmt: skip
    return rows


def other_protocols() -> list[Row]:
    data = p.tcp()(CBIT.here(plan.STACK_TASK), 64)
    mac = plan.mac(plan.UPLINK)
    return list(join(
        passes("ARP", p.arp(), "PASS_NOT_IPV6"),
        passes("IPv4", p.ipv4(), "PASS_NOT_IPV6"),
        passes("LLDP", p.link(b"\x01\x80\xc2\x00\x00\x0e", bytes(46), 0x88CC), "PASS_NOT_IPV6"),
        passes("a frame with a length for a type", p.link(mac, bytes(46), 46), "PASS_NOT_IPV6"),
        passes("MPLS, whatever is inside", p.link(mac, bytes(4) + data, 0x8847), "PASS_NOT_IPV6"),
        passes("an IPv4 header behind IPv6's type", p.link(mac, b"\x45" + data[1:]),
               "PASS_MALFORMED"),
        passes("version 7", p.link(mac, b"\x70" + data[1:]), "PASS_MALFORMED"),
        passes("version 0", p.link(mac, b"\x00" + data[1:]), "PASS_MALFORMED"),
    ))  # fmt: skip


def hop_limits() -> list[Row]:
    rows = []
    for hop, left in ((2, 1), (255, 254)):
        for name, way in ((plan.STACK_TASK, BY_STACK), (plan.XDP_TASK, BY_XDP)):
            rows += arrives(f"hop limit {hop} leaves {left} ({name})", p.tcp(), name, way, hop=hop)
    for hop in (1, 0):
        for name in (plan.STACK_TASK, plan.XDP_TASK):
            rows += arrives(
                f"hop limit {hop}: the stack answers, about the SIR address ({name})",
                p.udp(), name, "PASS_HOP_LIMIT", becomes=TO_STACK, hop=hop,
            )  # fmt: skip
    return rows


def extension_headers() -> list[Row]:
    kinds = {
        "hop-by-hop options": p.chain(p.hop_by_hop()),
        "destination options": p.chain(p.destination_options()),
        "a routing header": p.chain(p.routing()),
        "several extension headers": p.chain(
            p.hop_by_hop(), p.destination_options(), p.routing(), p.destination_options()
        ),
        "an authentication header": p.raw(51, bytes.fromhex("3b04") + bytes(22)),
        "ESP": p.raw(50),
        "no next header": p.raw(59, b""),
        "an unknown protocol": p.raw(253),
        "the first fragment": p.fragment(0, more=True),
        "a later fragment": p.fragment(185, more=True),
        "the last fragment": p.fragment(370, more=False),
        "an atomic fragment": p.fragment(0, more=False),
        "a later fragment of UDP": p.fragment(185, more=False, kind=17),
        "a later fragment of ICMPv6": p.fragment(185, more=False, kind=58),
        "an extension header that is cut off": p.raw(0, b"\x3a"),
        "an extension header longer than the packet": p.raw(60, b"\x3a\xff" + bytes(14)),
        "UDP without a checksum": p.of(inet.UDP(sport=1, dport=2, chksum=0) / Raw(p.TEXT)),
        "a wrong checksum": p.of(inet.TCP(sport=1, dport=2, chksum=0x1234) / Raw(p.TEXT)),
        "a length beyond the frame": p.of(inet.UDP() / Raw(p.TEXT), plen=5000),
        "a length short of the frame": p.of(inet.UDP() / Raw(p.TEXT), plen=8),
        "a super-packet's jumbo option": p.big_tcp(),
    }
    rows = []
    for what, build in kinds.items():
        rows += arrives(f"{what}: delivered by the stack", build)
        rows += arrives(f"{what}: delivered by XDP", build, plan.XDP_TASK, BY_XDP)
    return rows


def sizes() -> list[Row]:
    big = 9000
    nothing = dict.fromkeys((Hook.XDP, Hook.UPLINK_IN), "PASS_TOO_BIG")
    meta = dict.fromkeys(XDP_ONLY, "SEND_META")
    rows = [
        *arrives("the endpoint's MTU fits", p.sized(plan.MTU)),
        *arrives("the endpoint's MTU fits by XDP", p.sized(plan.MTU), plan.XDP_TASK, BY_XDP),
        *arrives("one byte more: the stack answers", p.sized(plan.MTU + 1), plan.STACK_TASK,
                 nothing, becomes=TO_STACK),
        *arrives("one byte more: the stack answers instead of XDP", p.sized(plan.MTU + 1),
                 plan.XDP_TASK, nothing, becomes=TO_STACK),
        *arrives("MTU 0 is not checked", p.sized(plan.MTU + 1), plan.ANY_MTU_TASK),
        *arrives("the host's own task has no next MTU", p.sized(plan.MTU + 1), plan.HOST_TASK,
                 "PASS_HOST", becomes=TO_STACK),
        *arrives("a jumbo frame into XDP delivery", p.sized(big), plan.JUMBO_XDP_TASK,
                 BY_XDP, hooks=XDP_ONLY),
        *arrives("a jumbo frame above the MTU", p.sized(big + 1), plan.JUMBO_XDP_TASK,
                 "PASS_TOO_BIG", becomes=TO_STACK, hooks=XDP_ONLY),
        *arrives("a jumbo frame into stack delivery", p.sized(big), plan.ANY_MTU_TASK,
                 meta, hooks=XDP_ONLY),
        *arrives("64 KiB in fragments of XDP", p.sized(65535), plan.ANY_MTU_TASK,
                 meta, hooks=XDP_ONLY),
        *arrives("a super-packet that needs no check", p.sized(3000), plan.ANY_MTU_TASK,
                 hooks=TC_ONLY, packet=Packet(b"", gso_size=1000)),
        *arrives("a small super-packet", p.sized(1400), hooks=TC_ONLY,
                 packet=Packet(b"", gso_size=700)),
    ]  # fmt: skip
    return rows


def xdp_buffers() -> list[Row]:
    rows = [
        *arrives("only the headers are linear", p.tcp(), hooks=XDP_ONLY,
                 packet=Packet(b"", linear=54)),
        *arrives("only the headers are linear, XDP delivery", p.tcp(), plan.XDP_TASK, BY_XDP,
                 hooks=XDP_ONLY, packet=Packet(b"", linear=54)),
    ]  # fmt: skip
    for linear in (14, 30, 53):
        rows += arrives(
            f"only {linear} bytes are linear: tc does the job", p.tcp(), plan.STACK_TASK,
            "PASS_NOT_LINEAR", becomes=SAME, hooks=XDP_ONLY, packet=Packet(b"", linear=linear),
        )  # fmt: skip
    # 32 bytes in all is what every kernel has room for; test_metadata.py has more.
    for length in (4, 12, 24):
        rows += arrives(
            f"another program's metadata stays behind ours ({length} bytes)", p.tcp(),
            hooks=XDP_ONLY, packet=Packet(b"", metadata=b"m" * length),
        )  # fmt: skip
    rows += arrives(
        "XDP delivery needs no room for metadata", p.tcp(), plan.XDP_TASK, BY_XDP,
        hooks=XDP_ONLY, packet=Packet(b"", metadata=b"m" * 32),
    )  # fmt: skip
    return rows


ROWS: list[Row] = [
    *delivery(), *addresses(), *like_a_lost_header(), *other_protocols(), *hop_limits(),
    *extension_headers(), *sizes(), *xdp_buffers(),
]  # fmt: skip
