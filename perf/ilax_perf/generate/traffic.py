# SPDX-License-Identifier: Apache-2.0
"""What is to be sent: UDP over IPv6, to some destinations, at some rate, for some time."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ilax.errors import UsageError

# Rows of addresses: uint8, shape (n, 16), as on the wire.
Addresses = NDArray[np.uint8]

ETHERNET, HEADERS = 14, 62
# Least: Ethernet, IPv6, UDP and the two bytes of a packet's number. Most: an MTU of 9000.
SMALLEST, LARGEST = 64, 9014
# What a link adds to a frame: FCS, preamble, start of frame and the gap to the next one.
FRAMING = 24
MOST_DESTINATIONS = 1 << 20
FIRST_PORT, MOST_FLOWS = 10000, 50000


class TrafficError(UsageError):
    """Traffic that makes no sense; nothing was sent."""


class Destinations(Protocol):
    """Where packets go."""

    def __len__(self) -> int: ...

    def table(self) -> Addresses:
        """All of them, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Range:
    """`count` addresses that follow each other."""

    first: IPv6Address
    count: int = 1

    def __post_init__(self) -> None:
        _check_number(self.count)
        if int(self.first) + self.count > 1 << 128:
            raise TrafficError(
                f"{self.count} addresses from {self.first} on: there are not so many"
            )

    def __len__(self) -> int:
        return self.count

    @property
    def last(self) -> IPv6Address:
        """The last one."""
        return self.first + (self.count - 1)

    def table(self) -> Addresses:
        """All of them, in order."""
        upper, lower = divmod(int(self.first), 1 << 64)
        rows = np.empty((self.count, 2), ">u8")
        with np.errstate(over="ignore"):
            lows = np.uint64(lower) + np.arange(self.count, dtype=np.uint64)
        # Past the end of the lower half the upper one goes up.
        rows[:, 0] = np.uint64(upper) + (lows < np.uint64(lower)).astype(np.uint64)
        rows[:, 1] = lows
        return rows.view(np.uint8)


class Listed:
    """Any addresses, in the order given: rows of uint8, shape (n, 16)."""

    def __init__(self, addresses: Addresses) -> None:
        if addresses.dtype != np.uint8 or addresses.shape[1:] != (16,):
            raise ValueError(f"{addresses.dtype} {addresses.shape}, not uint8 (n, 16)")
        _check_number(len(addresses))
        self._addresses = np.ascontiguousarray(addresses)

    def __len__(self) -> int:
        return len(self._addresses)

    def table(self) -> Addresses:
        """All of them, in order."""
        return self._addresses


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every destination gets as many packets as any other, in random order."""


@dataclass(frozen=True, slots=True)
class Zipf:
    """The k-th destination gets packets in proportion to k to the power of `-exponent`."""

    exponent: float

    def __post_init__(self) -> None:
        if not 0 < self.exponent <= 10:
            raise TrafficError(f"a Zipf exponent of {self.exponent:g}: take one above 0, up to 10")


@dataclass(frozen=True, slots=True)
class Traffic:
    """UDP packets over IPv6.

    Attributes:
        macs: source and destination of all frames, such as "02:00:00:00:00:01".
        source: of all packets.
        destinations: where they go.
        distribution: how often to each of these.
        size: bytes of a frame from its Ethernet header to its end, without the FCS:
            what the kernel counts. On a wire a frame takes 24 bytes more
            (`wire_size`); its IPv6 packet has 14 less.
        flows: so many source ports, one after the other.
        port: UDP port of all destinations.
        rate: packets in a second, or None for as many as possible (open loop).
        count: packets to send, or None.
        seconds: time to send, or None. Exactly one of the two is given.
    """

    macs: tuple[str, str]
    source: IPv6Address
    destinations: Destinations
    distribution: Uniform | Zipf = Uniform()
    size: int = SMALLEST
    flows: int = 1
    port: int = 4242
    rate: float | None = None
    count: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST:
            raise TrafficError(f"frames of {self.size} bytes: take {SMALLEST} to {LARGEST}")
        if not 1 <= self.flows <= MOST_FLOWS:
            raise TrafficError(f"{self.flows} flows: take 1 to {MOST_FLOWS}")
        if not 1 <= self.port <= 0xFFFF:
            raise TrafficError(f"port {self.port}: take 1 to 65535")
        if (self.count is None) == (self.seconds is None):
            raise TrafficError("say either how many packets or how many seconds")
        for name in ("rate", "count", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise TrafficError(f"{name}: {value:g} is not above 0")

    @property
    def wire_size(self) -> int:
        """Bytes that a frame takes of an Ethernet link."""
        return self.size + FRAMING

    @property
    def packet_size(self) -> int:
        """Bytes of a frame's IPv6 packet: what the MTU limits."""
        return self.size - ETHERNET

    @property
    def total(self) -> int | None:
        """Packets after which it is over; None if only the time says."""
        if self.count is None and self.rate and self.seconds:
            return max(1, round(self.rate * self.seconds))
        return self.count

    @property
    def expected_seconds(self) -> float | None:
        """How long it takes; None if that depends on the machine."""
        if self.seconds is None and self.rate and self.count:
            return self.count / self.rate
        return self.seconds


def _check_number(count: int) -> None:
    if not 1 <= count <= MOST_DESTINATIONS:
        raise TrafficError(f"{count} destinations: take 1 to {MOST_DESTINATIONS}")
