# SPDX-License-Identifier: Apache-2.0
"""Through real devices: handover, tags, super-packets, distant bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from datapath import packets as p
from datapath import plan
from datapath.live import FABRIC, GATEWAY, TASK1, TASK2, Caught, Live
from datapath.plan import CBIT, PLAN
from datapath.world import World
from model import Hook

BY_TC = [(Hook.UPLINK_IN, "SEND_PEER")]
BY_BOTH = [(Hook.XDP, "SEND_META"), (Hook.UPLINK_IN, "SEND_HANDOVER")]
TAGS = {
    "no tag": (),
    "one tag": (0x81000005,),
    "two tags": (0x88A80005, 0x81000006),
}
NEAR_WIRE, NEAR = CBIT.here(plan.STACK_TASK), CBIT.name(plan.STACK_TASK)
ANY_WIRE, ANY = CBIT.here(plan.ANY_MTU_TASK), CBIT.name(plan.ANY_MTU_TASK)
FAR_WIRE, FAR = CBIT.there(plan.FAR_TASK), CBIT.name(plan.FAR_TASK)
each_xdp = pytest.mark.parametrize("xdp", ["off", "native", "foreign", "foreign generic"])
MARKER = b"-marker-"
TCP_BEHIND_IPV6 = 14 + 40


@pytest.fixture(scope="module")
def live(shim_objects: Path) -> Iterator[Live]:
    """A World of its own: its devices go with the namespaces of their far ends."""
    with World(shim_objects) as world, world.inside(), Live(world) as live:
        world.use(replace(PLAN, config=replace(PLAN.config, gateway=GATEWAY)))
        yield live


def _pass(live: Live, source: int, target: int, data: bytes, **how: int) -> Caught:
    live.wires[source].send(data, **how)
    return live.wires[target].receive(MARKER)


def _counted(live: Live) -> list[tuple[int, str]]:
    """What we sent or dropped since the last call; the rest is noise of the kernel."""
    return [key for key in live.world.counted() if not key[1].startswith("PASS")]


@each_xdp
@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS.keys())
def test_stack_delivery(live: Live, xdp: str, tags: tuple[int, ...]) -> None:
    """XDP hands over to tc by metadata; without XDP, tc does all of it."""
    with live.attached(xdp):
        _counted(live)
        build = p.tcp(MARKER)
        frame = _pass(live, FABRIC, TASK1, p.ether(build(NEAR_WIRE, 64), tags=tags))
        assert frame == Caught(p.ether(build(NEAR, 63)), None, 0)
        assert _counted(live) == (BY_BOTH if xdp == "native" else BY_TC)


@each_xdp
@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS.keys())
def test_xdp_delivery(live: Live, xdp: str, tags: tuple[int, ...]) -> None:
    """By XDP where the hook is ours; by tc where it is not."""
    wire, sir = CBIT.here(plan.XDP_TASK), CBIT.name(plan.XDP_TASK)
    with live.attached(xdp):
        _counted(live)
        build = p.udp(MARKER)
        frame = _pass(live, FABRIC, TASK2, p.ether(build(wire, 64), tags=tags))
        assert frame.data[14:] == build(sir, 63)
        assert frame.tag is None
        if xdp == "native":
            assert frame.data[:12] == plan.mac(TASK2, 1) + plan.mac(TASK2)
            assert _counted(live) == [(Hook.XDP, "SEND_XDP")]
        else:
            assert _counted(live) == BY_TC


@each_xdp
def test_a_packet_socket_on_the_uplink_changes_nothing(live: Live, xdp: str) -> None:
    """The kernel copies frames of two owners before a program that writes to them."""
    with live.attached(xdp), live.watched():
        _counted(live)
        build = p.tcp(MARKER)
        frame = _pass(live, FABRIC, TASK1, p.ether(build(NEAR_WIRE, 64)))
        assert frame == Caught(p.ether(build(NEAR, 63)), None, 0)
        assert _counted(live) == (BY_BOTH if xdp == "native" else BY_TC)


@pytest.mark.parametrize("xdp", ["off", "native", "foreign"])
@pytest.mark.parametrize("watched", [False, True], ids=["", "watched"])
@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS.keys())
def test_a_tag_beside_the_frame_is_gone_as_well(
    live: Live, xdp: str, tags: tuple[int, ...], watched: bool
) -> None:
    with live.attached(xdp), live.tagging(), live.watched() if watched else nullcontext():
        _counted(live)
        build = p.tcp(MARKER)
        frame = _pass(live, FABRIC, TASK1, p.ether(build(NEAR_WIRE, 64), tags=tags))
        assert frame == Caught(p.ether(build(NEAR, 63)), None, 0)
        assert _counted(live) == (BY_BOTH if xdp == "native" else BY_TC)


@each_xdp
def test_an_error_is_translated_wherever_it_is_delivered(live: Live, xdp: str) -> None:
    with live.attached(xdp):
        build, after = p.error(_quoted(FAR_WIRE)), p.error(_quoted(FAR))
        frame = _pass(live, FABRIC, TASK1, p.ether(build(NEAR_WIRE, 64)))
        assert frame.data == p.ether(after(NEAR, 63))


def _quoted(dst: bytes) -> bytes:
    return p.udp(MARKER, src=p.TASK)(dst, 3)


def test_container_to_fabric(live: Live) -> None:
    with live.attached("native"):
        _counted(live)
        build = p.tcp(MARKER, src=p.TASK)
        frame = _pass(live, TASK1, FABRIC, p.ether(build(FAR, 64), TASK1))
        ethernet = plan.mac(FABRIC, 1) + plan.mac(FABRIC) + b"\x86\xdd"
        assert frame.data == ethernet + build(FAR_WIRE, 63)
        # It passes the uplink's egress hook once more, as a wire address.
        assert _counted(live) == [(Hook.CONTAINER, "SEND_FORWARD")]


# tc takes two tags out of the frame and one that the kernel holds beside it.
@pytest.mark.parametrize("tags", [*TAGS.values(), (0x81000005,) * 3])
def test_container_to_container(live: Live, tags: tuple[int, ...]) -> None:
    with live.attached():
        _counted(live)
        build = p.tcp(MARKER, src=p.TASK)
        dst = CBIT.name(plan.XDP_TASK)
        frame = _pass(live, TASK1, TASK2, p.ether(build(dst, 64), TASK1, tags))
        assert frame == Caught(p.ether(build(dst, 63), TASK1), None, 0)
        assert _counted(live) == [(Hook.CONTAINER, "SEND_LOCAL")]


# --- the type of a frame that has lost its Ethernet header ---


@each_xdp
def test_a_source_that_looks_like_the_type_is_a_source(live: Live, xdp: str) -> None:
    with live.attached(xdp):
        _counted(live)
        build = p.tcp(MARKER, src=p.LIKE_ETHERNET)
        frame = _pass(live, FABRIC, TASK1, p.ether(build(NEAR_WIRE, 64)))
        assert frame == Caught(p.ether(build(NEAR, 63)), None, 0)
        assert _counted(live) == (BY_BOTH if xdp == "native" else BY_TC)


@each_xdp
def test_such_a_source_is_no_way_around_a_limit(live: Live, xdp: str) -> None:
    with live.attached(xdp):
        build = p.tcp(src=p.LIKE_ETHERNET)
        live.world.counted()
        live.wires[FABRIC].send(p.ether(build(CBIT.here(plan.OVER_TASK), 64)))
        live.wait_for(Hook.XDP if xdp == "native" else Hook.UPLINK_IN, "DROP_LIMIT")


@each_xdp
def test_such_a_source_hides_no_other_destination(live: Live, xdp: str) -> None:
    """Fourteen bytes later it is a header with the wire address of a task."""
    build = p.tcp(MARKER)
    with live.attached(xdp):
        _counted(live)
        live.wires[FABRIC].send(p.ether(p.two_headers(NEAR_WIRE)))
        frame = _pass(live, FABRIC, TASK1, p.ether(build(NEAR_WIRE, 64)))
        assert frame == Caught(p.ether(build(NEAR, 63)), None, 0)
        assert _counted(live) == (BY_BOTH if xdp == "native" else BY_TC)


# --- super-packets ---


def _super(length: int) -> p.Builder:
    return p.tcp(MARKER + b"x" * (length - 60 - len(MARKER)), src=p.TASK)


# The longest frame that devices take as one by default is 65535 bytes.
@pytest.mark.parametrize("length", [1501, 20_000, 65_535 - 14])
def test_a_super_packet_stays_whole(live: Live, length: int) -> None:
    """What counts are its segments: 1440 bytes and headers fit 1500."""
    build = _super(length)
    with live.attached():
        for source, target, dst, after in (
            (FABRIC, TASK1, NEAR_WIRE, NEAR),
            (TASK1, FABRIC, FAR, FAR_WIRE),
            (TASK1, TASK2, CBIT.name(plan.XDP_TASK), CBIT.name(plan.XDP_TASK)),
        ):
            data = p.ether(build(dst, 64), source)
            frame = _pass(live, source, target, data, gso_size=1440, transport=TCP_BEHIND_IPV6)
            assert frame.data[14:] == build(after, 63)
            assert frame.gso_size == 1440


def _send_too_big_segments(live: Live) -> None:
    """By one byte, for 1500; both ways."""
    for source, dst, hook in (
        (FABRIC, NEAR_WIRE, Hook.UPLINK_IN),
        (TASK1, FAR, Hook.CONTAINER),
    ):
        live.world.counted()
        data = p.ether(_super(20_000)(dst, 64), source)
        live.wires[source].send(data, gso_size=1441, transport=TCP_BEHIND_IPV6)
        live.wait_for(hook, "PASS_TOO_BIG")


def test_a_super_packet_of_big_segments_is_too_big(live: Live) -> None:
    """With segments above the next MTU only the stack can say so to the sender."""
    with live.attached():
        _send_too_big_segments(live)


def test_segments_are_held_to_the_configured_mtu(live: Live) -> None:
    """Also where the device would take more."""
    with live.attached(), live.sized(9000):
        _send_too_big_segments(live)


@pytest.mark.parametrize("jumbo_option", [True, False])
def test_a_super_packet_beyond_64_kib(live: Live, jumbo_option: bool) -> None:
    """BIG TCP, with a jumbo option or without; some kernels take it off on the way."""
    length = 150_000
    payload = MARKER + b"x" * (length - len(MARKER))
    transport = TCP_BEHIND_IPV6 + 8 * jumbo_option
    build = p.huge(payload, jumbo_option=jumbo_option, src=p.TASK)
    builds = [build, p.huge(payload, jumbo_option=False, src=p.TASK)]
    with live.attached(), live.sized(plan.MTU, gso_max_size=200_000):
        for source, target, dst, after, key in (
            (FABRIC, TASK1, NEAR_WIRE, NEAR, (Hook.UPLINK_IN, "SEND_PEER")),
            (TASK1, FABRIC, FAR, FAR_WIRE, (Hook.CONTAINER, "SEND_FORWARD")),
        ):
            live.world.counted()
            data = p.ether(build(dst, 64), source)
            frame = _pass(live, source, target, data, gso_size=1400, transport=transport)
            assert frame.data[14:] in {made(after, 63) for made in builds}
            assert frame.gso_size == 1400
            assert live.world.counted()[key] == (1, len(frame.data))


# --- bytes out of reach ---


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS.keys())
@pytest.mark.parametrize("linear", [14, 20, 53, 54, 60, 100])
def test_headers_in_pages_are_pulled(live: Live, linear: int, tags: tuple[int, ...]) -> None:
    """A jumbo frame of which tc sees only the first bytes without help."""
    build = p.tcp(MARKER + b"x" * 8000, src=p.TASK)
    with live.attached(), live.sized(9000):
        frame = _pass(live, FABRIC, TASK1, p.ether(build(ANY_WIRE, 64), tags=tags), linear=linear)
        assert frame == Caught(p.ether(build(ANY, 63)), None, 0)
        frame = _pass(live, TASK1, TASK1, p.ether(build(ANY, 64), TASK1, tags), linear=linear)
        assert frame == Caught(p.ether(build(ANY, 63), TASK1), None, 0)


@each_xdp
@pytest.mark.parametrize("linear", [14, 54, 100])
def test_an_error_in_pages_is_translated(live: Live, xdp: str, linear: int) -> None:
    headers = [p.destination_options()] * 6
    inner = p.tcp(MARKER + b"x" * 6000, src=p.TASK)
    build, after = (p.error(inner(dst, 9), 2, *headers) for dst in (FAR_WIRE, FAR))
    with live.attached(xdp), live.sized(9000):
        frame = _pass(live, FABRIC, TASK1, p.ether(build(ANY_WIRE, 64)), linear=linear)
        assert frame.data == p.ether(after(ANY, 63))
