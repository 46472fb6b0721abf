# SPDX-License-Identifier: Apache-2.0
"""Runs the table through programs that are loaded for this alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilax.bpf import Map, Object, Program
from ilax.contract import schema
from ilax.contract.tables import Table as MapTable
from ilax.errors import SelfTestError
from ilax.hooks import places, program_set
from ilax.selftest.table import Row, Table, read
from ilax.watching import counters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Rows of the private maps; those that are not named are small by themselves.
_SIZES = {"ilax_endpoints": 64, "ilax_mappings": 64, "ilax_ports": 8, "ilax_devices": 8,
          "ilax_traffic": 65, "ilax_limits": 16, "ilax_backlogs": 16,
          "ilax_cgroups": 8}  # fmt: skip

# Objects that each hook's rows are run through, and their program.
_PROGRAMS = {kind.name: (kind.objects, kind.program) for kind in places.ALL}

# What a program returns for a verdict. tc programs leave packets to the next one (-1).
_XDP_CODES = {"pass": 2, "drop": 1, "send": 4}
_TC_CODES = {"pass": 0xFFFFFFFF, "drop": 2, "send": 7}
_CGROUP_CODES = {"pass": 1, "drop": 0}

# Of struct __sk_buff: its size, and where ifindex is.
_SKB_BYTES, _SKB_IFINDEX = 192, 40
_LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row.

    Attributes:
        problem: what was not as it should be; None = passed.
    """

    name: str
    hook: str
    reason: str
    problem: str | None


def results(
    objects: Path | None = None, table: Table | None = None, tell: Callable[[Result], object] = str
) -> list[Result]:
    """Run all rows through programs over private maps; nothing live is touched.

    Args:
        objects: folder of objects that take the place of the shipped ones.
        table: default: the shipped one.
        tell: is given each result as soon as there is one.

    Raises:
        VerifierError: the kernel refused a program.
        PrivilegeError: a capability is missing.
    """
    table = table or read()
    found = []
    with ExitStack() as held:
        # Of two objects for one hook, none sees what the other one has charged to limits.
        worlds = [_world(table, held) for _ in range(max(len(o) for o, _ in _PROGRAMS.values()))]
        paths = program_set.object_paths(objects)
        programs = {
            hook: [
                held.enter_context(program_set.load_one(maps, paths[name], program))
                for name, maps in zip(names, worlds, strict=False)
            ]
            for hook, (names, program) in _PROGRAMS.items()
        }
        counted = [MapTable(maps["ilax_counters"]) for maps in worlds]
        for row in table.rows:
            tried = zip(programs[row.hook], counted, strict=False)
            problem = next(filter(None, (_problem(row, *one) for one in tried)), None)
            found.append(Result(row.name, row.hook, row.reason, problem))
            tell(found[-1])
    return found


def run(objects: Path | None = None, table: Table | None = None) -> int:
    """Run all rows.

    Args:
        objects, table: as of `results`.

    Returns:
        Rows, all of which passed.

    Raises:
        SelfTestError: names the rows that did not.
    """
    found = results(objects, table)
    failed = [f"{row.name}: {row.problem}" for row in found if row.problem]
    if failed:
        said = f"self test: {len(failed)} of {len(found)} rows failed; nothing was changed"
        raise SelfTestError("\n  ".join([said, *failed]))
    return len(found)


def _world(table: Table, held: ExitStack) -> dict[str, Map]:
    with Object.open(schema.object_path("abi")) as contract:
        for name, rows in _SIZES.items():
            contract.maps[name].set_max_entries(rows)
        contract.load()
        maps = {name: held.enter_context(item.open()) for name, item in contract.maps.items()}
    for name, rows_of_map in table.world.items():
        for key, value in rows_of_map:
            maps[name].update(key, _value(maps[name], value))
    return maps


def _value(target: Map, value: Any) -> bytes:
    if not isinstance(value, dict):
        return int(value).to_bytes(target.value_size, "little")
    import numpy as np

    row: Any = MapTable(target).new()[0]
    for name, content in value.items():
        if isinstance(content, str):
            # Addresses, as they stand on the wire.
            kind = row.dtype[name]
            parts = np.frombuffer(bytes.fromhex(content), kind.base)
            row[name] = parts if kind.shape else parts[0]
        else:
            row[name] = content
    raw: bytes = row.tobytes()
    return raw


def _problem(row: Row, program: Program, counted: MapTable) -> str | None:
    before = _totals(counted)
    if row.hook == places.XDP_INGRESS.name:
        ctx = struct.pack("<6I", 0, len(row.data), 0, 0, 0, 0)
        run = program.test_run(row.data, ctx=ctx)
        front = struct.unpack_from("<I", run.ctx)[0]
        handover, data = run.data[:front], run.data[front:]
    else:
        skb = bytearray(_SKB_BYTES)
        struct.pack_into("<I", skb, _SKB_IFINDEX, _LOOPBACK)
        run = program.test_run(row.data, ctx=bytes(skb))
        handover, data = b"", run.data
    counts = _names(_totals(counted) - before)
    wanted = f"{row.hook} {row.reason}"
    if counts != {wanted: 1}:
        was = ", ".join(f"{name} ({n})" for name, n in counts.items()) or "nothing"
        return f"{was} was counted, not {wanted}"
    if run.retval != _code(row):
        return f"the program returned {run.retval}, not {_code(row)}"
    if row.out is not None and data != row.out:
        return f"the packet afterwards is {data.hex()}, not {row.out.hex()}"
    if row.out is not None and handover != row.handover:
        return f"handed over {handover.hex() or 'nothing'}, not {row.handover.hex() or 'nothing'}"
    return None


def _code(row: Row) -> int:
    verdict = row.reason.partition("_")[0]
    if row.hook == places.CGROUP.name:
        return _CGROUP_CODES[verdict]
    if row.hook != places.XDP_INGRESS.name:
        return _TC_CODES[verdict]
    return _XDP_CODES["pass" if row.reason == "send_meta" else verdict]


def _totals(counted: MapTable) -> NDArray[np.int64]:
    import numpy as np

    totals: NDArray[np.int64] = counted.per_cpu()["packets"].sum(axis=1).astype(np.int64)
    return totals


def _names(change: NDArray[np.int64]) -> dict[str, int]:
    hooks, reasons = counters.hook_names(), counters.reason_names()
    found = {}
    for index in change.nonzero()[0].tolist():
        hook, reason = divmod(index, schema.enum("ilax_reason")["ILAX_REASON_COUNT"])
        name = f"{hooks.get(hook, hook)} {reasons.get(reason, f'reason_{reason}')}"
        found[name] = int(change[index])
    return found
