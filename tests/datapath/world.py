# SPDX-License-Identifier: Apache-2.0
"""The shipped programs, loaded over fresh unpinned maps, and one packet at a time.

A World lives in a network namespace of its own, whose devices have the numbers
of `plan`. Nothing is attached: packets come and go by test run.
"""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyroute2 import IPRoute, netns

from datapath import plan
from datapath.fill import fill, u32
from ilax.bpf import Map, Object, Program, RingBuffer, possible_cpus
from ilax.contract import schema
from model import Frame, Hook, Tables

OBJECTS = {
    Hook.XDP: "ingress",
    Hook.UPLINK_IN: "uplink_ingress",
    Hook.UPLINK_OUT: "uplink_egress",
    Hook.CONTAINER: "container",
}
ROWS = {"ilax_endpoints": 1024, "ilax_mappings": 1024, "ilax_ports": 64, "ilax_traffic": 1025,
        "ilax_devices": 64, "ilax_limits": 64, "ilax_backlogs": 64}  # fmt: skip
XDP_ACTIONS = {"pass": 2, "drop": 1}
XDP_REDIRECT = 4
# tc programs leave packets to the next one (-1) rather than accept them.
TC_ACTIONS = {"pass": 0xFFFFFFFF, "drop": 2, "send": 7}
# In struct __sk_buff.
_SKB_MARK, _SKB_PRIORITY = 8, 32
# In gso_size: pieces of any length, as SCTP has them.
GSO_BY_FRAGS = 0xFFFF
# A test run refuses shorter skbs whose headers are not whole; the shim cuts.
TC_SHORTEST = 64
SOURCES = Path(__file__).resolve().parent
BUILD = SOURCES.parents[1] / "tools" / "build_objects.py"


_worlds = itertools.count()

# Rows of ilax_counters and of ilax_traffic, CPUs added up.
State = tuple[NDArray[np.uint64], NDArray[np.uint64]]
# (enum ilax_hook, reason) -> (packets, bytes)
Counted = dict[tuple[int, str], tuple[int, int]]


def verdict_code(hook: Hook, reason: str) -> int:
    """What the program must return for a reason."""
    verdict = reason.partition("_")[0].lower()
    if hook is not Hook.XDP:
        return TC_ACTIONS[verdict]
    if verdict == "send":
        return XDP_ACTIONS["pass"] if reason == "SEND_META" else XDP_REDIRECT
    return XDP_ACTIONS[verdict]


@dataclass(frozen=True)
class Packet:
    """A frame and what comes with it.

    Attributes:
        ifindex: the device; XDP runs on loopback always.
        tag: VLAN tag that the device keeps beside the frame, as type << 16 | tag.
        linear: bytes of the linear part (XDP only).
        metadata: bytes that another program put in front (XDP only).
    """

    data: bytes
    ifindex: int = plan.UPLINK
    tag: int = 0
    linear: int | None = None
    metadata: bytes = b""
    gso_size: int = 0
    gso_segs: int = 2

    def frame(self, hook: Hook) -> Frame:
        """The same for the model."""
        ifindex = plan.LOOPBACK if hook is Hook.XDP else self.ifindex
        return Frame(
            self.data,
            ifindex=ifindex,
            for_us=hook is Hook.XDP or self.data[:6] == plan.mac(ifindex) or bool(self.data[0] & 1),
            tagged=bool(self.tag),
            linear=self.linear,
        )


@dataclass(frozen=True)
class Result:
    """What the datapath did.

    Attributes:
        code: the program's return value.
        data: the frame afterwards.
        handover: metadata in front of it, without what was there before.
        counted: the counters that rose, and by how much.
        traffic: slot -> names of fields that rose.
        tag: skb->mark and skb->priority afterwards.
    """

    code: int
    data: bytes
    handover: bytes
    counted: Counted
    traffic: dict[int, set[str]]
    tag: tuple[int, int]


