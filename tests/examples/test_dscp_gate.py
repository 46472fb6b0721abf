# SPDX-License-Identifier: Apache-2.0
"""A third party's stage in front of ilax, from datapath/ headers and without an edit of ours."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import build_objects
from ilax.bpf import Map, Object, Program, RingBuffer
from ilax.bpf.program import TestRun
from ilax.contract import schema
from small_maps import shrink

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dscp_gate"
SIR = ipaddress.IPv6Address("2001:db8:5a5a:1:2000:7:a1b2:c3d4").packed
WIRE = ipaddress.IPv6Address("2001:db8:42:7:3000:7:a1b2:de7").packed
BEST_EFFORT, EXPEDITED = 0, 46
XDP_DROP, XDP_PASS = 1, 2
TC_UNSPEC, TC_SHOT = 0xFFFFFFFF, 2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loads BPF programs: needs root")


def frame(dscp: int, ecn: int = 0) -> bytes:
    """UDP over IPv6 to the wire address, without payload."""
    first = (6 << 28 | dscp << 22 | ecn << 20).to_bytes(4, "big")
    udp = bytes.fromhex("0400 0035 0008 0000")
    return bytes(12) + b"\x86\xdd" + first + b"\x00\x08\x11\x40" + SIR + WIRE + udp


@dataclass
class Gate:
    """A loaded program of the example, and its maps."""

    program: Program
    maps: dict[str, Map]

    def run(self, data: bytes) -> TestRun:
        return self.program.test_run(data)

    def refuse(self, dscp: int) -> None:
        self.maps["dscp_refused"].update(dscp.to_bytes(4, "little"), b"\1\0\0\0")

    def classes(self) -> dict[int, tuple[int, int]]:
        """(packets, bytes) of each DSCP that was seen."""
        table = self.maps["dscp_classes"]
        rows = {dscp: table.lookup(dscp.to_bytes(4, "little")) or b"" for dscp in range(64)}
        sums = {dscp: np.frombuffer(row, "<u8").reshape(-1, 2).sum(0) for dscp, row in rows.items()}
        return {dscp: (int(row[0]), int(row[1])) for dscp, row in sums.items() if row[0]}

    def counted(self, reason: str) -> int:
        """Packets of the hook for third parties with this reason."""
        row = schema.enum("ilax_hook")["ILAX_HOOK_USER"]
        row = row * schema.enum("ilax_reason")["ILAX_REASON_COUNT"]
        row += schema.enum("ilax_reason")[reason]
        raw = self.maps["ilax_counters"].lookup(row.to_bytes(4, "little")) or b""
        return int(np.frombuffer(raw, schema.dtype("ilax_counter"))["packets"].sum())


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("gate")
    build_objects.build(sorted(EXAMPLE.glob("*.bpf.c")), output)
    return output


def load(path: Path, program: str) -> Iterator[Gate]:
    with ExitStack() as stack:
        obj = stack.enter_context(Object.open(path))
        own = {name for name in obj.maps if not name.startswith("ilax_")}
        shrink(obj, 16, keep={"ilax_counters", *own})
        obj.load()
        maps = {name: stack.enter_context(item.open()) for name, item in obj.maps.items()}
        yield Gate(stack.enter_context(obj.programs[program].open()), maps)


@pytest.fixture
def xdp(objects: Path) -> Iterator[Gate]:
    for gate in load(objects / "gate_xdp.bpf.o", "dscp_gate_xdp"):
        row = np.zeros(1, schema.dtype("ilax_endpoint"))
        for field, address in (("wire", WIRE), ("sir", SIR)):
            row[field]["prefix"] = int.from_bytes(address[:8], "big")
            row[field]["identifier"] = int.from_bytes(address[8:], "big")
        row["delivery"] = schema.enum("ilax_delivery")["ILAX_DELIVERY_HOST"]
        gate.maps["ilax_endpoints"].update(WIRE, row.tobytes())
        yield gate


@pytest.fixture
def tc(objects: Path) -> Iterator[Gate]:
    yield from load(objects / "gate_tc.bpf.o", "dscp_gate_tc")


def test_other_classes_go_on_to_ilax(xdp: Gate) -> None:
    xdp.refuse(EXPEDITED)
    result = xdp.run(frame(BEST_EFFORT, ecn=1))
    assert result.retval == XDP_PASS
    # In front of it: the note for tc that the rest is the stack's.
    magic = schema.enum("ilax_version")["ILAX_ABI_MAGIC"]
    note = magic.to_bytes(4, "little") + bytes(4)
    assert result.data == note + frame(BEST_EFFORT, ecn=1).replace(WIRE, SIR)
    assert xdp.counted("ILAX_PASS_HOST") == 1
    assert xdp.classes() == {BEST_EFFORT: (1, 62)}


def test_refused_class_is_dropped_counted_and_sampled(xdp: Gate) -> None:
    xdp.refuse(EXPEDITED)
    events: list[bytes] = []
    with RingBuffer(xdp.maps["ilax_events"], events.append) as ring:
        result = xdp.run(frame(EXPEDITED))
        ring.poll()
    assert result.retval == XDP_DROP
    assert result.data == frame(EXPEDITED)
    assert xdp.counted("ILAX_DROP_USER") == 1
    assert xdp.classes() == {EXPEDITED: (1, 62)}
    (event,) = np.frombuffer(events[0], schema.dtype("ilax_event"))
    assert event["reason"] == schema.enum("ilax_reason")["ILAX_DROP_USER"]
    assert event["hook"] == schema.enum("ilax_hook")["ILAX_HOOK_USER"]
    assert bytes(event["data"][: event["captured"]]) == frame(EXPEDITED)


def test_what_ilax_drops_itself_is_dropped_behind_the_gate(xdp: Gate) -> None:
    prefix = np.zeros(1, schema.dtype("ilax_prefix"))
    prefix["prefix"] = int.from_bytes(WIRE[:8], "big")
    prefix["mask"] = 2**64 - 1
    prefix["kind"] = schema.enum("ilax_prefix_kind")["ILAX_PREFIX_LOCATOR"]
    xdp.maps["ilax_prefixes"].update(bytes(4), prefix.tobytes())
    stranger = frame(BEST_EFFORT).replace(WIRE, WIRE[:-1] + b"\xff")
    assert xdp.run(stranger).retval == XDP_DROP
    assert xdp.counted("ILAX_DROP_UNKNOWN_IDENTIFIER") == 1


@pytest.mark.parametrize(
    "data", [bytes(14), bytes(12) + b"\x08\x00" + bytes(40)], ids=["no type", "IPv4"]
)
def test_what_is_not_ipv6_has_no_class(xdp: Gate, data: bytes) -> None:
    xdp.refuse(BEST_EFFORT)
    result = xdp.run(data)
    assert result.retval == XDP_PASS
    assert result.data == data
    assert xdp.classes() == {}


def test_tc_drops_its_classes_and_leaves_the_rest_to_the_next_program(tc: Gate) -> None:
    tc.refuse(EXPEDITED)
    assert tc.run(frame(EXPEDITED)).retval == TC_SHOT
    passed = tc.run(frame(BEST_EFFORT))
    assert passed.retval == TC_UNSPEC
    assert passed.data == frame(BEST_EFFORT)
    assert tc.counted("ILAX_DROP_USER") == 1
    assert tc.counted("ILAX_PASS_NOT_OURS") == 0
    assert tc.classes() == {BEST_EFFORT: (1, 62), EXPEDITED: (1, 62)}
