# SPDX-License-Identifier: Apache-2.0
"""A second copy of a loaded program, over a sandbox, that provably is the same code.

The kernel gives a program a tag: a hash over its instructions, in which references
to maps are left out. So equal tags are equal code, and what is left is which map
each reference means: the maps of both are compared one by one, in the order in
which the code first uses them. Constants of a program (`const volatile` knobs) are
a map as well; its content is compared.
"""

from __future__ import annotations

import os
import statistics
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ilax.bpf import Map, Object
from ilax.bpf.handle import Closing
from ilax.contract import schema
from ilax.errors import ConflictError, IlaxError, SystemCallError, UsageError
from ilax.explain.sandbox import WRITTEN
from ilax.watching.counters import hook_names, reason_names

if TYPE_CHECKING:
    from ilax.bpf import Program, TestRun
    from ilax.explain.loaded import Loaded
    from ilax.explain.sandbox import Sandbox
    from ilax.hooks.places import Hook

# Runs whose median is shown.
REPEATS = 31

# struct __sk_buff: its size, and where its fields are.
_SKB_BYTES, _SKB_MARK, _SKB_PRIORITY, _SKB_IFINDEX = 192, 8, 32, 40


@dataclass(frozen=True, slots=True)
class Run:
    """What a program did with a frame.

    Attributes:
        reason: label, as counters have it.
        data: the frame afterwards; of a dropped one as it was then.
        handover: XDP metadata in front of it.
        mark, priority: of the skb afterwards.
        ns: median time of a run, by the kernel's clock.
        runs: how many that is the median of.
    """

    reason: str
    data: bytes
    handover: bytes
    mark: int
    priority: int
    ns: int
    runs: int


class Twin(Closing):
    """Use `Twin.load()`."""

    def __init__(self, place: Hook, program: Program, sandbox: Sandbox) -> None:
        self.place = place
        self._program = program
        self._sandbox = sandbox
        number = next(n for n, name in hook_names().items() if name == place.name)
        self._reasons = schema.enum("ilax_reason")["ILAX_REASON_COUNT"]
        self._first = number * self._reasons

    @classmethod
    def load(cls, place: Hook, loaded: Loaded, sandbox: Sandbox) -> Self:
        """Load the object that this version of ilax ships, and compare.

        Raises:
            ConflictError: the loaded program is another one; nothing was run.
        """
        with Object.open(schema.object_path(place.object)) as obj:
            obj.reuse_maps(sandbox.maps)
            obj.load()
            program = obj.programs[place.program].open()
        try:
            check_same(loaded, program, sandbox)
        except BaseException:
            program.close()
            raise
        return cls(place, program, sandbox)

    def close(self) -> None:
        """Free the program."""
        self._program.close()

    def run(self, data: bytes, repeats: int = REPEATS) -> Run:
        """Run on a frame. Limits are charged in the sandbox, once.

        Args:
            data: from the Ethernet header.
            repeats: runs to take the time of; each one finds what the first found.
        """
        before = self._sandbox.state()
        times = []
        for _ in range(repeats - 1):
            times.append(self._once(data).duration_ns)
            self._sandbox.restore(before)
        self._sandbox.clear_counters(range(self._first, self._first + self._reasons))
        found = self._once(data)
        times.append(found.duration_ns)
        front, mark, priority = 0, 0, 0
        if self.place.is_xdp:
            (front,) = struct.unpack_from("<I", found.ctx)
        else:
            (mark,) = struct.unpack_from("<I", found.ctx, _SKB_MARK)
            (priority,) = struct.unpack_from("<I", found.ctx, _SKB_PRIORITY)
        return Run(
            reason=self._reason(),
            data=found.data[front:],
            handover=found.data[:front],
            mark=mark,
            priority=priority,
            ns=round(statistics.median(times)),
            runs=len(times),
        )

    def _once(self, data: bytes) -> TestRun:
        if self.place.is_xdp:
            # Where the packet begins comes back in the context only if one is given.
            ctx = struct.pack("<6I", 0, len(data), 0, 0, 0, 0)
        else:
            context = bytearray(_SKB_BYTES)
            struct.pack_into("<I", context, _SKB_IFINDEX, self.place.ifindex)
            ctx = bytes(context)
        try:
            return self._program.test_run(data, ctx=ctx)
        except SystemCallError as error:
            raise UsageError(
                f"the kernel takes no frame of {len(data)} bytes for a test run at "
                f"{self.place.name} ({error}); nothing was run",
                hint="it needs whole headers, and many kernels take no more than some 3500 bytes",
            ) from error

    def _reason(self) -> str:
        packets = self._sandbox.counters.per_cpu()["packets"].sum(axis=1)
        mine = packets[self._first : self._first + self._reasons]
        counted = [number for number in range(self._reasons) if mine[number]]
        if len(counted) != 1:
            raise IlaxError(f"program {self._program.name} counted {len(counted)} reasons, not one")
        return reason_names().get(counted[0], f"reason_{counted[0]}")


def check_same(loaded: Loaded, twin: Program, sandbox: Sandbox) -> None:
    """Raise unless a twin is the loaded program, but for the maps of the sandbox.

    Raises:
        ConflictError: says what differs.
    """
    if loaded.tag != twin.tag:
        raise _another(loaded, f"its tag is {loaded.tag}, that of this version is {twin.tag}")
    own = twin.map_ids()
    if len(own) != len(loaded.maps):
        raise _another(loaded, f"it uses {len(loaded.maps)} maps and not {len(own)}")
    names = {item.id: name for name, item in sandbox.maps.items()}
    for theirs, ours in zip(loaded.maps, own, strict=True):
        name = names.get(ours)
        if name is None:
            _compare_constants(loaded, theirs, ours)
        elif theirs != sandbox.live.maps[name].id:
            what = "keeps what it writes" if name in WRITTEN else "reads"
            raise _another(loaded, f"it {what} in map {theirs}, which is not {name} of the pins")


def _compare_constants(loaded: Loaded, theirs: int, ours: int) -> None:
    with Map.by_id(theirs) as one, Map.by_id(ours) as other:
        shape = [(m.type, m.key_size, m.value_size, m.max_entries, m.flags) for m in (one, other)]
        if shape[0] != shape[1] or _content(one) != _content(other):
            raise _another(loaded, f"its constants ({one.name}) are others")


def _content(constants: Map) -> list[bytes | None]:
    return [constants.lookup(key) for key in constants.keys()]  # noqa: SIM118 (no dict)


def _another(loaded: Loaded, why: str) -> ConflictError:
    return ConflictError(
        f"cannot try program {loaded.name} (number {loaded.number}): it is not the one that this "
        f"version of ilax ships: {why}; nothing was run",
        hint="use the version that is loaded, or load this one by `ilax up`",
    )


@contextmanager
def one_cpu() -> Iterator[int]:
    """Stay on one CPU: limits keep part of their state for each. Yields its number."""
    before = os.sched_getaffinity(0)
    cpu = min(before)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, before)
