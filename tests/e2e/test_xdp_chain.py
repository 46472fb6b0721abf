# SPDX-License-Identifier: Apache-2.0
"""Behind a foreign XDP program: in a slot of its array, and in no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ilax.bpf import Program
from lab import foreign, operator, probes
from lab.faults import kill_at, steps
from lab.findings import check
from lab.ilax import Ilax
from lab.prometheus import ONE_CAPABILITY
from lab.topology import UPLINK, Host, Lab
from lab.udp import NumberedStream, assert_unharmed, still_flowing
from lab.wait import until
from lab.xdp_root import DROPPED, NEIGHBOUR, NOBODY, REFUSED_PORT, SEEN, SLOT, XdpRoot

USAGE, NOT_FOUND, CONFLICT, TO_DO = 2, 3, 4, 10

SMALL = ("--max-endpoints", "64", "--max-mappings", "1024", "--max-limits", "32")


def up_arguments(lab: Lab, host: Host, *chain: object) -> list[object]:
    """Of `up` behind a foreign program."""
    auto = operator.Options(xdp="auto", extra=SMALL)
    return [*operator.up_arguments(lab, host, auto), *chain]


def own_program(host: Host) -> int:
    with Program.open_pinned(host.ilax.pins / "v1/programs/ilax_uplink_xdp") as program:
        return program.id


def exported(host: Host) -> float:
    """What the exporter says of the slot, with the privileges of its unit."""
    weak = Ilax(host.ns, host.ilax.instance, ONE_CAPABILITY)
    (sample,) = [
        one
        for one in json.loads(weak.try_("exporter", "--once", as_json=True).stdout)
        if one["labels"] == {"link": "xdp_slot"}
    ]
    return float(sample["value"])


@pytest.mark.parametrize("linear", [False, True], ids=["frags", "linear"])
def test_a_slot_of_a_foreign_program(bare: Lab, tmp_path: Path, linear: bool) -> None:
    near, _, far, _ = bare.containers
    host = near.host
    with XdpRoot(host.ns, UPLINK, tmp_path, linear=linear) as root:
        chain = ("--xdp-chain", f"{root.pin}:{SLOT}")
        host.ilax(*up_arguments(bare, host, *chain))
        operator.bring_up(bare, operator.Options(xdp="auto", extra=SMALL))  # stays where it is
        assert root.slots() == [root.neighbour.id, 0, own_program(host), 0]
        assert host.ilax.json("status")["xdp_slots"]
        assert check(host.ilax).findings == []

        # What the foreign one drops, and what it leaves to ours: whose verdict counts then.
        before = host.ilax.counters()
        with NumberedStream(far.ns, near.ns, near.address, rate=500, port=REFUSED_PORT) as refused:
            until(lambda: refused.sent >= 20, "packets that the foreign program drops")
        assert (refused.report().received, root.seen(DROPPED)) == (0, refused.report().sent)
        taken = host.ilax.counters()
        assert ("xdp_ingress", "send_meta") not in taken.keys() - before.keys()
        nobody = root.seen(NOBODY)
        probes.must_ping(far.ns, near.address)
        counted = host.ilax.counters()
        assert counted["xdp_ingress", "send_meta"] > before.get(("xdp_ingress", "send_meta"), 0)
        stranger = str(bare.plan.sir(99))
        far.host.ilax("mapping", "add", stranger, "--locator", host.locator)
        assert not probes.ping(far.ns, stranger, count=2, wait=0.2)
        assert host.ilax.counters()["xdp_ingress", "drop_unknown_identifier"] == 2
        assert root.seen(NOBODY) == nobody

        wire = host.ilax.wire(near.address)
        ask = ("explain", "--in", "uplink", "--src", far.address, "--dst", wire)
        steps = host.ilax.json(*ask, "--expect", "delivered")["steps"]
        assert "is not run here" in steps[0]["notes"][0]
        assert steps[1]["program"]["attached"] == "slot"

        # New programs, and another place, while packets pass.
        with (
            NumberedStream(near.ns, far.ns, far.address, rate=500, port=7001) as to,
            NumberedStream(far.ns, near.ns, near.address, rate=500, port=7002) as back,
        ):
            until(lambda: to.received > 20 and back.received > 20, "traffic")
            seen = [own_program(host)]
            for command in (up_arguments(bare, host), ("upgrade", "--soak", "0"), ("rollback",)):
                host.ilax(*command)
                seen.append(own_program(host))
                assert root.slots() == [root.neighbour.id, 0, seen[-1], 0]
            assert len(set(seen)) == 3 and seen[-1] == seen[1]
            host.ilax(*up_arguments(bare, host, "--xdp-chain", f"{root.pin}:3"))
            assert root.slots() == [root.neighbour.id, 0, 0, own_program(host)]
            host.ilax(*up_arguments(bare, host, *chain))
            still_flowing(to, back)
        assert_unharmed(to, back)

        host.ilax("down")
        assert root.slots() == [root.neighbour.id, 0, 0, 0]
        assert root.holds_the_hook()
        assert not host.ilax.pins.exists()
        passed = root.seen(SEEN), root.seen(NOBODY)
        probes.must_ping(host.ns, str(bare.plan.router))
        assert root.seen(SEEN) > passed[0] and root.seen(NOBODY) > passed[1]


def test_what_is_refused(bare: Lab, tmp_path: Path) -> None:
    """Nothing is touched, and the message names the slot and what is in it."""
    host = bare.hosts[0]
    with (
        XdpRoot(host.ns, UPLINK, tmp_path) as root,
        foreign.tc_program(foreign.build(tmp_path)) as other,
    ):
        pinned = root.pin.with_name(f"{root.pin.name}_program")
        before = root.slots()
        try:
            other.pin(pinned)
            for chain, code, words in (
                (f"{root.pin}", USAGE, "is no slot"),
                (f"{root.pin}:x", USAGE, "is no slot"),
                (f"{root.pin}:4", USAGE, "slots 0 to 3"),
                (f"{root.pin}_gone:0", NOT_FOUND, "no map is pinned at"),
                (f"{pinned}:0", NOT_FOUND, "but a program"),
                (f"{tmp_path / 'foreign.bpf.c'}:0", USAGE, "is no pin"),
                (f"{root.pin}:{NEIGHBOUR}", CONFLICT, f"foreign_slot (number {before[0]})"),
            ):
                done = host.ilax.try_(*up_arguments(bare, host, "--xdp-chain", chain))
                assert (done.returncode, words in done.stderr) == (code, True), done
                assert "Traceback" not in done.stderr
        finally:
            pinned.unlink(missing_ok=True)
        native = operator.up_arguments(bare, host, operator.Options(xdp="native"))
        done = host.ilax.try_(*native, "--xdp-chain", f"{root.pin}:{SLOT}")
        assert done.returncode == USAGE, done
        assert root.slots() == before
        assert not host.ilax.pins.exists()


def test_check_and_files_know_the_slot(bare: Lab, tmp_path: Path) -> None:
    host = bare.hosts[0]
    with XdpRoot(host.ns, UPLINK, tmp_path) as root:
        host.ilax(*up_arguments(bare, host, "--xdp-chain", f"{root.pin}:{SLOT}"))
        quiet = check(host.ilax).ids
        assert exported(host) == 1
        # A file can say so, too.
        file, text = tmp_path / "host.toml", host.ilax("export")
        assert "# Left out: the slot" in text
        for slot, code in ((SLOT, 0), (SLOT + 1, TO_DO)):
            file.write_text(text.replace('xdp = "auto"', f'xdp-chain = "{root.pin}:{slot}"'))
            assert host.ilax.try_("plan", "--exit-code", file).returncode == code
        root.empty(SLOT)
        assert check(host.ilax).ids - quiet == {"hook.slot-empty", "hook.xdp-foreign"}
        assert exported(host) == 0
        assert check(host.ilax, "--fix").ids == quiet
        assert root.slots()[SLOT] == own_program(host)
        root.fill(SLOT, root.neighbour)
        found = check(host.ilax)
        assert found.ids - quiet == {"hook.slot-foreign", "hook.xdp-foreign"}
        assert "foreign_slot" in found.one("hook.slot-foreign")["seen"]
        # Somebody else's by now: neither `upgrade` nor `down` touches it.
        host.ilax("upgrade", "--soak", "0")
        assert root.slots()[SLOT] == root.neighbour.id
        root.empty(SLOT)
        host.ilax(*up_arguments(bare, host))
        root.link.detach()
        assert check(host.ilax).ids - quiet == {"hook.slot-not-called"}
        # On the hook itself, now that it is free: the slot is left.
        host.ilax(*operator.up_arguments(bare, host, operator.Options(extra=SMALL)))
        assert root.slots() == [root.neighbour.id, 0, 0, 0]
        assert host.ilax.json("status")["xdp_slots"] == []
        assert not (host.ilax.pins / "v1/slots").exists()
        host.ilax("down")


def test_an_up_into_a_slot_is_killed(bare: Lab, tmp_path: Path) -> None:
    host = bare.hosts[0]
    with XdpRoot(host.ns, UPLINK, tmp_path) as root:
        arguments = up_arguments(bare, host, "--xdp-chain", f"{root.pin}:{SLOT}")
        found = steps(host.ilax, *arguments)
        host.ilax("down")
        assert root.slots() == [root.neighbour.id, 0, 0, 0]
        (at,) = [n for n, step in enumerate(found) if f"/slots/array_{root.array.id}" in str(step)]
        for number, step in enumerate(found[at : at + 4]):
            kill_at(host.ilax, step, *arguments)
            if number % 2:
                host.ilax(*arguments)
                assert root.slots()[SLOT] == own_program(host), step
            host.ilax("down")
            assert root.slots() == [root.neighbour.id, 0, 0, 0], step
            assert not host.ilax.pins.exists(), step
