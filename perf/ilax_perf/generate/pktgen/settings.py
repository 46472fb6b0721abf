# SPDX-License-Identifier: Apache-2.0
"""What one device of pktgen is told: typed, checked, and in the order of writing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Literal

from ilax.errors import UsageError
from ilax_perf.generate.pktgen.control import Line

XmitMode = Literal["start_xmit", "netif_receive", "queue_xmit"]
# Ethernet, IPv6, UDP and pktgen's own header: less than that becomes that.
SMALLEST = 14 + 40 + 8 + 16
# Digits that the kernel reads of a number.
_MOST = 10**10 - 1
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_WORD = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Parameters of a device, for UDP over IPv6.

    Attributes:
        macs: source and destination of frames.
        source: of packets.
        first, last: destinations, drawn at random; the same for one alone. pktgen
            draws by bits (`(random | first) & last`), so the range has to be a
            power of two long, and aligned to that.
        size: bytes of a frame without the FCS.
        count: packets, 0 = until it is stopped.
        delay: nanoseconds from packet to packet; 0 = none.
        source_ports: first one, and the one after the last; one after the other.
        destination_port: of UDP.
        queues: first and last queue of the device.
        clone_skb: a packet is sent so many times more before the next one is made.
        burst: packets that the driver gets at once, all of them the same; whole bursts
            are sent, so up to `burst - 1` packets more than `count`.
        xmit_mode: to the driver; into our own stack as if received; through the qdisc.
        checksum: UDP has one, by the device if it can.
    """

    macs: tuple[str, str]
    source: IPv6Address
    first: IPv6Address
    last: IPv6Address
    size: int = SMALLEST
    count: int = 0
    delay: int = 0
    source_ports: tuple[int, int] = (9, 9)
    destination_port: int = 9
    queues: tuple[int, int] = (0, 0)
    clone_skb: int = 0
    burst: int = 1
    xmit_mode: XmitMode = "start_xmit"
    checksum: bool = True

    def __post_init__(self) -> None:
        for mac in self.macs:
            if not _MAC.fullmatch(mac):
                raise UsageError(f"{mac} is no MAC address")
        if self.size < SMALLEST:
            raise UsageError(
                f"frames of {self.size} bytes: pktgen's own header makes IPv6 frames "
                f"{SMALLEST} bytes long at least"
            )
        problem = why_no_range(self.first, self.last)
        if problem:
            raise UsageError(problem)
        for name in ("count", "delay", "clone_skb", "burst"):
            value = getattr(self, name)
            if not 0 <= value <= _MOST:
                raise UsageError(f"{name}: pktgen takes 0 to {_MOST}, not {value}")

    def lines(self) -> list[Line]:
        """All lines, in an order that the kernel takes."""
        low, high = self.source_ports
        lines = [
            Line("count", self.count),
            Line("pkt_size", self.size),
            Line("delay", self.delay),
            Line("src_mac", self.macs[0]),
            Line("dst_mac", self.macs[1]),
            Line("src6", self.source),
            *self._destinations(),
            Line("udp_src_min", low),
            Line("udp_src_max", high),
            Line("udp_dst_min", self.destination_port),
            Line("udp_dst_max", self.destination_port),
            Line("queue_map_min", self.queues[0]),
            Line("queue_map_max", self.queues[1]),
        ]
        # Bursts and clones depend on the mode.
        if self.xmit_mode != "start_xmit":
            lines.append(Line("xmit_mode", self.xmit_mode))
        if self.clone_skb:
            lines.append(Line("clone_skb", self.clone_skb))
        if self.burst > 1:
            lines.append(Line("burst", self.burst))
        if self.checksum:
            lines.append(Line("flag", "UDPCSUM"))
        return lines

    def _destinations(self) -> list[Line]:
        if self.first == self.last:
            return [Line("dst6", self.first)]
        return [Line("dst6_min", self.first), Line("dst6_max", self.last)]


def why_no_range(first: IPv6Address, last: IPv6Address) -> str | None:
    """Why pktgen cannot draw exactly the addresses from `first` to `last`, or None."""
    bits = int(first) ^ int(last)
    # All ones below some bit, all of which are 0 in the first address.
    if bits & (bits + 1) == 0 and int(first) & bits == 0:
        return None
    return (
        f"{first} to {last}: pktgen draws bits, so a range has to be a whole prefix, "
        "such as 2001:db8::/112"
    )
