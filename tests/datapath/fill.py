# SPDX-License-Identifier: Apache-2.0
"""From the model's tables to rows of the contract's maps."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ilax.bpf import Map
from ilax.contract import schema
from model import Mapping, Tables
from model.tables import Endpoint, Limit, Police, Port, Prefix

_EMPTIED = ("ilax_endpoints", "ilax_mappings", "ilax_ports", "ilax_devices")


def fill(maps: dict[str, Map], tables: Tables) -> None:
    """Make the maps say what the tables say, and nothing else."""
    for name in _EMPTIED:
        for key in list(maps[name].keys()):
            maps[name].delete(key)
    for key, endpoint in tables.endpoints.items():
        maps["ilax_endpoints"].update(key, endpoint_row(key, endpoint))
    for key, mapping in tables.mappings.items():
        maps["ilax_mappings"].update(key, mapping_row(mapping))
    for ifindex, port in tables.ports.items():
        maps["ilax_ports"].update(u32(ifindex), port_row(port))
    for ifindex in tables.devices:
        maps["ilax_devices"].update(u32(ifindex), u32(ifindex))
    for index in range(schema.enum("ilax_size")["ILAX_MAX_PREFIXES"]):
        row = _row("ilax_prefix").tobytes()
        if index < len(tables.prefixes):
            row = prefix_row(tables.prefixes[index])
        maps["ilax_prefixes"].update(u32(index), row)
    for slot, limit in tables.limits.items():
        maps["ilax_limits"].update(u32(slot), limit_row(limit))
    maps["ilax_config"].update(u32(0), config_row(tables))


def endpoint_row(key: bytes, endpoint: Endpoint) -> bytes:
    row = _row(
        "ilax_endpoint",
        ifindex=endpoint.ifindex,
        slot=endpoint.slot,
        mtu=endpoint.mtu,
        delivery=int(endpoint.delivery),
        mac=list(endpoint.mac),
        host_mac=list(endpoint.host_mac),
        limit=endpoint.limit,
    )
    _put(row["wire"], key if endpoint.wire is None else endpoint.wire)
    _put(row["sir"], endpoint.sir)
    return row.tobytes()


def limit_row(limit: Limit) -> bytes:
    """Rules under which every packet meets the same fate, whatever came before.

    A byte costs 1 ns. Without a burst every packet is over a threshold of 0, also the
    first one, and none is over one of four seconds.
    """
    actions = schema.enum("ilax_limit_action")
    action = {Police.MARK: "MARK", Police.TAG: "TAG"}.get(limit.says, "DROP")
    row = _row(
        "ilax_limit",
        byte_cost=64 << schema.enum("ilax_limit_unit")["ILAX_BYTE_COST_SHIFT"],
        drop=0 if limit.says is Police.DROP else 4_000_000_000,
        action=actions[f"ILAX_LIMIT_{action}"],
        tag_mark=limit.mark,
        tag_prio=limit.prio,
    )
    row["parents"][: len(limit.parents)] = limit.parents
    return row.tobytes()


def config_row(tables: Tables) -> bytes:
    row = _row(
        "ilax_config",
        uplink_ifindex=tables.config.uplink_ifindex,
        uplink_mtu=tables.config.uplink_mtu,
    )
    _put(row["gateway"], tables.config.gateway)
    return row.tobytes()


def mapping_row(mapping: Mapping) -> bytes:
    row = _row("ilax_mapping", action=mapping.action)
    _put(row["wire"], mapping.wire)
    return row.tobytes()


def port_row(port: Port) -> bytes:
    any_source = schema.enum("ilax_port_flag")["ILAX_PORT_ANY_SOURCE"]
    row = _row("ilax_port", slot=port.slot, flags=any_source * port.any_source)
    _put(row["sir"], port.sir)
    return row.tobytes()


def prefix_row(prefix: Prefix) -> bytes:
    flags = schema.enum("ilax_prefix_flag")
    row = _row(
        "ilax_prefix",
        prefix=int.from_bytes(prefix.upper, "big"),
        mask=int.from_bytes(prefix.mask, "big"),
        sir_prefix=int.from_bytes(prefix.sir_prefix, "big"),
        flags=flags["ILAX_PREFIX_CBIT"] * prefix.c_bit + flags["ILAX_PREFIX_TYPED"] * prefix.typed,
        kind=prefix.kind,
    )
    return row.tobytes()


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _row(struct_name: str, **fields: object) -> NDArray[np.void]:
    row = np.zeros((), schema.dtype(struct_name))
    for name, value in fields.items():
        row[name] = value
    return row


def _put(field: NDArray[np.void], raw: bytes) -> None:
    field["prefix"] = int.from_bytes(raw[:8], "big")
    field["identifier"] = int.from_bytes(raw[8:], "big")
