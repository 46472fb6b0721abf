# SPDX-License-Identifier: Apache-2.0
"""What the fuzzers begin with: the rows of tests/datapath/plan.py and the packet table.

The tables become a C header, byte for byte what the loader writes into maps; each row
of the packet table becomes one file of the corpus, in the form of case.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datapath import fill, plan
from datapath.plan import PLAN
from datapath.row import Row
from datapath.world import Packet
from ilax.bpf import Map
from ilax.contract import schema
from model import Hook
from model.tables import Limit, Police

DEVICES = (plan.UPLINK, plan.TASK1, plan.TASK2, plan.TASK3, plan.STRANGER)
LIMITS = 64
CGROUP = 4  # enum case_hook
# Slots of limits that leave a packet to one which is nearer to its socket: how deep they are.
_NESTED = {max(PLAN.limits) + 1 + depth: depth for depth in range(6)}
RULES = max(_NESTED) + 1
# Slots of the cgroups above a socket that have a row, by depth. That of RULES limits
# nothing: it is there for endpoints to name, and nearer to nobody.
_ROWS = {2: 1, 3: RULES, 4: 2}
_HEAD = struct.Struct("<8B2HIQI2H")
_LONGEST = 2048


def _limit_row(slot: int) -> bytes:
    if slot not in _NESTED:
        return fill.limit_row(PLAN.limits[slot]) if slot in PLAN.limits else bytes(64)
    row = np.frombuffer(fill.limit_row(Limit(Police.MARK)), schema.dtype("ilax_limit")).copy()
    row["flags"] = schema.enum("ilax_limit_flag")["ILAX_LIMIT_NESTED"]
    row["depth"] = _NESTED[slot]
    return row.tobytes()


def fill_limits(maps: dict[str, Map], cgroups: Mapping[int, int]) -> None:
    """Write what only cgroups need into maps that have the rows of PLAN.

    Args:
        cgroups: the number of the cgroup at each depth above a socket.
    """
    for slot in _NESTED:
        maps["ilax_limits"].update(fill.u32(slot), _limit_row(slot))
    for depth, slot in _ROWS.items():
        maps["ilax_cgroups"].update(struct.pack("<Q", cgroups[depth]), fill.u32(slot))


def header() -> str:
    """The text of population.h."""
    prefixes = [fill.prefix_row(row) for row in PLAN.prefixes]
    prefixes += [bytes(len(prefixes[0]))] * (16 - len(prefixes))
    index = [fill.u32(number) for number in range(LIMITS)]
    tables = {
        "endpoints": [key + fill.endpoint_row(key, row) for key, row in PLAN.endpoints.items()],
        "mappings": [key + fill.mapping_row(row) for key, row in PLAN.mappings.items()],
        "ports": [fill.u32(key) + fill.port_row(row) for key, row in PLAN.ports.items()],
        "devices": [fill.u32(key) * 2 for key in sorted(PLAN.devices)],
        # bpf_sk_ancestor_cgroup_id() in kernel_skb.c gives the numbers.
        "cgroups": [struct.pack("<QI", 1000 + depth, slot) for depth, slot in _ROWS.items()],
        "prefixes": [a + b for a, b in zip(index, prefixes, strict=False)],
        "config": [fill.u32(0) + fill.config_row(PLAN)],
        "limits": [fill.u32(slot) + _limit_row(slot) for slot in range(LIMITS)],
    }
    lines = [
        "/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */",
        "/* Made by population.py. */",
        f"#define POPULATION_LIMITS {LIMITS}",
        f"#define POPULATION_RULES {RULES}",
        f"#define POPULATION_SLOTS {max(plan.SLOTS.values()) + 1}",
        f"#define POPULATION_DEVICES {len(DEVICES)}",
        f"#define POPULATION_UPLINK {plan.UPLINK}",
        f"#define POPULATION_LOOPBACK {plan.LOOPBACK}",
        f"#define POPULATION_ANY_SOURCE {plan.TASK3}",
        "static const __u32 population_ifindexes[] __attribute__((unused)) = "
        f"{{ {', '.join(map(str, DEVICES))} }};",
    ]
    for name, rows in tables.items():
        body = ",\n".join("{ " + ", ".join(map(str, row)) + " }" for row in rows)
        lines.append(
            f"static const __u8 population_{name}[{len(rows)}][{len(rows[0])}] "
            f"__attribute__((unused)) = {{\n{body}\n}};"
        )
    lines.insert(2, "#include <linux/types.h>")
    return "\n".join(lines) + "\n"


def case(packet: Packet, hook: int, flags: int = 0) -> bytes:
    """A packet at a hook as a file of the corpus."""
    head = _HEAD.pack(
        hook,
        flags,
        DEVICES.index(packet.ifindex) if packet.ifindex in DEVICES else 0,
        len(packet.metadata) // 4,
        7,
        1,
        0,
        1,
        packet.linear or 0,
        packet.gso_size,
        packet.tag,
        10**12,
        0,
        packet.gso_segs if packet.gso_size else 0,
        0,
    )
    return head + packet.data


def packet_of(raw: bytes) -> tuple[Hook, Packet]:
    """The other way: of a case that a test run can give to a program in the kernel."""
    hook, _, device, meta, _, _, _, _, linear, _, tag, *_ = _HEAD.unpack_from(raw)
    data = raw[_HEAD.size :]
    if hook == Hook.XDP:
        reach = max(min(linear or len(data), len(data)), 14)
        return Hook.XDP, Packet(data, linear=reach, metadata=b"m" * 4 * meta)
    ifindex = DEVICES[device] if hook == Hook.CONTAINER else plan.UPLINK
    return Hook(hook), Packet(data, ifindex=ifindex, tag=tag)


def write(folder: Path, rows: Sequence[Row]) -> int:
    """Make population.h and corpus/ in a folder; returns the number of seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    text = header()
    target = folder / "population.h"
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    count = 0
    for number, row in enumerate(rows):
        if len(row.packet.data) > _LONGEST:
            continue
        (corpus / f"row{number:04}").write_bytes(case(row.packet, row.hook))
        count += 1
        if row.hook is Hook.UPLINK_IN:
            # A socket sees the packet without its Ethernet header.
            inner = case(row.packet, CGROUP)
            front = _HEAD.size
            (corpus / f"cgroup{number:04}").write_bytes(inner[:front] + inner[front + 14 :])
            count += 1
    return count
