# SPDX-License-Identifier: Apache-2.0
"""xdp/ingress under the clock of a test: a list of arrivals in, a list of fates out."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapath.fill import endpoint_row, u32
from ilax.bpf import Map, Object, Program, possible_cpus
from ilax.contract import schema
from lab.limits import policed
from model.limit import Rules
from model.tables import Endpoint

_HERE = Path(__file__).resolve().parent
_BUILD = _HERE.parents[1] / "tools" / "build_objects.py"

MOST_PACKETS = 1 << 18
MOST_TARGETS = 64
FEW = 1000  # packets whose fates are read one by one
# Long after the clock's zero, so that "before" exists for every burst.
START = 1_000_000_000_000
TICK = 4_000_000  # ns, of a kernel with HZ=250

ARRIVAL = np.dtype(
    [("time", "<u8"), ("ticks", "<u4"), ("target", "<u4"), ("frame", "<u4"), ("pad", "<u4")]
)
_TO_FIRST = np.frombuffer(np.array([(0, 0, 1, 0, 0)], ARRIVAL).tobytes(), np.uint8)
CURSOR = np.dtype([("time", "<u8"), ("ticks", "<u4"), ("next", "<u4")])
_ROWS = {
    "ilax_endpoints": MOST_TARGETS, "ilax_mappings": 16, "ilax_ports": 16, "ilax_devices": 16,
    "ilax_traffic": 16, "ilax_limits": 4096, "ilax_backlogs": 4096, "ilax_cgroups": 16,
    "timed_arrivals": MOST_PACKETS, "timed_fates": MOST_PACKETS, "timed_targets": MOST_TARGETS,
}  # fmt: skip

Fates = NDArray[np.uint32]


def build(output: Path, *defines: str) -> Path:
    """Compile the object; returns its path."""
    options = [f"--define={name}" for name in defines]
    source = str(_HERE / "timed.bpf.c")
    command = [sys.executable, str(_BUILD), "--output", str(output), *options, source]
    subprocess.run(command, check=True)
    return output / "timed.bpf.o"


def frame_of(length: int) -> bytes:
    """A UDP frame of so many bytes; where it goes to is written at each run."""
    inner = length - 54
    header = b"\x60\0\0\0" + inner.to_bytes(2, "big") + b"\x11\x40"
    source = bytes.fromhex("20010db85a5a00012000000000000099")
    return bytes(12) + b"\x86\xdd" + header + source + bytes(16) + bytes(inner)


class Timed:
    """Use `Timed.loaded()`."""

    def __init__(self, maps: dict[str, Map], programs: dict[str, Program]) -> None:
        self.maps = maps
        self._program = programs["timed_run"]
        self.shipped = programs["ilax_uplink_xdp"]
        self.targets: list[bytes] = []

    @classmethod
    @contextmanager
    def loaded(cls, path: Path) -> Iterator[Timed]:
        """Load it over maps of its own."""
        with ExitStack() as stack:
            with Object.open(path) as file:
                for name, rows in _ROWS.items():
                    file.maps[name].set_max_entries(rows)
                file.load()
                maps = {n: stack.enter_context(m.open()) for n, m in file.maps.items()}
                programs = {n: stack.enter_context(p.open()) for n, p in file.programs.items()}
            yield cls(maps, programs)

    def flood(self, cpus: list[int], frame: int) -> tuple[int, int]:
        """Run the whole list on each of several CPUs at once, each its part of it.

        Returns:
            Packets, and the ns that all of it took.
        """
        each = MOST_PACKETS // possible_cpus()
        self._put("timed_arrivals", np.tile(_TO_FIRST, (MOST_PACKETS, 1)))
        cursor = np.zeros(possible_cpus(), CURSOR)
        cursor["next"] = np.arange(possible_cpus()) * each
        self.maps["timed_cursor"].update(u32(0), cursor.tobytes())
        ready = threading.Barrier(len(cpus) + 1)

        def one(cpu: int) -> None:
            os.sched_setaffinity(0, {cpu})
            ready.wait()
            self._program.test_run(frame_of(frame), repeat=each)

        threads = [threading.Thread(target=one, args=(cpu,)) for cpu in cpus]
        for thread in threads:
            thread.start()
        begin = time.monotonic_ns()
        ready.wait()
        for thread in threads:
            thread.join()
        return each * len(cpus), time.monotonic_ns() - begin

    def use(self, rules: dict[int, Rules], *, chunk: int = 0) -> None:
        """Fresh limits, by slot, each with an endpoint of its own: target = slot."""
        self._forget()
        for slot, row in rules.items():
            self.write(slot, row, chunk=chunk)
            wire = (0x20010DB8004200072000 << 48 | slot << 16 | 1).to_bytes(16, "big")
            endpoint = Endpoint(sir=wire, ifindex=1, limit=slot)
            self.maps["ilax_endpoints"].update(wire, endpoint_row(wire, endpoint))
            self.maps["timed_targets"].update(u32(slot), wire)

    def _forget(self) -> None:
        endpoints = self.maps["ilax_endpoints"]
        for key in list(endpoints.keys()):
            endpoints.delete(key)
        for name in ("ilax_limits", "ilax_backlogs", "ilax_chunks", "ilax_clock", "timed_cursor"):
            emptied = self.maps[name]
            count = emptied.max_entries
            keys = np.arange(count, dtype="<u4").view(np.uint8).reshape(-1, 4)
            emptied.update_batch(keys, np.zeros((count, emptied.value_bytes), np.uint8))

    def write(self, slot: int, rules: Rules, *, chunk: int = 0, generation: int = 1) -> None:
        """What control does, also while packets come."""
        row = np.zeros((), schema.dtype("ilax_limit"))
        for name in ("byte_cost", "packet_cost", "burst", "mark", "drop", "small"):
            row[name] = getattr(rules, name)
        row["action"], row["chunk"], row["generation"] = rules.action, chunk, generation
        row["flags"] = schema.enum("ilax_limit_flag")["ILAX_LIMIT_NESTED"] * rules.nested
        row["parents"][: len(rules.parents)] = rules.parents
        self.maps["ilax_limits"].update(u32(slot), row.tobytes())

    def run(
        self,
        times: NDArray[np.uint64],
        frame: int | NDArray[np.uint32],
        *,
        target: int | NDArray[np.uint32] = 1,
        cpus: NDArray[np.uint32] | None = None,
    ) -> Fates:
        """One frame at each of `times` (ns from START, ascending).

        Args:
            frame: its bytes, one number for all or one each.
            target: slot of whom it is for, one for all or one each.
            cpus: which CPU receives it; None: this one. Runs are cut where it changes.

        Returns:
            A model.limit.Fate for each.
        """
        arrivals = np.zeros(len(times), ARRIVAL)
        arrivals["time"] = times + np.uint64(START)
        arrivals["ticks"] = arrivals["time"] // TICK
        arrivals["target"] = target
        if not isinstance(frame, int):
            arrivals["frame"] = frame
        self._put("timed_arrivals", arrivals.view(np.uint8).reshape(len(times), -1))
        data = frame_of(frame if isinstance(frame, int) else int(frame.max()))
        cuts = [0, len(times)] if cpus is None else _cuts(cpus)
        for begin, end in itertools.pairwise(cuts):
            if cpus is not None:
                os.sched_setaffinity(0, {int(cpus[begin])})
            self._begin_at(begin)
            self._program.test_run(data, repeat=end - begin)
        return self._fates(len(times))

    def _begin_at(self, index: int) -> None:
        cursor = self.maps["timed_cursor"]
        row = np.zeros(
            possible_cpus(), np.dtype([("time", "<u8"), ("ticks", "<u4"), ("next", "<u4")])
        )
        row["next"] = index
        cursor.update(u32(0), row.tobytes())

    def _put(self, name: str, values: NDArray[np.uint8]) -> None:
        keys = np.arange(len(values), dtype="<u4").view(np.uint8).reshape(-1, 4)
        self.maps[name].update_batch(keys, np.ascontiguousarray(values))

    def _fates(self, count: int) -> Fates:
        read = self.maps["timed_fates"]
        if count <= FEW:
            raw = b"".join(read.lookup(u32(index)) or b"" for index in range(count))
            return np.frombuffer(raw, "<u4").astype(np.uint32)
        _, values = read.lookup_batch()
        fates: Fates = values.view("<u4")[:count, 0]
        return fates

    def policed(self, slot: int) -> dict[str, int]:
        """A limit's counters."""
        return policed(self.maps, slot)


def _cuts(cpus: NDArray[np.uint32]) -> list[int]:
    return [0, *(np.flatnonzero(np.diff(cpus)) + 1).tolist(), len(cpus)]
