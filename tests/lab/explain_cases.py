# SPDX-License-Identifier: Apache-2.0
"""Packets for every reason that can be provoked, and what becomes of each.

The lab is the one of `test_explain.py`: of the first host's tasks the first one is
delivered to by the stack, the second one by XDP and with an MTU of 1280.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager as Context
from ipaddress import IPv6Address
from typing import Any

from ilax import address
from ilax.bpf import Map
from ilax.contract.tables import index_key
from ilax.explain.ask import Question
from ilax.frames import Link
from ilax.frames.record import Record
from ilax.instances.instance import Instance
from lab.capture import mac_of, send_frames
from lab.packets import ethernet
from lab.topology import UPLINK, Lab

_NO_NEXT_HEADER, _ICMPV6 = 59, 58
_STRANGER = "02:00:00:00:00:05"


def own_address(lab: Lab) -> IPv6Address:
    return lab.plan.sir(99)


@dataclasses.dataclass(frozen=True)
class Case:
    """A packet and what becomes of it.

    Attributes:
        where: "uplink", "host", or number of a container of the first host.
        packet: builds the IPv6 packet.
        steps: reasons in their order.
        doctored: holds while the packet is on its way.
        ethertype, tags: of the frame.
        station: its link-layer destination; None: the device it goes to.
    """

    where: str | int
    packet: Callable[[Lab], bytes]
    steps: tuple[str, ...]
    outcome: str
    doctored: Callable[[Lab, Instance], Context[object]] = lambda *_: contextlib.nullcontext()
    ethertype: int = 0x86DD
    tags: tuple[tuple[int, int], ...] = ()
    station: str | None = None

    def frame(self, lab: Lab) -> bytes:
        host = lab.hosts[0]
        if isinstance(self.where, int):
            sender = host.containers[self.where]
            device = next(
                row["ifname"]
                for row in host.ns.ip_json("link")
                if sender.address in row.get("ifalias", "")
            )
            macs = (mac_of(sender.ns, "eth0"), mac_of(host.ns, device))
        else:
            macs = (_STRANGER, self.station or mac_of(host.ns, UPLINK))
        return ethernet(macs, self.packet(lab), ethertype=self.ethertype, tags=self.tags)

    def send(self, lab: Lab) -> None:
        host = lab.hosts[0]
        if self.where == "uplink":
            send_frames(lab.router, host.router_port, self.frame(lab))
        elif self.where == "host":
            try:
                send_frames(host.ns, UPLINK, self.frame(lab))
            except OSError as error:
                # So the kernel tells the sender that egress has dropped it.
                if error.errno != errno.ENOBUFS:
                    raise
        else:
            send_frames(host.containers[int(self.where)].ns, "eth0", self.frame(lab))

    def question(self, lab: Lab) -> Question:
        where = self.where
        if isinstance(where, int):
            where = lab.hosts[0].containers[where].address
        frame = self.frame(lab)
        return Question(where=where, record=Record(0, len(frame), frame, Link.ETHERNET))


def ipv6(
    src: IPv6Address | str,
    dst: IPv6Address | str,
    *,
    hops: int = 64,
    size: int = 40,
    upper: bytes = b"",
    number: int = _NO_NEXT_HEADER,
) -> bytes:
    """A packet that nobody answers."""
    upper = upper.ljust(size, b"\0")
    head = struct.pack("!IHBB", 6 << 28, len(upper), number, hops)
    return head + IPv6Address(src).packed + IPv6Address(dst).packed + upper


def peer(lab: Lab) -> str:
    return lab.hosts[1].containers[0].address


def wire(lab: Lab, sir: object) -> str:
    """By the first host's locator."""
    locator = address.parse_prefix(str(lab.hosts[0].locator))
    return str(address.to_wire(address.parse(str(sir)), locator.upper))


def to_task(index: int, **how: Any) -> Callable[[Lab], bytes]:
    return lambda lab: ipv6(peer(lab), wire(lab, lab.hosts[0].containers[index].sir), **how)


def from_task(dst: Callable[[Lab], object], **how: Any) -> Callable[[Lab], bytes]:
    return lambda lab: ipv6(lab.hosts[0].containers[0].sir, str(dst(lab)), **how)


def stale_error(lab: Lab) -> bytes:
    """An error about a packet to a wire address that no mapping leads to."""
    nobody = wire(lab, lab.plan.sir(77)).replace("42:1:", "42:2:")
    quoted = ipv6(lab.hosts[0].containers[0].sir, nobody)
    upper = struct.pack("!BBHI", 1, 0, 0, 0) + quoted
    dst = wire(lab, lab.hosts[0].containers[0].sir)
    return ipv6(lab.plan.router, dst, upper=upper, number=_ICMPV6)


