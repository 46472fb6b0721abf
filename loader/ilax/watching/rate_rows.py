# SPDX-License-Identifier: Apache-2.0
"""What `ilax.watching.rates` gives: rows of endpoints, limits and reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ilax.address import Address

Order = Literal["rate", "packets", "drops"]
ORDERS: tuple[Order, ...] = ("rate", "packets", "drops")


@dataclass(frozen=True, slots=True)
class EndpointRates:
    """What one endpoint receives and sends; bits, packets and drops per second.

    Attributes:
        device: the host's device that leads to it, "host" for the host itself.
        limit: cgroup whose limit counts for it; None = none.
        history: of what the rows are in order of, the newest last.
    """

    sir: Address
    device: str
    rx_bps: float
    rx_pps: float
    tx_bps: float
    tx_pps: float
    drops_pps: float
    limit: str | None
    history: list[float]


@dataclass(frozen=True, slots=True)
class LimitRates:
    """What one limit does, per second.

    Attributes:
        rate: bits per second that it allows; None = bytes are free.
        packets: per second that it allows; None = packets are free.
        use: share of it that is used, 0 to about 1.
        marked_pps: marked or tagged.
        backlog_ns: now.
        history: as for endpoints; "packets" and "rate" are of what passed.
    """

    cgroup: str
    rate: int | None
    packets: float | None
    use: float
    passed_bps: float
    passed_pps: float
    marked_pps: float
    dropped_pps: float
    backlog_ns: int
    history: list[float]


@dataclass(frozen=True, slots=True)
class ReasonRates:
    """What one hook decides for one reason, per second.

    Attributes:
        verdict: "pass", "send" or "drop".
        packets: since the instance is up.
        history: of packets per second.
    """

    hook: str
    reason: str
    verdict: str
    pps: float
    bps: float
    packets: int
    history: list[float]


@dataclass(frozen=True, slots=True)
class View:
    """One screen.

    Attributes:
        seconds: between the two looks.
        endpoints, limits, reasons: the first rows in their order.
        endpoint_count, limit_count: all there are.
        rx_bps, rx_pps, tx_bps, tx_pps, drops_pps: of all endpoints together.
        rx_history, drops_history: of packets per second.
    """

    instance: str
    time: float
    seconds: float
    order: Order
    endpoint_count: int
    limit_count: int
    rx_bps: float
    rx_pps: float
    tx_bps: float
    tx_pps: float
    drops_pps: float
    rx_history: list[float]
    drops_history: list[float]
    endpoints: list[EndpointRates]
    limits: list[LimitRates]
    reasons: list[ReasonRates]
