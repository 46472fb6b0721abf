# SPDX-License-Identifier: Apache-2.0
"""Metrics of what does the work: maps, programs, links."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client.core import InfoMetricFamily

import ilax
from ilax.bpf import Link, Program
from ilax.bpf.link import xdp_program_on
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.errors import NotFoundError, PrivilegeError, SystemCallError
from ilax.exporter.families import counters, gauge, gauges
from ilax.hooks import xdp_slot
from ilax.hooks.places import UPLINK_TC, XDP_INGRESS
from ilax.instances.instance import own_netns
from ilax.system.netlink import interface_names

if TYPE_CHECKING:
    from ilax.exporter.families import Family
    from ilax.instances.instance import Instance

_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
# In a slot of a foreign program's array instead of on the hook; it is no link.
_XDP_SLOT = "xdp_slot"
_TC_LINKS = tuple(kind.link for kind in UPLINK_TC)
_UPLINK_LINKS = (XDP_INGRESS.link, *_TC_LINKS)


def contract(instance: Instance) -> Iterator[Family]:
    """Which versions meet here."""
    version = schema.enum("ilax_version")
    made = InfoMetricFamily("ilax_build", "Versions of ilax and of the map contract.")
    raw = instance.maps["ilax_abi"].lookup(index_key(0))
    row = np.frombuffer(raw or b"", schema.dtype("ilax_abi"), 1)[0]
    made.add_metric(
        [],
        {
            "name": instance.name,
            "version": ilax.__version__,
            "contract": f"{version['ILAX_ABI_MAJOR']}.{row['minor']}",
            "layout": row["layout"].tobytes()[:8].hex(),
        },
    )
    yield made


class Sizes:
    """Entries and capacities of maps.

    The kernel tells nobody how many rows a hash has; they are counted by a walk.
    That of a million mappings is done less often than scrapes are, and its age is a
    metric.

    Args:
        period: seconds between two counts of mappings.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._map_id = self._mappings = 0
        self._counted = -period

    def read(self, instance: Instance) -> Iterator[Family]:
        """Entries, capacities and ages."""
        mappings = instance.mappings.map
        now = time.monotonic()
        if mappings.id != self._map_id or now - self._counted >= self._period:
            self._mappings, self._map_id, self._counted = mappings.count(), mappings.id, now
        prefixes = instance.prefixes.rows()[1]
        entries = {
            "ilax_endpoints": instance.endpoints.map.count(),
            "ilax_ports": instance.ports.map.count(),
            "ilax_mappings": self._mappings,
            "ilax_limits": instance.cgroups.count(),
            "ilax_prefixes": int((prefixes["kind"] != 0).sum()),
        }
        capacity = {name: instance.maps[name].max_entries for name in entries}
        capacity["ilax_limits"] -= 1  # row 0 is unused
        ages = dict.fromkeys(entries, 0.0) | {"ilax_mappings": now - self._counted}
        yield gauges("ilax_map_entries", "Rows in use.", "map", dict(entries))
        yield gauges("ilax_map_capacity_entries", "Rows there is room for.", "map", dict(capacity))
        yield gauges(
            "ilax_map_entries_age_seconds", "How long ago the rows were counted.", "map", ages
        )


def programs(instance: Instance) -> Iterator[Family]:
    """Which programs there are, and how often and how long they ran."""
    found: dict[str, Program] = {}
    # `up` puts a new program over an older one by a rename.
    for pin in _pins(instance.pins.programs):
        with contextlib.suppress(NotFoundError), Program.open_pinned(pin, read_only=True) as one:
            found[pin.name] = one
    loaded = InfoMetricFamily("ilax_program", "Loaded programs.", labels=["program"])
    for name, one in found.items():
        loaded.add_metric([name], {"tag": one.tag, "id": str(one.id)})
    yield loaded
    enabled = _STATS.read_text().strip() == "1"
    yield gauge(
        "ilax_program_statistics_enabled", "Whether kernel.bpf_stats_enabled is 1.", enabled
    )
    if enabled:
        yield counters(
            "ilax_program_run_seconds", "Time that the program ran.", "program",
            {name: one.run_ns / 1e9 for name, one in found.items()},
        )  # fmt: skip
        yield counters(
            "ilax_program_runs", "How often the program ran.", "program",
            {name: float(one.runs) for name, one in found.items()},
        )  # fmt: skip


def links(instance: Instance) -> Iterator[Family]:
    """Whether the programs at the uplink are attached, and how many other links there are.

    A link is only opened by who may write to its pin, since that allows to detach it.
    An exporter that may not asks the device for its XDP program, and of tcx it knows
    that the link is pinned and its device there.
    """
    folder = instance.pins.links
    pins = {pin.name for pin in _pins(folder)}
    kinds = Counter("uplink" if name in _UPLINK_LINKS else name.partition("_")[0] for name in pins)
    yield gauges(
        "ilax_links", "Pinned links, by what they are for.", "kind",
        {kind: float(kinds[kind]) for kind in ("uplink", "port", "cgroup")},
    )  # fmt: skip
    # Where one of the two is by tcx, the other should be.
    by_tcx = bool(pins.intersection(_TC_LINKS))
    states = {name: 0.0 for name in _TC_LINKS if by_tcx and name not in pins}
    asked = 1
    for name in sorted(pins.intersection(_UPLINK_LINKS)):
        try:
            with Link.open_pinned(folder / name) as link:
                states[name] = float(link.info().ifindex != 0)
        except NotFoundError:
            continue  # `up` is moving to another uplink
        except (PrivilegeError, SystemCallError):
            asked = 0
            state = _guess(instance, name)
            if state is not None:
                states[name] = float(state)
    with xdp_slot.remembered(instance.pins, read_only=True) as slots:
        if slots:
            held = all(xdp_slot.holds_ours(instance.pins, slot) for slot in slots)
            states[_XDP_SLOT] = float(held)
    yield gauges(
        "ilax_link_attached", "Whether the link at the uplink holds its program there.",
        "link", states,
    )  # fmt: skip
    yield gauge(
        "ilax_links_asked",
        "1: ilax_link_attached is what the kernel says of the links; "
        "0: what could be seen without opening them.",
        asked,
    )


def _pins(folder: Path) -> list[Path]:
    """What is in a folder; `down` may have taken it away already."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _guess(instance: Instance, link: str) -> bool | None:
    """Whether a link seems to be attached; None from another network namespace."""
    row: Any = instance.config.get(index_key(0))
    if int(row["netns"]) != own_netns():
        return None
    ifindex = int(row["uplink_ifindex"])
    if ifindex not in interface_names():
        return False
    if link != XDP_INGRESS.link:
        return True
    try:
        pin = instance.pins.programs / XDP_INGRESS.program
        with Program.open_pinned(pin, read_only=True) as ours:
            return xdp_program_on(ifindex) == ours.id
    except NotFoundError:
        return None
