# SPDX-License-Identifier: Apache-2.0
"""Well-known arrangements, after the kernel's samples/pktgen/, for IPv6.

Each one is a plan of devices on threads for a traffic. A traffic's packets are
shared out among the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ilax.errors import UsageError
from ilax_perf.generate.pktgen.driver import Assigned, Plan
from ilax_perf.generate.pktgen.settings import DeviceSettings

Preset = Callable[[str, DeviceSettings, Sequence[int]], Plan]

# Packets that the driver gets at once, and of which it is told at the last one only.
_BURST = 32
# The many flows of `many_flows`, unless the traffic has its own.
_FLOWS = 1000


def simple(device: str, base: DeviceSettings, cpus: Sequence[int]) -> Plan:
    """One thread, the traffic as it is (pktgen_sample01_simple)."""
    return {Assigned(device, cpus[0]): base}


def multiqueue(device: str, base: DeviceSettings, cpus: Sequence[int]) -> Plan:
    """A thread and a queue for each CPU (pktgen_sample02_multiqueue)."""
    return {
        Assigned(device, cpu, str(cpu)): replace(part, queues=(number, number))
        for number, (cpu, part) in enumerate(_shared(base, cpus))
    }


def burst_single_flow(device: str, base: DeviceSettings, cpus: Sequence[int]) -> Plan:
    """The same packet again and again, in bursts: the most (pktgen_sample03)."""
    port = base.source_ports[0]
    return {
        Assigned(device, cpu, str(cpu)): replace(
            part, burst=_BURST, source_ports=(port, port), last=base.first
        )
        for cpu, part in _shared(base, cpus)
    }


def many_flows(device: str, base: DeviceSettings, cpus: Sequence[int]) -> Plan:
    """Another flow with each packet (pktgen_sample04_many_flows)."""
    low, high = base.source_ports
    ports = (low, high) if high - low > 1 else (low, low + _FLOWS)
    return {
        Assigned(device, cpu, str(cpu)): replace(part, source_ports=ports)
        for cpu, part in _shared(base, cpus)
    }


def flow_per_thread(device: str, base: DeviceSettings, cpus: Sequence[int]) -> Plan:
    """One flow for each thread (pktgen_sample05_flow_per_thread)."""
    low = base.source_ports[0]
    return {
        Assigned(device, cpu, str(cpu)): replace(part, source_ports=(low + at, low + at))
        for at, (cpu, part) in enumerate(_shared(base, cpus))
    }


def netif_receive(device: str, base: DeviceSettings, cpus: Sequence[int]) -> Plan:
    """Not sent, but received by the device (pktgen_bench_xmit_mode_netif_receive)."""
    return {
        Assigned(device, cpu, str(cpu)): replace(part, xmit_mode="netif_receive")
        for cpu, part in _shared(base, cpus)
    }


def queue_xmit(device: str, base: DeviceSettings, cpus: Sequence[int]) -> Plan:
    """Through the qdisc (pktgen_bench_xmit_mode_queue_xmit)."""
    return {
        Assigned(device, cpu, str(cpu)): replace(part, xmit_mode="queue_xmit")
        for cpu, part in _shared(base, cpus)
    }


PRESETS: Mapping[str, Preset] = {
    preset.__name__.replace("_", "-"): preset
    for preset in (
        *(simple, multiqueue, burst_single_flow, many_flows, flow_per_thread),
        *(netif_receive, queue_xmit),
    )
}


def _shared(base: DeviceSettings, cpus: Sequence[int]) -> list[tuple[int, DeviceSettings]]:
    """What each CPU has to do for all together to send what was asked for."""
    if base.count and base.count < len(cpus):
        raise UsageError(f"{base.count} packets are too few for {len(cpus)} threads")
    each, more = divmod(base.count, len(cpus))
    return [
        (cpu, replace(base, count=each + (number < more), delay=base.delay * len(cpus)))
        for number, cpu in enumerate(cpus)
    ]
