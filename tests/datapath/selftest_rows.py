# SPDX-License-Identifier: Apache-2.0
"""Which rows of the packet table ship with the package, and how they get there.

The shipped world has no device but loopback, so rows are rewritten for that: device
numbers become 1, and the addresses of the host's devices become zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapath import fill, packets, plan, rows_egress, rows_icmp6, rows_ingress, rows_limits
from datapath import rows_vlan as vlan
from datapath.plan import CBIT, LOOPBACK, PLAN
from datapath.row import Row
from ilax.contract import schema
from model import Hook, Tables

HOOKS = {
    Hook.XDP: "xdp_ingress",
    Hook.UPLINK_IN: "uplink_ingress",
    Hook.UPLINK_OUT: "uplink_egress",
    Hook.CONTAINER: "container",
}

_DELIVERED = "TCP for a task is delivered by the stack"
_OVER = "over its limit a packet is dropped"
_RECYCLED = "a row that was recycled under our hands is not used"
_UNKNOWN = "an unknown identifier with C-bit is dropped"
_ERROR = "time exceeded: SIR address in the quote"
_OLD_ERROR = "an error about an address that moved away (stack)"
_HOST = "a task in the host's namespace: the host's stack gets it, no hop is counted"
_LAST_HOP = "hop limit 1: the stack answers, about the SIR address (2000:7:a1b2:c3d4)"
_TAG = "one tag from a container: gone on the way out"

CHOSEN = {
    Hook.XDP: (
        _DELIVERED, "UDP for a task is delivered", "TCP is delivered by XDP", _HOST, _LAST_HOP,
        _UNKNOWN, _RECYCLED, _ERROR, _OLD_ERROR, _OVER, "IPv4", "link-local", "version 7",
        "XDP delivery into a device that is gone ends in XDP, but not in tc",
        "another host's locator is not ours", "three tags are one too many",
    ),
    Hook.UPLINK_IN: (
        _DELIVERED, "an echo request for a task is delivered", _HOST, _LAST_HOP, _UNKNOWN,
        _RECYCLED, _ERROR, _OLD_ERROR, _OVER, "IPv4", "a foreign address is not ours",
    ),
    Hook.CONTAINER: (
        "TCP to another host", "UDP to a task of this host", "to a SIR address without a row",
        "from another task's address to 2001:db8:5a5a:1:2000:7:b1b2:c3d4",
        "to a far task's wire address", "a zeroed mapping", "a link-local source to fe80::1",
        "hop limit 1: the stack answers (forward)", "to a foreign address: the host's stack routes",
        "from a neighbour to 2000:8:0:4", _TAG,
        "from a container: an IPv4 header behind IPv6's type",
    ),
    Hook.UPLINK_OUT: (
        "TCP to another host", "to a SIR address without a row", "to a foreign address",
        "to a wire address, rewritten before", "to a task of this host: nothing leads back in",
    ),
}  # fmt: skip

_HOST_MACS = tuple(plan.mac(index) for index in (plan.UPLINK, plan.TASK1, plan.TASK2, plan.TASK3))


def tables() -> Tables:
    """The plan's CBIT domain on a host that has loopback only."""
    return replace(
        PLAN,
        endpoints={
            key: replace(row, ifindex=_index(row.ifindex))
            for key, row in PLAN.endpoints.items()
            if key[:8] == CBIT.own
        },
        mappings={key: row for key, row in PLAN.mappings.items() if key[:8] == CBIT.sir},
        ports={LOOPBACK: PLAN.ports[plan.TASK1]},
        prefixes=CBIT.rows(),
        config=replace(PLAN.config, uplink_ifindex=LOOPBACK),
        devices=frozenset((LOOPBACK,)),
    )


def rows() -> list[Row]:
    """The chosen rows, in loopback's world."""
    found = {
        (row.hook, row.sentence): row
        for module in (rows_ingress, vlan, rows_icmp6, rows_egress, rows_limits)
        for row in module.ROWS
    }
    world = tables()
    return [
        _on_loopback(found[hook, sentence], world)
        for hook, sentences in CHOSEN.items()
        for sentence in sentences
    ]


