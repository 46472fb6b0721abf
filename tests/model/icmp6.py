# SPDX-License-Identifier: Apache-2.0
"""ICMPv6 errors: the quoted destination becomes the SIR address again."""

from __future__ import annotations

from model import address
from model.packet import EXTENSIONS, ICMPV6, IPV6, next_extension
from model.tables import PREFIX_SIR, Tables

FIRST_INFORMATIONAL = 128
ICMP_HEADER = 8
QUOTED_DESTINATION = 24
REDIRECT = 137
# The next hop of routes to SIR addresses.
SIR_GATEWAY = address.address("fe80::11a")
# Behind more extension headers than this, errors are passed on as they are.
MAX_EXTENSIONS = 6


def find(data: bytes, at: int, kind: int) -> int | None:
    """Offset of the ICMPv6 header, None if there is none within reach."""
    for _ in range(MAX_EXTENSIONS):
        if kind not in EXTENSIONS:
            break
        step = next_extension(data, at, kind)
        if step is None:
            return None
        at, kind = step
    return at if kind == ICMPV6 else None


def translate(data: bytes, l3: int, tables: Tables) -> bytes | None:
    """The frame with the quoted destination put back; None = to be dropped.

    Only a wire address is translated, and only if the mapping in force leads
    to it. What quotes anything else, too little, or nothing, stays as it is.
    """
    at = find(data, l3 + IPV6, data[l3 + 6])
    if at is None or at >= len(data) or data[at] >= FIRST_INFORMATIONAL:
        return data
    start = at + ICMP_HEADER + QUOTED_DESTINATION
    quoted = data[start : start + 16]
    if len(quoted) < 16:
        return data
    row = tables.classify(quoted)
    if row is None or row.kind == PREFIX_SIR or row.is_host_address(quoted):
        return data
    sir = address.to_sir(quoted, row.sir_prefix, row.c_bit)
    if sir is None:
        return data
    mapping = tables.mappings.get(sir)
    if mapping is None or mapping.wire != quoted:
        return None
    return data[:start] + sir + data[start + 16 :]
