# SPDX-License-Identifier: Apache-2.0
"""An instance in a slot of a foreign array changes: what fails is undone, the slot too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from e2e.test_major_upgrade import migrate
from e2e.test_upgrade import AT_ONCE, running
from e2e.test_xdp_chain import SMALL, own_program, up_arguments
from ilax.bpf import Program
from ilax.errors import SystemCallError
from ilax.hooks import xdp_slot
from ilax.hooks.places import XDP_INGRESS
from ilax.hooks.xdp_slot import Slot
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.instances.transaction import Transaction
from ilax.upgrades import major_migration
from ilax.upgrades.major_migration import OlderMajor
from lab import objects, operator, probes
from lab.contract_0 import CONVERTER, turn_back
from lab.faults import kill_at, steps
from lab.findings import check
from lab.topology import UPLINK, Host, Lab
from lab.traces import Traces, network_state
from lab.udp import NumberedStream, assert_unharmed, still_flowing
from lab.wait import until
from lab.xdp_root import SLOT, XdpRoot

USAGE, CONFLICT, LAYOUT, GUARD, SELF_TEST = 2, 4, 6, 10, 11

KINDS = pytest.mark.parametrize("linear", [False, True], ids=["frags", "linear"])


def remembered(host: Host) -> set[str]:
    """What an instance has pinned of slots."""
    return {pin.name for pin in (host.ilax.pins / "v1/slots").glob("*")}


def in_slot(host: Host, root: XdpRoot, slot: int = SLOT) -> int:
    """Number of our program in a slot, which is that of the current set, and nowhere else."""
    number = own_program(host)
    wanted = [root.neighbour.id, 0, 0, 0]
    wanted[slot] = number
    assert root.slots() == wanted
    assert remembered(host) == {f"array_{root.array.id}_{slot}", f"program_{number}"}
    return number


def tag_of(number: int) -> str:
    with Program.by_id(number) as program:
        return program.tag


@KINDS
def test_an_up_that_fails(bare: Lab, tmp_path: Path, linear: bool) -> None:
    """Its slot was filled already when it finds a foreign route in its way."""
    host = bare.hosts[0]
    own, other = bare.plan.sir_prefix, "2001:db8:5a5a:99::/64"
    with XdpRoot(host.ns, UPLINK, tmp_path, linear=linear) as root:
        chain = [("--xdp-chain", f"{root.pin}:{slot}") for slot in range(4)]
        empty = root.slots()

        def fails(prefix: object, *arguments: object) -> None:
            host.ns.ip("-6", "route", "add", "unreachable", str(prefix), "dev", "lo")
            before = root.slots(), network_state(host.ns), remembered(host)
            done = host.ilax.try_(*up_arguments(bare, host, *arguments))
            assert (done.returncode, "exists already" in done.stderr) == (CONFLICT, True), done
            assert "going back was not complete" not in done.stderr
            assert (root.slots(), network_state(host.ns), remembered(host)) == before
            host.ns.ip("-6", "route", "del", "unreachable", str(prefix), "dev", "lo")

        fails(own, *chain[SLOT])
        assert not host.ilax.pins.exists()
        # Up, and in no slot.
        host.ilax(*operator.up_arguments(bare, host, operator.Options(xdp="off", extra=SMALL)))
        fails(other, "--sir-prefix", other, *chain[SLOT])
        assert root.slots() == empty
        assert not (host.ilax.pins / "v1/slots").exists()
        # In the same slot, in another one, out of all.
        host.ilax(*up_arguments(bare, host, *chain[SLOT]))
        then = in_slot(host, root), host.ilax.programs(), running(host)
        for arguments in ((), chain[SLOT], chain[SLOT + 1], ("--xdp", "off")):
            fails(other, "--sir-prefix", other, *arguments)
            assert (in_slot(host, root), host.ilax.programs(), running(host)) == then
        host.ilax("down")
        assert root.slots() == empty


def test_a_second_slot_is_named_and_left(bare: Lab, tmp_path: Path) -> None:
    host = bare.hosts[0]
    with XdpRoot(host.ns, UPLINK, tmp_path) as root:
        host.ilax(*up_arguments(bare, host, "--xdp-chain", f"{root.pin}:{SLOT}"))
        pins = PinFolder(host.ilax.instance)
        with (
            Slot.open(xdp_slot.parse(f"{root.pin}:{SLOT + 1}")) as slot,
            Program.open_pinned(pins.programs / XDP_INGRESS.program) as program,
        ):
            # What it ends with is not done: a kill on the way from slot to slot.
            xdp_slot.attach(pins, slot, program, Transaction())
        assert root.slots()[SLOT] == root.slots()[SLOT + 1] == program.id
        found = check(host.ilax)
        assert "hook.slot-beside" in found.ids
        assert [one["id"] for one in check(host.ilax, "--fix").mended] == ["hook.slot-beside"]
        assert check(host.ilax).ids == set()
        assert [number for number in root.slots() if number][1:] == [own_program(host)]


@KINDS
def test_upgrade_and_rollback(bare: Lab, tmp_path: Path, linear: bool) -> None:
    near, _, far, _ = bare.containers
    host = near.host
    kinds = ("ingress", "ingress_linear")
    with XdpRoot(host.ns, UPLINK, tmp_path, linear=linear) as root:
        host.ilax(*up_arguments(bare, host, "--xdp-chain", f"{root.pin}:{SLOT}"))
        operator.bring_up(bare, operator.Options(xdp="auto", extra=SMALL))
        with (
            NumberedStream(near.ns, far.ns, far.address, rate=500, size=200, port=7001) as to,
            NumberedStream(far.ns, near.ns, near.address, rate=500, size=200, port=7002) as back,
        ):
            first = in_slot(host, root)
            tag = tag_of(first)
            answer = host.ilax.json(*AT_ONCE)
            assert answer["hooks"] == len(running(host)) + 1 == 5
            second = in_slot(host, root)
            assert tag_of(second) == tag
            other = objects.build_xdp(tmp_path / "other", objects.DOES_NOTHING_MORE, kinds)
            host.ilax(*AT_ONCE, "--objects", other)
            third = in_slot(host, root)
            assert tag_of(third) != tag
            probes.must_ping(far.ns, near.address)
            for expected in (second, third, second):
                host.ilax("rollback")
                assert in_slot(host, root) == expected
            assert check(host.ilax).findings == []
            still_flowing(to, back)

            # The other kind's object alone would leave XDP as it is; this one's is tried.
            mine, not_mine = reversed(kinds) if linear else kinds
            before = in_slot(host, root), host.ilax.programs(), host.ilax.programs("previous")
            idle = objects.build_xdp(tmp_path / "idle", objects.DOES_NOTHING, (mine,))
            done = host.ilax.try_(*AT_ONCE, "--objects", idle)
            assert done.returncode == SELF_TEST, done
            more = objects.DOES_NOTHING_MORE
            strange = objects.build_xdp(tmp_path / "strange", more, (not_mine,))
            done = host.ilax.try_(*AT_ONCE, "--objects", strange)
            assert (done.returncode, f"{mine}.bpf.o" in done.stderr) == (USAGE, True), done
            still_flowing(to, back)
        assert_unharmed(to, back)

        bad = objects.build_xdp(tmp_path / "bad", objects.DROPS, kinds)
        with NumberedStream(far.ns, near.ns, near.address, rate=500) as victim:
            until(lambda: victim.received > 50, "traffic")
            options = ("--objects", bad, "--soak", "60s", "--before", "1s")
            done = host.ilax.try_("upgrade", *options, as_json=True)
            assert done.returncode == GUARD, done
            assert json.loads(done.stdout)["trip"]["subject"] == "xdp_ingress drop_user"
            now = in_slot(host, root), host.ilax.programs(), host.ilax.programs("previous")
            assert now == before
            still_flowing(victim)

        traces = Traces.of_pins(host.ilax.pins)
        host.ilax("down")
        assert root.slots() == [root.neighbour.id, 0, 0, 0]
        assert traces.leftovers() == []


def test_a_rollback_to_what_the_array_does_not_take(bare: Lab, tmp_path: Path) -> None:
    """Programs that were on the hook know frames in pieces; the array's owner does not."""
    host = bare.hosts[0]
    host.ilax(*operator.up_arguments(bare, host, operator.Options(xdp="off", extra=SMALL)))
    with XdpRoot(host.ns, UPLINK, tmp_path, linear=True) as root:
        host.ilax(*up_arguments(bare, host, "--xdp-chain", f"{root.pin}:{SLOT}"))
        before = in_slot(host, root), host.ilax.programs(), host.ilax.programs("previous")
        at_work = running(host)
        done = host.ilax.try_("rollback")
        assert done.returncode == CONFLICT, done
        for text in (f"slot {SLOT} of array root_array", "nothing was changed", "--xdp off"):
            assert text in done.stderr, done
        assert (in_slot(host, root), host.ilax.programs(), host.ilax.programs("previous")) == before
        assert running(host) == at_work
        assert check(host.ilax).findings == []
        # As it says: out of the slot, they can come back.
        host.ilax(*operator.up_arguments(bare, host, operator.Options(xdp="off", extra=SMALL)))
        assert root.slots() == [root.neighbour.id, 0, 0, 0]
        host.ilax("rollback")
        host.ilax("down")


