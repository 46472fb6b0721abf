# SPDX-License-Identifier: Apache-2.0
"""Inputs that once failed, told by their fields so that they follow the forms of the C."""

from __future__ import annotations

import struct

from datapath import packets, plan
from datapath.plan import CBIT
from datapath.world import GSO_BY_FRAGS, Packet
from fuzz import population
from model import Hook
from model.address import address

_YEAR = 365 * 86400 * 10**9  # ns
_A_NS_PER_BYTE = 64 << 10
_STARTS_AT_L3, _SEGMENTS_FIT = 1 << 1, 1 << 2  # enum case_flag


def _rules(byte_cost: int, drop: int, chunk: int = 0, parent: int = 0) -> bytes:
    """struct rules of fuzz_limits.c; `parent` counts backwards."""
    return struct.pack("<6I4B", byte_cost, 0, 0, 0, drop, 0, 0, 0, chunk, parent)


def _limits(now: int, rules: list[bytes], arrivals: list[tuple[int, int, int, int]]) -> bytes:
    """One CPU; arrivals are (ns since the last one, limit, bytes, bytes of a segment)."""
    script = struct.pack("<QBB6x", now, len(rules) - 1, 0)
    script += b"".join(rules) + bytes(28 * (4 - len(rules)))
    for wait, limit, length, segment in arrivals:
        script += struct.pack("<HBBHH", wait, 0, limit - 1, length - 14, segment)
    return script


def _without_ethernet(src: bytes = packets.PEER) -> bytes:
    data = packets.tcp(src=src)(CBIT.here(plan.STACK_TASK), 64)
    return population.case(Packet(data, tag=0x81000005), Hook.UPLINK_IN, _STARTS_AT_L3)


# What it is -> the fuzzer, and the input.
INPUTS = {
    "a tag beside a packet that has lost its Ethernet header": ("packets", _without_ethernet()),
    "the same, from an address that looks like a tag where one would be": (
        "packets",
        _without_ethernet(src=address("2001:db8:8100::1")),
    ),
    "without its Ethernet header, the same bytes 14 later are for a task": (
        "packets",
        population.case(
            Packet(packets.two_headers(CBIT.here(plan.STACK_TASK))), Hook.UPLINK_IN, _STARTS_AT_L3
        ),
    ),
    **{
        f"a super-packet of SCTP, whose pieces fit, at {hook.name}": (
            "packets",
            population.case(
                Packet(
                    packets.ether(packets.sctp(1900, src=packets.TASK)(dst, 64), port),
                    ifindex=port,
                    gso_size=GSO_BY_FRAGS,
                ),
                hook,
                _SEGMENTS_FIT,
            ),
        )
        for hook, dst, port in (
            (Hook.UPLINK_IN, CBIT.here(plan.STACK_TASK), plan.UPLINK),
            (Hook.CONTAINER, CBIT.name(plan.FAR_TASK), plan.TASK1),
        )
    },
    "a new limit of a host that has been up for five years": (
        "limits",
        _limits(5 * _YEAR, [_rules(_A_NS_PER_BYTE, drop=1_000_000)], [(0, 1, 1500, 0)]),
    ),
    "time of a refused super-packet is spent later": (
        "limits",
        _limits(
            _YEAR,
            [
                _rules(_A_NS_PER_BYTE // 16, drop=1000),
                _rules(_A_NS_PER_BYTE, drop=40_000, chunk=10, parent=1),
            ],
            # The parent has no place for one segment, but for all that follows. Who asks
            # twice in a row may borrow.
            [*[(0, 2, 65_000, 30_000)] * 2, *[(64, 2, 1000, 0)] * 63],
        ),
    ),
}