def known_error(lab: Lab) -> bytes:
    """Packet Too Big about what a task has sent to another, by its wire address."""
    far = address.to_wire(
        address.parse(peer(lab)), address.parse_prefix(str(lab.hosts[1].locator)).upper
    )
    quoted = ipv6(lab.hosts[0].containers[0].sir, str(far), size=8)
    upper = struct.pack("!BBHI", 2, 0, 0, 1280) + quoted
    dst = wire(lab, lab.hosts[0].containers[0].sir)
    return ipv6(lab.plan.router, dst, upper=upper, number=_ICMPV6)


# Hop-by-hop options and destination options (padding only), then nothing; a fragment
# behind which more come, with the begin of a packet; and one with the rest.
_OPTIONS = {"number": 0, "upper": b"\x3c\0\x01\x04\0\0\0\0" + b"\x3b\0\x01\x04\0\0\0\0"}
_FIRST = {"number": 44, "upper": struct.pack("!BBHI", 59, 0, 0 << 3 | 1, 7)}
_LATER = {"number": 44, "upper": struct.pack("!BBHI", 59, 0, 5 << 3, 7)}


# --- rows that are not as they should be ----------------------------------------


@contextlib.contextmanager
def changed(opened: Map, key: bytes, value: bytes | None) -> Iterator[None]:
    """Another row, or none, for a while."""
    before = opened.lookup(key)
    if value is None:
        opened.delete(key)
    else:
        opened.update(key, value)
    try:
        yield
    finally:
        if before is None:
            opened.delete(key)
        else:
            opened.update(key, before)


def no_port(lab: Lab, instance: Instance) -> Context[None]:
    keys, rows = instance.ports.rows()
    mine = int(address.parse(lab.hosts[0].containers[0].address).identifier)
    (index,) = (k for k, row in zip(keys.tolist(), rows, strict=True)
                if int(row["sir"]["identifier"]) == mine)  # fmt: skip
    return changed(instance.ports.map, index_key(index), None)


def no_device(_: Lab, instance: Instance) -> Context[None]:
    (key,) = instance.devices.keys()
    return changed(instance.devices, key, None)


def mapped(action: int, target: Callable[[Lab], str]) -> Callable[[Lab, Instance], Context[None]]:
    def doctored(lab: Lab, instance: Instance) -> Context[None]:
        row = instance.mappings.new()[0]
        leads_to = address.parse(target(lab))
        row["wire"] = (leads_to.prefix, leads_to.identifier)
        row["action"] = action
        key = address.parse(str(lab.plan.sir(50))).packed
        return changed(instance.mappings.map, key, row.tobytes())

    return doctored