@pytest.mark.parametrize("backwards", [False, True], ids=["to-linear", "to-frags"])
def test_killed_between_arrays_of_two_kinds(bare: Lab, tmp_path: Path, backwards: bool) -> None:
    """No set of programs fits both slots: what goes on is `up`, which leaves one of them."""
    host = bare.hosts[0]
    host.ns.ip("link", "add", "up1", "type", "veth", "peer", "name", "end1")
    with (
        XdpRoot(host.ns, UPLINK, tmp_path / "1", linear=backwards) as first,
        XdpRoot(host.ns, "up1", tmp_path / "2", linear=not backwards) as second,
    ):
        move = up_arguments(bare, host, "--xdp-chain", f"{second.pin}:{SLOT}")
        begin = up_arguments(bare, host, "--xdp-chain", f"{first.pin}:{SLOT}")
        for _ in range(2):
            # Only the second time there is a previous set of programs, as there is later.
            host.ilax(*begin)
            found = steps(host.ilax, *move)
            in_slot(host, second)
        wanted = [step for step in found if re.search(r"root_array|/slots/array", step.text)]
        assert len(wanted) == 4, found
        both = 0
        for step in wanted:
            host.ilax(*begin)
            in_slot(host, first)
            kill_at(host.ilax, step, *move)
            if first.slots()[SLOT] and second.slots()[SLOT]:
                both += 1
                done = host.ilax.try_(*AT_ONCE)
                assert (done.returncode, "`ilax up` ends it" in done.stderr) == (CONFLICT, True)
            check(host.ilax, "--fix")
            # The array of the other device is none that the uplink's program uses.
            assert check(host.ilax).ids <= {"hook.slot-not-called", "hook.xdp-foreign"}, step
            here, left = (first, second) if first.slots()[SLOT] else (second, first)
            assert left.slots() == [left.neighbour.id, 0, 0, 0], step
            host.ilax(*AT_ONCE)
            in_slot(host, here)
        assert both
        host.ilax("down")
        assert [root.slots()[SLOT] for root in (first, second)] == [0, 0]


