# SPDX-License-Identifier: Apache-2.0
"""A `Traffic` by pktgen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import IPv6Address

from ilax_perf.generate.generator import Sent
from ilax_perf.generate.links import Device
from ilax_perf.generate.pktgen import driver
from ilax_perf.generate.pktgen.driver import Pktgen
from ilax_perf.generate.pktgen.presets import PRESETS
from ilax_perf.generate.pktgen.settings import SMALLEST, DeviceSettings, why_no_range
from ilax_perf.generate.traffic import FIRST_PORT, Range, Traffic, Zipf

# Seconds that threads may take to begin.
_MARGIN = 0.5


class PktgenGenerator:
    """The generator.

    Args:
        preset: one of `PRESETS`.
        cpus: whose threads send; default: the first that pktgen has.
    """

    name = "pktgen"

    def __init__(self, preset: str = "simple", cpus: Sequence[int] = ()) -> None:
        self._preset = PRESETS[preset]
        self._cpus = tuple(cpus)

    def why_not(self, device: str, traffic: Traffic) -> str | None:
        """Why it cannot send this, or None."""
        if not driver.is_here():
            return "this kernel has no pktgen, or has not loaded it (`modprobe pktgen`)"
        if os.geteuid():
            return "pktgen's control files need root"
        if isinstance(traffic.distribution, Zipf) and len(traffic.destinations) > 1:
            return "pktgen has no Zipf distribution: it draws all addresses of a range alike"
        span = _span(traffic)
        if span is None:
            return "pktgen takes a range of destinations, no list"
        if traffic.size < SMALLEST:
            return (
                f"frames of {traffic.size} bytes: pktgen's own header makes IPv6 frames "
                f"{SMALLEST} bytes long at least"
            )
        return why_no_range(*span) or Device.find(device).why_not(traffic.packet_size)

    def run(self, device: str, traffic: Traffic) -> Sent:
        """Send, on pktgen's own threads.

        Raises:
            PktgenError: the kernel refused something.
        """
        with Pktgen.make() as pktgen:
            cpus = self._cpus or pktgen.threads()[:1]
            plan = self._preset(device, settings_of(traffic), cpus)
            seconds = traffic.seconds
            if seconds and traffic.total:
                # It ends by itself, unless the rate is too high.
                seconds += _MARGIN
            results = pktgen.run(plan, seconds)
        times = [result.seconds or 0.0 for result in results.values()]
        return Sent(sum(result.sent for result in results.values()), max(times))


def settings_of(traffic: Traffic) -> DeviceSettings:
    """One device that sends all of a traffic.

    Raises:
        UsageError: pktgen cannot.
    """
    span = _span(traffic)
    assert span is not None
    return DeviceSettings(
        macs=traffic.macs,
        source=traffic.source,
        first=span[0],
        last=span[1],
        size=traffic.size,
        count=traffic.total or 0,
        delay=round(1e9 / traffic.rate) if traffic.rate else 0,
        source_ports=(FIRST_PORT, FIRST_PORT + traffic.flows),
        destination_port=traffic.port,
    )


def _span(traffic: Traffic) -> tuple[IPv6Address, IPv6Address] | None:
    to = traffic.destinations
    if isinstance(to, Range):
        return to.first, to.last
    only = IPv6Address(to.table()[0].tobytes())
    return (only, only) if len(to) == 1 else None