def _index(ifindex: int) -> int:
    return ifindex if ifindex in (0, plan.GONE) else LOOPBACK


def _on_loopback(row: Row, world: Tables) -> Row:
    handover = row.handover
    if handover[4:]:
        number = _index(int.from_bytes(handover[4:8], "little"))
        handover = handover[:4] + number.to_bytes(4, "little") + handover[8:]
    # XDP redirection writes the addresses that the endpoint's row has.
    out = row.out if row.out is None or row.reason == "SEND_XDP" else _without_mac(row.out)
    data = _without_mac(row.packet.data)
    packet = replace(row.packet, data=data, ifindex=LOOPBACK)
    return replace(row, packet=packet, out=out, handover=handover, tables=world)


def _without_mac(frame: bytes) -> bytes:
    return bytes(6) + frame[6:] if frame[:6] in _HOST_MACS else frame


def text() -> str:
    """What `loader/ilax/selftest/table.json` has to be."""
    shipped = []
    for row in rows():
        entry: dict[str, str] = {
            "name": str(row),
            "hook": HOOKS[row.hook],
            "reason": row.reason.lower(),
            "data": row.packet.data.hex(),
        }
        if row.out is not None:
            entry["out"] = row.out.hex()
        if row.handover:
            entry["handover"] = row.handover.hex()
        shipped.append(entry)
    # The program at cgroups has no row in the packet table: in a test run it is attached
    # to nothing, so no limit can be its own.
    free = _without_mac(packets.ether(packets.tcp()(packets.TASK, 64)))
    shipped.append(
        {
            "name": "cgroup: what no limit charges passes",
            "hook": "cgroup",
            "reason": "pass_not_ours",
            "data": free.hex(),
        }
    )
    parts = [f"{json.dumps(name)}: {_lines(rows)}" for name, rows in _world(tables()).items()]
    world = ",\n".join(parts)
    return f'{{"world": {{\n{world}}},\n"rows": {_lines(shipped)}}}\n'


def _lines(items: Sequence[object]) -> str:
    """A list in JSON, with one line for each item, so that a change is easy to see."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "]"


def _world(world: Tables) -> dict[str, list[list[Any]]]:
    return {
        "ilax_endpoints": [
            [key.hex(), _fields("ilax_endpoint", fill.endpoint_row(key, row))]
            for key, row in world.endpoints.items()
        ],
        "ilax_mappings": [
            [key.hex(), _fields("ilax_mapping", fill.mapping_row(row))]
            for key, row in world.mappings.items()
        ],
        "ilax_ports": [
            [fill.u32(index).hex(), _fields("ilax_port", fill.port_row(row))]
            for index, row in world.ports.items()
        ],
        "ilax_devices": [[fill.u32(index).hex(), index] for index in sorted(world.devices)],
        "ilax_prefixes": [
            [fill.u32(index).hex(), _fields("ilax_prefix", fill.prefix_row(row))]
            for index, row in enumerate(world.prefixes)
        ],
        "ilax_limits": [
            [fill.u32(slot).hex(), _fields("ilax_limit", fill.limit_row(row))]
            for slot, row in world.limits.items()
        ],
        "ilax_config": [
            [
                fill.u32(0).hex(),
                {"uplink_ifindex": world.config.uplink_ifindex,
                 "uplink_mtu": world.config.uplink_mtu},
            ]
        ],
    }  # fmt: skip


def _fields(struct: str, raw: bytes) -> dict[str, Any]:
    row = np.frombuffer(raw, schema.dtype(struct))[0]
    fields = {name: _plain(row[name]) for name in row.dtype.names or ()}
    return {name: value for name, value in fields.items() if value}


def _plain(value: Any) -> Any:
    if isinstance(value, np.void):
        return value.tobytes().hex() if any(value.tobytes()) else ""
    if isinstance(value, np.ndarray):
        array: NDArray[Any] = value
        raw = array.tobytes() if array.dtype == np.uint8 else b""
        return (raw.hex() or array.tolist()) if array.any() else []
    return int(value)