def _links_moved(older: OlderMajor, _: Instance) -> None:
    older.links.rename(older.pins.links)
    raise KeyboardInterrupt


def _slots_moved(older: OlderMajor, _: Instance) -> None:
    older.slots.rename(older.pins.slots)
    raise KeyboardInterrupt


def _nothing_moved(*_: object) -> None:
    raise KeyboardInterrupt


@KINDS
def test_a_new_major(
    bare: Lab, tmp_path: Path, linear: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails at the slot, and is killed wherever the slot's pins may be."""
    near, _, far, _ = bare.containers
    host = near.host
    with XdpRoot(host.ns, UPLINK, tmp_path, linear=linear) as root:
        host.ilax(*up_arguments(bare, host, "--xdp-chain", f"{root.pin}:{SLOT}"))
        operator.bring_up(bare, operator.Options(xdp="auto", extra=SMALL))
        before, marks = root.slots(), remembered(host)
        turn_back(host.ilax.instance, tmp_path)
        old = host.ilax.pins / "v0/slots"
        monkeypatch.setitem(major_migration.CONVERTERS, 0, CONVERTER)

        def refuse(*_: object) -> None:
            raise SystemCallError("do it", 5)

        with NumberedStream(far.ns, near.ns, near.address, rate=500) as stream:
            until(lambda: stream.received > 50, "traffic")
            with monkeypatch.context() as patch:
                patch.setattr(Slot, "put", refuse)
                with pytest.raises(SystemCallError):
                    migrate(host)
            assert (root.slots(), {pin.name for pin in old.iterdir()}) == (before, marks)
            assert not (host.ilax.pins / "v1/slots").exists()

            for name, instead in (
                ("move_in", _nothing_moved), ("move_in", _links_moved),
                ("move_in", _slots_moved), ("sweep", _nothing_moved),
            ):  # fmt: skip
                with monkeypatch.context() as patch:
                    patch.setattr(OlderMajor, name, instead)
                    with pytest.raises(KeyboardInterrupt):
                        migrate(host)
                assert root.slots()[SLOT] not in (0, before[SLOT]), instead
                if name == "move_in":
                    # Nobody can take it down but who made it.
                    then = root.slots(), sorted(host.ilax.pins.rglob("*"))
                    assert host.ilax.try_("down").returncode == LAYOUT
                    assert (root.slots(), sorted(host.ilax.pins.rglob("*"))) == then
                still_flowing(stream)
            host.ilax(*AT_ONCE)
            still_flowing(stream)
        assert_unharmed(stream)
        assert [path.name for path in host.ilax.pins.iterdir()] == ["v1"]
        in_slot(host, root)
        assert check(host.ilax).findings == []
        host.ilax("down")
        assert root.slots() == [root.neighbour.id, 0, 0, 0]
        assert not host.ilax.pins.exists()