class World:
    """Use as a context manager; enter the namespace with `inside()`."""

    def __init__(self, objects: Path) -> None:
        self.namespace = f"ilaxt{os.getpid()}-{next(_worlds)}"
        self._objects = objects
        self.maps: dict[str, Map] = {}
        self.programs: dict[Hook, Program] = {}
        self._tables: Tables | None = None
        self._numbers: State | None = None
        self.events: list[np.void] = []
        self._reasons = {
            number: name.removeprefix("ILAX_")
            for name, number in schema.enum("ilax_reason").items()
        }

    def __enter__(self) -> World:
        netns.create(self.namespace)
        try:
            self._make_devices()
            with self.inside():
                self._load()
        except BaseException:
            netns.remove(self.namespace)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        for handle in (
            *self.programs.values(),
            *self.maps.values(),
            self.foreign,
            self.push,
            self.shim,
            self._targets,
        ):
            handle.close()
        netns.remove(self.namespace)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Run in the world's namespace: device numbers mean its devices."""
        netns.pushns(self.namespace)
        try:
            yield
        finally:
            netns.popns()

    def _make_devices(self) -> None:
        with IPRoute(netns=self.namespace) as route:
            route.link("set", index=plan.LOOPBACK, state="up")
            for index in (plan.UPLINK, plan.TASK1, plan.TASK2, plan.TASK3, plan.STRANGER):
                peer = {"ifname": f"p{index}", "address": _text(plan.mac(index, 1))}
                route.link(
                    "add", ifname=f"d{index}", index=index, kind="veth", peer=peer,
                    address=_text(plan.mac(index)), mtu=plan.MTU,
                )  # fmt: skip

    def _load(self) -> None:
        with Object.open(schema.object_path("abi")) as contract:
            for name, rows in ROWS.items():
                contract.maps[name].set_max_entries(rows)
            contract.load()
            self.maps = {name: item.open() for name, item in contract.maps.items()}
        for hook, name in OBJECTS.items():
            with Object.open(schema.object_path(name)) as file:
                file.reuse_maps(self.maps)
                file.load()
                (program,) = file.programs.values()
                self.programs[hook] = program.open()
        with Object.open(self._objects / "shim.bpf.o") as shim:
            shim.load()
            self.shim = shim.programs["shim"].open()
            self.foreign = shim.programs["foreign"].open()
            self.push = shim.programs["push"].open()
            self._targets = shim.maps["shim_targets"].open()
        for hook, item in self.programs.items():
            if hook is not Hook.XDP:
                self._targets.update(u32(hook), u32(item.fd))
        self._ring = RingBuffer(self.maps["ilax_events"], self._on_event)

    def _on_event(self, raw: bytes) -> None:
        self.events.append(np.frombuffer(raw, schema.dtype("ilax_event"))[0])

    def use(self, tables: Tables) -> None:
        """Write the model's tables into the maps, unless they are there."""
        if tables is not self._tables:
            fill(self.maps, tables)
            self._tables = tables

    # --- packets ---

    def run(self, hook: Hook, packet: Packet) -> Result:
        """One packet through one program."""
        before = self._numbers or self._read()
        code, data, handover, tag = self._run(hook, packet)
        after = self._numbers = self._read()
        traffic: dict[int, set[str]] = {}
        names = schema.dtype("ilax_traffic").names or ()
        for slot, field in np.argwhere(after[1] != before[1]):
            traffic.setdefault(int(slot), set()).add(names[field])
        return Result(code, data, handover, self._counted(before, after), traffic, tag)

    def counted(self) -> Counted:
        """What was counted since the last look."""
        before = self._numbers
        after = self._numbers = self._read()
        return self._counted(before, after) if before else {}

    def _counted(self, before: State, after: State) -> Counted:
        change = after[0] - before[0]
        counted = {}
        for index in np.flatnonzero(change[:, 0]):
            number, reason = divmod(int(index), schema.enum("ilax_reason")["ILAX_REASON_COUNT"])
            packets, length = map(int, change[index, :2])
            counted[number, self._reasons.get(reason, str(reason))] = packets, length
        return counted

    def _run(self, hook: Hook, packet: Packet) -> tuple[int, bytes, bytes, tuple[int, int]]:
        program, data = self.programs[hook], packet.data
        if hook is Hook.XDP:
            front = len(packet.metadata)
            end = front + (len(packet.data) if packet.linear is None else packet.linear)
            ctx = struct.pack("<6I", front, end, 0, 0, 0, 0)
            run = program.test_run(packet.metadata + packet.data, ctx=ctx)
            front = struct.unpack_from("<I", run.ctx)[0]
            handover = run.data[: front - len(packet.metadata)]
            return run.retval, run.data[front:], handover, (0, 0)
        cb = (0, 0, 0)
        if len(data) < TC_SHORTEST or packet.tag:
            program = self.shim
            cb = (int(hook), len(data), packet.tag)
            data = data.ljust(TC_SHORTEST, b"\0")
        context = skb_context(packet.ifindex, cb, packet.gso_size, packet.gso_segs)
        run = program.test_run(data, ctx=context)
        tag = (struct.unpack_from("<I", run.ctx, at)[0] for at in (_SKB_MARK, _SKB_PRIORITY))
        return run.retval, run.data, b"", (next(tag), next(tag))

    def _read(self) -> State:
        _, counters = self.maps["ilax_counters"].lookup_batch()
        table = self.maps["ilax_traffic"]
        slots = range(max(plan.SLOTS.values()) + 1)
        traffic = np.frombuffer(b"".join(table.lookup(u32(slot)) or b"" for slot in slots), "<u8")
        return (
            counters.view("<u8").reshape(len(counters), possible_cpus(), -1).sum(axis=1),
            traffic.reshape(len(slots), possible_cpus(), -1).sum(axis=1),
        )

    def expect_event(self, hook: Hook, reason: str) -> None:
        """Make the next drop for this reason a sampled one."""
        number = schema.enum("ilax_reason")[f"ILAX_{reason}"]
        index = int(hook) * schema.enum("ilax_reason")["ILAX_REASON_COUNT"] + number
        counters = self.maps["ilax_counters"]
        counters.update(u32(index), bytes(counters.value_bytes))
        self._numbers = None
        self.drain()

    def flood(self, hook: Hook, data: bytes, repeat: int) -> int:
        """The same frame many times, without looking; the last return value."""
        self._numbers = None
        ctx = None if hook is Hook.XDP else skb_context(plan.UPLINK, (), 0)
        return self.programs[hook].test_run(data, repeat=repeat, ctx=ctx).retval

    def drain(self) -> list[np.void]:
        """Events since the last call."""
        self._ring.poll(0)
        events, self.events = self.events, []
        return events


def build_shim(output: Path) -> None:
    """Compile the helper programs of the tests."""
    sources = [str(SOURCES / "shim.bpf.c")]
    subprocess.run([sys.executable, str(BUILD), "--output", str(output), *sources], check=True)


def _text(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)


def skb_context(ifindex: int, cb: tuple[int, ...], gso_size: int, gso_segs: int = 2) -> bytes:
    """struct __sk_buff; the kernel takes these fields only."""
    context = bytearray(192)
    struct.pack_into("<I", context, 40, ifindex)
    struct.pack_into(f"<{len(cb)}I", context, 48, *cb)
    struct.pack_into("<I", context, 164, gso_segs if gso_size else 0)
    struct.pack_into("<I", context, 176, gso_size)
    return bytes(context)
