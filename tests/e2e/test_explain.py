# SPDX-License-Identifier: Apache-2.0
"""`ilax explain`: what it says is what a real packet then gets, and it leaves no trace."""

from __future__ import annotations

import dataclasses
import io
import mmap
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ilax.bpf import Link, Object, Program
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.errors import ConflictError
from ilax.explain import text
from ilax.explain.ask import Question, ask
from ilax.explain.steps import Journey
from ilax.frames import Link as FrameLink
from ilax.frames import pcap
from ilax.frames.record import Record
from ilax.instances.instance import Instance
from ilax.watching.counters import read as read_counters
from lab import operator
from lab.cgroups import Cgroups, own_cgroups
from lab.cleanup import PREFIX
from lab.explain_cases import CASES, WITHOUT_XDP, Case, own_address, peer, wire
from lab.ilax import Ilax
from lab.limits import Meter
from lab.topology import Lab, Plan
from lab.wait import until

SIZES = ("--max-endpoints", "64", "--max-mappings", "1024", "--max-limits", "64")
TO_TASK = CASES["to a task by the stack"]
REFUSED = dataclasses.replace(TO_TASK, outcome="dropped")
SILENCE = 2.5  # seconds; a kernel repeats its reports within one
USAGE, NOT_FOUND, CONFLICT, UNEXPECTED = 2, 3, 4, 10


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Tasks of the first host: by stack, and by XDP with a small MTU; and its own address."""
    with Lab.make(f"{PREFIX}{os.getpid():x}expl", Plan(hosts=2)) as made:
        operator.bring_up(made, operator.Options(extra=SIZES))
        host, second = made.hosts[0], made.hosts[0].containers[1]
        host.ilax("endpoint", "del", second.address)
        host.ilax(
            *("endpoint", "add", second.address, "--netns", second.ns.name),
            *("--delivery", "xdp", "--mtu", "1280"),
        )
        host.ilax("endpoint", "add", str(own_address(made)), "--host")
        with host.ns.entered(), Instance.open(host.ilax.instance) as opened:
            settle(opened)
        yield made


@pytest.fixture
def instance(lab: Lab) -> Iterator[Instance]:
    """Of the first host, whose namespace this thread is in."""
    host = lab.hosts[0]
    with host.ns.entered(), Instance.open(host.ilax.instance) as opened:
        yield opened


@pytest.fixture
def own(lab: Lab) -> Iterator[Cgroups]:
    """A limit on the first task, with a parent; both let everything pass."""
    host = lab.hosts[0]
    with own_cgroups(lab.tag) as made:
        made.make("task")
        for name in (made.name, f"{made.name}/task"):
            host.ilax("limit", "set", name, "--rate", "100gbit")
        host.ilax("endpoint", "set", host.containers[0].address, "--cgroup", f"{made.name}/task")
        try:
            yield made
        finally:
            host.ilax("endpoint", "set", host.containers[0].address, "--cgroup", "none")
            for name in (f"{made.name}/task", made.name):
                host.ilax("limit", "del", name)


# --- traces --------------------------------------------------------------------


def state(instance: Instance) -> dict[str, bytes]:
    """All live maps, bit by bit; of the ring, how far it has been written."""
    found = {}
    for name, opened in instance.maps.items():
        if name == "ilax_events":
            with mmap.mmap(
                opened.fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE
            ) as position:
                found[name] = position[:8]
        elif name in ("ilax_devices", "ilax_attached"):
            found[name] = repr([(k, opened.lookup(k)) for k in opened.keys()]).encode()  # noqa: SIM118
        else:
            keys, values = opened.lookup_batch()
            found[name] = keys.tobytes() + values.tobytes()
    return found


def without_trace(instance: Instance, question: Question) -> Journey:
    """Ask, and compare all live maps; again if a kernel sent something meanwhile.

    The kernels of a lab do neighbour discovery and such by themselves, and where a
    case takes a row away, that counts as whatever comes of it. A trace that asking
    leaves is there each time.
    """
    for _ in range(10):
        before = state(instance)
        journey = ask(instance, question)
        after = state(instance)
        traces = [name for name in before if before[name] != after[name]]
        if not traces:
            return journey
    raise AssertionError(f"asking has changed {traces}")


def settle(instance: Instance) -> None:
    """Wait until the kernels of a new lab have told each other what they must."""
    last = [read_counters(instance)]
    since = [time.monotonic()]

    def silent() -> bool:
        if (now := read_counters(instance)) != last[0]:
            last[0], since[0] = now, time.monotonic()
        return time.monotonic() - since[0] > SILENCE

    until(silent, "silence in the lab", timeout=60)


def counted(instance: Instance) -> Counter[tuple[str, str]]:
    return Counter(
        {
            (c.hook, c.reason): c.packets
            for c in read_counters(instance)
            if c.reason != "pass_link_scope"
        }
    )


def check(lab: Lab, instance: Instance, case: Case, reasons: tuple[str, ...]) -> Journey:
    """Ask, then send the same packet."""
    with case.doctored(lab, instance):
        journey = without_trace(instance, case.question(lab))
        told = [(s.hook or "", s.reason) for s in journey.steps if s.reason is not None]
        assert tuple(reason for _, reason in told) == reasons
        assert journey.outcome == case.outcome, journey.summary
        before = counted(instance)
        case.send(lab)
        until(
            lambda: not Counter(told) - (counted(instance) - before),
            f"packet counted as {told}, but {counted(instance) - before}",
        )
    # What the kernel answers passes other hooks, never the one where it arrived.
    first = told[0][0]
    rose = counted(instance) - before
    assert {key: n for key, n in rose.items() if key[0] == first} == Counter(
        key for key in told if key[0] == first
    )
    return journey


@pytest.mark.parametrize("name", CASES)
def test_a_real_packet_gets_the_same(lab: Lab, instance: Instance, name: str) -> None:
    journey = check(lab, instance, CASES[name], CASES[name].steps)
    assert max(map(len, text.lines(journey, text.translator(instance)))) <= 80


# --- limits ----------------------------------------------------------------------

# A packet takes 4 s of such a limit, of which it can save up 4.2 s: two packets find room.
SLOW = ("--rate", "none", "--pps", "0.25", "--burst", "4.2s", "--small-extra", "0")
BURST_NS, WINDOW = 4_200_000_000, 3.0


def fill_a_little(lab: Lab, instance: Instance) -> None:
    """A packet to the task, of which nobody asks; quicker than `check`."""

    def delivered() -> int:
        return sum(n for (_, reason), n in counted(instance).items() if reason in TO_TASK.steps)

    before = delivered()
    TO_TASK.send(lab)
    until(lambda: delivered() == before + len(TO_TASK.steps), "a packet to the task")


def promptly(lab: Lab, instance: Instance, action: Callable[[], Journey]) -> Journey:
    """Do it with idle limits; again if so much time went by that they gave some back."""
    (leaf, *_) = slots = [one.slot for one in ask(instance, TO_TASK.question(lab)).steps[0].limits]
    assert leaf

    def idle() -> bool:
        ends = [int(instance.backlogs.get(index_key(slot))["until"]) for slot in slots]  # type: ignore[index]
        return max(ends) >> 6 < time.monotonic_ns() - BURST_NS

    while True:
        until(idle, "idle limits", timeout=60)
        started = time.monotonic()
        try:
            journey = action()
        except (AssertionError, TimeoutError):
            if time.monotonic() - started < WINDOW:
                raise
            continue
        if time.monotonic() - started < WINDOW:
            return journey


def test_limits_near_their_threshold(lab: Lab, instance: Instance, own: Cgroups) -> None:
    """Two packets pass, the third does not; asking changes nothing about it."""
    lab.hosts[0].ilax("limit", "set", f"{own.name}/task", *SLOW, "--drop-at", "500ms")

    def three() -> Journey:
        fill_a_little(lab, instance)
        passed = check(lab, instance, TO_TASK, TO_TASK.steps)
        assert passed.steps[0].limits[0].outcome == "passed"
        return check(lab, instance, REFUSED, ("drop_limit",))

    leaf, parent = promptly(lab, instance, three).steps[0].limits
    assert (leaf.outcome, parent.outcome) == ("refused", "not asked")
    assert leaf.packets == 0.25
    assert leaf.backlog_ns > 0


def test_the_parent_refuses(lab: Lab, instance: Instance, own: Cgroups) -> None:
    lab.hosts[0].ilax("limit", "set", own.name, *SLOW, "--drop-at", "0")

    def three() -> Journey:
        fill_a_little(lab, instance)
        check(lab, instance, TO_TASK, TO_TASK.steps)
        return check(lab, instance, REFUSED, ("drop_limit",))

    leaf, parent = promptly(lab, instance, three).steps[0].limits
    assert (leaf.outcome, parent.outcome) == ("refused by a parent", "refused")
    assert (leaf.cgroup, parent.cgroup) == (f"{own.name}/task", own.name)


def test_a_tag_goes_with_the_packet(lab: Lab, instance: Instance, own: Cgroups) -> None:
    tag = ("--action", "tag", "--mark-at", "0", "--tag-mark", "0xa5")
    lab.hosts[0].ilax("limit", "set", f"{own.name}/task", *SLOW, *tag)

    def three() -> Journey:
        fill_a_little(lab, instance)
        second = check(lab, instance, TO_TASK, TO_TASK.steps)
        assert second.steps[1].mark == 0
        return check(lab, instance, TO_TASK, TO_TASK.steps)

    journey = promptly(lab, instance, three)
    assert journey.steps[1].mark == 0xA5
    assert journey.steps[0].limits[0].outcome == "tagged"
    assert Meter(lab.hosts[0], own)("task").tagged_packets > 0


# --- another program than ours ------------------------------------------------------


def test_another_program_is_refused(lab: Lab, instance: Instance) -> None:
    """By its instructions, and by the maps that the same instructions use."""
    question = CASES["of the host"].question(lab)
    pins = instance.pins
    with (
        Link.open_pinned(pins.links / "uplink_egress") as link,
        Program.open_pinned(pins.programs / "ilax_uplink_out") as ours,
        Program.open_pinned(pins.programs / "ilax_uplink_in") as other,
    ):
        try:
            link.update(other)
            with pytest.raises(ConflictError, match="its tag is"):
                ask(instance, question)
            with Object.open(schema.object_path("uplink_egress")) as obj:
                obj.reuse_maps({n: m for n, m in instance.maps.items() if n != "ilax_prefixes"})
                obj.load()
                with obj.programs["ilax_uplink_out"].open() as same_code:
                    assert same_code.tag == ours.tag
                    link.update(same_code)
                    with pytest.raises(ConflictError, match="not ilax_prefixes"):
                        ask(instance, question)
        finally:
            link.update(ours)
    assert ask(instance, question).outcome == "forwarded"


# --- the command ---------------------------------------------------------------------


def test_the_command(lab: Lab, tmp_path: Path) -> None:
    host, task = lab.hosts[0], lab.hosts[0].containers[0]
    told = host.ilax("explain", "--in", task.ns.name, "--dst", peer(lab), "--expect", "forwarded")
    assert max(map(len, told.splitlines())) <= 80
    assert "FORWARDED" in told
    assert "Rewritten and sent to another host." in told
    described = ("--src", peer(lab), "--dst", wire(lab, task.sir), "--proto", "tcp")
    done = host.ilax.try_("explain", "--in", "uplink", *described, "--expect", "drop_limit")
    assert done.returncode == UNEXPECTED
    assert "expected drop_limit: not so" in done.stdout
    found = host.ilax.json("explain", "--in", "uplink", *described)
    assert [step["reason"] for step in found["steps"]] == ["send_meta", "send_handover"]
    assert found["steps"][0]["after"]["dst"] == task.address
    assert found["steps"][0]["rows"]["endpoint"]["sir"] == task.address
    assert found["steps"][0]["ns"] > 0
    few = ("setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon")
    weak = Ilax(host.ns, host.ilax.instance, few)
    assert weak.try_("explain", "--in", "uplink", *described).returncode == 0

    frame = CASES["to nobody"].frame(lab)
    stream = io.BytesIO()
    writer = pcap.Writer(stream, FrameLink.ETHERNET)
    for one in (CASES["to a task by XDP"].frame(lab), frame):
        writer.write(Record(0, len(one), one, FrameLink.ETHERNET))
    file = tmp_path / "two.pcap"
    file.write_bytes(stream.getvalue())
    arguments = ("explain", "--in", "uplink", "--pcap", file, "--packet")
    assert host.ilax.json(*arguments, 2)["steps"][0]["reason"] == "drop_unknown_identifier"
    assert host.ilax.try_(*arguments, 3).returncode == USAGE
    assert host.ilax.try_(*arguments, 2, "--hop-limit", "9").returncode == USAGE
    assert host.ilax.try_("explain", "--in", "nobody", "--dst", peer(lab)).returncode == NOT_FOUND
    assert host.ilax.try_("explain", "--in", "uplink", "--dst", peer(lab)).returncode == USAGE


# --- the last test: XDP is off from here on --------------------------------------------


def test_without_xdp_and_by_clsact(lab: Lab, instance: Instance) -> None:
    host = lab.hosts[0]
    host.ilax(
        *operator.up_arguments(lab, host, operator.Options(xdp="off", tc="clsact", extra=SIZES))
    )
    for name, reasons in WITHOUT_XDP.items():
        journey = check(lab, instance, CASES[name], reasons)
        assert journey.steps[0].notes == ("no program is attached; tc does the whole job",)
        assert journey.steps[1].loaded is not None
        assert journey.steps[1].loaded.attached == "clsact"
