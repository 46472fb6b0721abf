# SPDX-License-Identifier: Apache-2.0
"""What the self test's table says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One packet at one hook, and what must become of it.

    Attributes:
        hook: such as "xdp_ingress".
        reason: the only one that may be counted, such as "send_meta".
        data: the frame, from its Ethernet header.
        out: the frame afterwards; None after a drop, and where a test run does not keep it.
        handover: bytes that XDP puts in front of it.
    """

    name: str
    hook: str
    reason: str
    data: bytes
    out: bytes | None
    handover: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """The rows, and the world that they live in.

    Attributes:
        world: by map: pairs of a key and the fields of a value that are not zero.
            A value that is no struct is a number.
    """

    world: dict[str, list[tuple[bytes, Any]]]
    rows: list[Row]


def read() -> Table:
    """The table that ships with the package."""
    raw = json.loads((resources.files("ilax.selftest") / "table.json").read_text())
    return Table(
        {
            name: [(bytes.fromhex(key), value) for key, value in rows]
            for name, rows in raw["world"].items()
        },
        [
            Row(
                row["name"],
                row["hook"],
                row["reason"],
                bytes.fromhex(row["data"]),
                bytes.fromhex(row["out"]) if "out" in row else None,
                bytes.fromhex(row.get("handover", "")),
            )
            for row in raw["rows"]
        ],
    )
