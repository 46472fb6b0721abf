# SPDX-License-Identifier: Apache-2.0
"""Our XDP program in a slot of a foreign array, of both kinds that the kernel knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilax.bpf import Program
from lab import findings, operator, probes
from lab.cleanup import PREFIX
from lab.ilax import quick_commands
from lab.operator import Options
from lab.topology import UPLINK, Host, Lab, Plan
from lab.xdp_root import SEEN, SLOT, XdpRoot

CONFLICT = 4
_SMALL = ("--max-endpoints", "64", "--max-mappings", "1024", "--max-limits", "32")
_AUTO = Options(xdp="auto", extra=_SMALL)


@pytest.fixture
def lab() -> Iterator[Lab]:
    tag = f"{PREFIX}{os.getpid():x}k"
    with quick_commands(), Lab.make(tag, Plan(hosts=2, containers=1)) as built:
        yield built


def own_program(host: Host) -> int:
    with Program.open_pinned(host.ilax.pins / "v1/programs/ilax_uplink_xdp") as program:
        return program.id


@pytest.mark.parametrize("linear", [False, True], ids=["frags", "linear"])
def test_a_slot(lab: Lab, tmp_path: Path, linear: bool) -> None:
    """It is called there, swapped, moved, and taken out."""
    near, far = lab.containers
    host = near.host
    with XdpRoot(host.ns, UPLINK, tmp_path, linear=linear) as root:
        up = operator.up_arguments(lab, host, _AUTO)
        host.ilax(*up, "--xdp-chain", f"{root.pin}:{SLOT}")
        operator.bring_up(lab, _AUTO)
        assert findings.check(host.ilax).findings == []

        for command in (up, ("upgrade", "--soak", "0"), ("rollback",)):
            host.ilax(*command)
            assert root.slots() == [root.neighbour.id, 0, own_program(host), 0]
            counted = host.ilax.counters().get(("xdp_ingress", "send_meta"), 0)
            probes.must_ping(far.ns, near.address, count=3)
            assert host.ilax.counters()["xdp_ingress", "send_meta"] == counted + 3

        host.ilax(*up, "--xdp-chain", f"{root.pin}:{SLOT + 1}")
        assert root.slots() == [root.neighbour.id, 0, 0, own_program(host)]
        host.ilax("down")
        assert root.slots() == [root.neighbour.id, 0, 0, 0]
        seen = root.seen(SEEN)
        probes.must_ping(host.ns, str(lab.plan.router))
        assert root.seen(SEEN) > seen


def test_programs_that_the_array_does_not_take(lab: Lab, tmp_path: Path) -> None:
    """Those that were on the hook: this kernel tells an array's kind, and keeps to it."""
    host = lab.hosts[0]
    host.ilax(*operator.up_arguments(lab, host, Options(xdp="off", extra=_SMALL)))
    with XdpRoot(host.ns, UPLINK, tmp_path, linear=True) as root:
        up = operator.up_arguments(lab, host, _AUTO)
        host.ilax(*up, "--xdp-chain", f"{root.pin}:{SLOT}")
        before = root.slots()
        done = host.ilax.try_("rollback")
        assert (done.returncode, "(frags)" in done.stderr) == (CONFLICT, True), done
        assert root.slots() == before
        host.ilax("down")
