# SPDX-License-Identifier: Apache-2.0
"""What differs between a frame before a program and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ilax.frames import Packet

_ECN = ("not ECN-capable", "ECT(1)", "ECT(0)", "CE")


@dataclass(frozen=True, slots=True)
class Change:
    """One field that a program has rewritten; values as text."""

    what: str
    before: str
    after: str


def between(before: Packet, after: Packet) -> list[Change]:
    """All changes, those of the IPv6 header first."""
    pairs: list[tuple[str, object, object]] = [("destination", before.dst, after.dst)]
    pairs.append(("hop limit", before.hop_limit, after.hop_limit))
    pairs.append(("ECN", _ecn(before), _ecn(after)))
    if before.quoted is not None and after.quoted is not None:
        pairs.append(("quoted destination", before.quoted.dst, after.quoted.dst))
    pairs.append(("VLAN tags", _tags(before), _tags(after)))
    pairs.append(("link destination", before.dst_mac, after.dst_mac))
    pairs.append(("link source", before.src_mac, after.src_mac))
    return [Change(what, str(old), str(new)) for what, old, new in pairs if old != new]


def _ecn(packet: Packet) -> str:
    return _ECN[(packet.traffic_class or 0) & 3]


def _tags(packet: Packet) -> str:
    return ", ".join(map(str, packet.vlans)) or "none"
