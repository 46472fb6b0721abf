# SPDX-License-Identifier: Apache-2.0
"""Metrics of packets: by hook and reason, and by endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily

from ilax.contract.tables import index_key
from ilax.exporter.families import Labels, Rows, gauge
from ilax.instances.instance import own_netns
from ilax.system.netlink import interface_names
from ilax.watching import counters

if TYPE_CHECKING:
    from ilax.exporter.choice import Choice
    from ilax.exporter.families import Family
    from ilax.instances.instance import Instance

_TRAFFIC = {
    "rx_packets": ("ilax_endpoint_receive_packets", "Packets delivered to the endpoint."),
    "rx_bytes": ("ilax_endpoint_receive_bytes", "Bytes of frames delivered to the endpoint."),
    "rx_drops": (
        "ilax_endpoint_receive_dropped_packets",
        "Packets for the endpoint that were dropped, those over its limit included.",
    ),
    "tx_packets": ("ilax_endpoint_transmit_packets", "Packets that the endpoint sent."),
    "tx_bytes": ("ilax_endpoint_transmit_bytes", "Bytes of frames that the endpoint sent."),
    "tx_drops": (
        "ilax_endpoint_transmit_dropped_packets",
        "Packets from the endpoint that were dropped.",
    ),
}


def by_reason(instance: Instance) -> Iterator[Family]:
    """Packets by hook and reason. Also what never happened, so that the first is seen."""
    labels = ["hook", "reason"]
    packets = CounterMetricFamily(
        "ilax_packets",
        "Verdicts by hook and reason (pass_: left to the stack, send_: on its way, drop_: "
        "ended). One packet may pass several hooks.",
        labels=labels,
    )
    size = CounterMetricFamily(
        "ilax_bytes", "Bytes of the frames behind ilax_packets_total.", labels=labels
    )
    sampled = lost = 0
    for counter in counters.read(instance, zeros=True):
        packets.add_metric([counter.hook, counter.reason], counter.packets)
        size.add_metric([counter.hook, counter.reason], counter.bytes)
        sampled += counter.sampled
        lost += counter.lost
    yield packets
    yield size
    yield CounterMetricFamily(
        "ilax_events_sampled", "Drops that were written to the ring of events.", value=sampled
    )
    yield CounterMetricFamily(
        "ilax_events_lost", "Drops that found the ring of events full.", value=lost
    )


def by_endpoint(instance: Instance, choice: Choice) -> Iterator[Family]:
    """Traffic of the chosen endpoints: those with the most packets."""
    from ilax import address_bulk

    _, rows = instance.endpoints.rows()
    # Endpoints without a slot share one with each other, and no number is theirs.
    own = rows[(rows["slot"] > 0) & (rows["slot"] < instance.traffic.map.max_entries)]
    yield gauge("ilax_endpoints", "Endpoints of this host.", len(rows))
    yield gauge(
        "ilax_endpoints_left_out",
        "Endpoints without series of their own: not among the chosen, or not counted apart.",
        len(rows) - len(own) + choice.left_out(len(own)),
    )
    yield from _missing_devices(instance, rows)
    if choice.none or not len(own):
        return
    traffic = instance.traffic.sums(int(own["slot"].max()) + 1)[own["slot"]]
    chosen = choice.pick(sum(traffic[name] for name in _TRAFFIC if not name.endswith("bytes")))
    sir = own["sir"][chosen].copy().view(">u8").reshape(-1, 2)
    labels = Labels("endpoint", address_bulk.format_texts(sir))
    for field, (name, text) in _TRAFFIC.items():
        yield Rows(name, text, "counter", labels, traffic[field][chosen])


def _missing_devices(instance: Instance, rows: Any) -> Iterator[Family]:
    config: Any = instance.config.get(index_key(0))
    if int(config["netns"]) != own_netns():
        return
    import numpy as np

    there = [0, *interface_names()]  # 0 is the host's own stack
    yield gauge(
        "ilax_endpoints_device_missing",
        "Endpoints whose interface is gone: what is sent to them is lost.",
        int((~np.isin(rows["ifindex"], there)).sum()),
    )