LOCAL, UNKNOWN_ACTION = 1, 9
CASES = {
    "to a task by the stack": Case(
        "uplink", to_task(0), ("send_meta", "send_handover"), "delivered"
    ),
    "to a task by XDP": Case("uplink", to_task(1), ("send_xdp",), "delivered"),
    "tagged": Case(
        "uplink", to_task(1), ("send_xdp",), "delivered", tags=((0x8100, 5),)
    ),
    "with options": Case(
        "uplink", to_task(0, **_OPTIONS), ("send_meta", "send_handover"), "delivered"
    ),
    "a first fragment": Case("uplink", to_task(1, **_FIRST), ("send_xdp",), "delivered"),
    "a later fragment": Case("uplink", to_task(1, **_LATER), ("send_xdp",), "delivered"),
    "an error about a packet of a task": Case(
        "uplink", known_error, ("send_meta", "send_handover"), "delivered"
    ),
    "the device of a task is gone": Case(
        "uplink", to_task(1), ("drop_no_device",), "dropped", no_device
    ),
    "hops used up": Case(
        "uplink", to_task(0, hops=1), ("pass_hop_limit", "pass_handover"), "stack"
    ),
    "too big": Case("uplink", to_task(1, size=1300), ("pass_too_big", "pass_handover"), "stack"),
    "to the host's own processes": Case(
        "uplink",
        lambda lab: ipv6(peer(lab), wire(lab, own_address(lab))),
        ("pass_host", "pass_handover"),
        "stack",
    ),
    "to nobody": Case(
        "uplink",
        lambda lab: ipv6(peer(lab), wire(lab, lab.plan.sir(77))),
        ("drop_unknown_identifier",),
        "dropped",
    ),
    "to the host's address": Case(
        "uplink",
        lambda lab: ipv6(peer(lab), lab.hosts[0].address),
        ("pass_not_ours", "pass_not_ours"),
        "stack",
    ),
    "to a SIR address elsewhere": Case(
        "uplink",
        lambda lab: ipv6(lab.plan.router, peer(lab)),
        ("pass_not_ours", "pass_not_ours", "send_forward", "pass_wire"),
        "forwarded",
    ),
    "to the loopback address": Case(
        "uplink",
        lambda lab: ipv6(peer(lab), "::1"),
        ("pass_not_ours", "pass_not_ours"),
        "stack",
    ),
    "to another station": Case(
        "uplink",
        lambda lab: ipv6(peer(lab), lab.hosts[0].address),
        ("pass_not_ours", "pass_other_host"),
        "stack",
        station="02:00:00:00:00:77",
    ),
    "an error about an old place": Case("uplink", stale_error, ("drop_icmp_inner",), "dropped"),
    "no IPv6": Case(
        "uplink",
        lambda _: bytes(60),
        ("pass_not_ipv6", "pass_not_ipv6"),
        "stack",
        ethertype=0x88B5,
    ),
    "a wrong version": Case(
        "uplink", lambda _: b"\x45" + bytes(80), ("pass_malformed", "pass_malformed"), "stack"
    ),
    "four tags": Case(
        "uplink",
        to_task(0),
        ("pass_many_tags", "drop_malformed"),
        "dropped",
        tags=((0x8100, 5), (0x8100, 6), (0x8100, 7), (0x8100, 8)),
    ),
    "three tags": Case(
        "uplink",
        to_task(0),
        ("pass_many_tags", "send_peer"),
        "delivered",
        tags=((0x88A8, 5), (0x8100, 6), (0x8100, 7)),
    ),
    "tagged by a task": Case(
        0, from_task(peer), ("send_forward", "pass_wire"), "forwarded", tags=((0x8100, 0),)
    ),
    "to another host": Case(
        0, from_task(peer), ("send_forward", "pass_wire"), "forwarded"
    ),
    "of a task with options": Case(
        0, from_task(peer, **_OPTIONS), ("send_forward", "pass_wire"), "forwarded"
    ),
    "a later fragment of a task": Case(
        0, from_task(peer, **_LATER), ("send_forward", "pass_wire"), "forwarded"
    ),
    "a later fragment to a locator": Case(
        0, from_task(lambda lab: lab.hosts[1].address, **_LATER), ("drop_locator_refused",),
        "dropped",
    ),
    "to a task of this host": Case(
        0, from_task(lambda lab: lab.hosts[0].containers[1].sir), ("send_local",), "delivered"
    ),
    "with another's source": Case(
        0, lambda lab: ipv6(peer(lab), peer(lab)), ("drop_spoofed_source",), "dropped"
    ),
    "to a locator": Case(
        0, from_task(lambda lab: lab.hosts[1].address), ("drop_locator_refused",), "dropped"
    ),
    "to an address without a mapping": Case(
        0, from_task(lambda lab: lab.plan.sir(50)), ("drop_no_mapping",), "dropped"
    ),
    "by an unknown action": Case(
        0,
        from_task(lambda lab: lab.plan.sir(50)),
        ("drop_bad_action",),
        "dropped",
        mapped(UNKNOWN_ACTION, peer),
    ),
    "by a mapping to another's endpoint": Case(
        0,
        from_task(lambda lab: lab.plan.sir(50)),
        ("drop_row_changed",),
        "dropped",
        mapped(LOCAL, lambda lab: wire(lab, lab.hosts[0].containers[1].sir)),
    ),
    "without a port": Case(0, from_task(peer), ("drop_unknown_port",), "dropped", no_port),
    "broken": Case(0, lambda _: b"\x45" + bytes(80), ("drop_malformed",), "dropped"),
    "with its last hop": Case(0, from_task(peer, hops=1), ("pass_hop_limit",), "stack"),
    "to the router": Case(
        0, from_task(lambda lab: lab.plan.router), ("pass_not_ours", "pass_not_ours"), "forwarded"
    ),
    "of the host": Case(
        "host",
        lambda lab: ipv6(lab.hosts[0].address, peer(lab)),
        ("send_forward", "pass_wire"),
        "forwarded",
    ),
    "of the host, without a mapping": Case(
        "host",
        lambda lab: ipv6(lab.hosts[0].address, lab.plan.sir(50)),
        ("drop_no_mapping",),
        "dropped",
    ),
}  # fmt: skip
WITHOUT_XDP = {
    "to a task by the stack": ("send_peer",),
    "to a task by XDP": ("send_peer",),
    "tagged": ("send_peer",),
    "hops used up": ("pass_hop_limit",),
    "to nobody": ("drop_unknown_identifier",),
    "an error about an old place": ("drop_icmp_inner",),
}
