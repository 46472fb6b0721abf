# SPDX-License-Identifier: Apache-2.0
"""`upgrade` and `rollback` are killed at their steps; a second try comes to a good state."""

from __future__ import annotations

import re
import sys

from e2e.test_upgrade import AT_ONCE, running
from lab import operator
from lab.faults import Step, kill_at, steps
from lab.ilax import environment
from lab.topology import Host, Lab
from lab.udp import NumberedStream, assert_unharmed, still_flowing
from lab.wait import until

# The self test's many updates of maps of its own are of no interest.
SMALL = operator.Options(extra=("--max-endpoints", "64", "--max-mappings", "1024"))

# Kinds of steps that come before the switch, or after it, as others do that are tried.
DULL = ("mkdir", "rmdir")


def of_the_switch(found: list[Step], instance: str) -> list[Step]:
    """Those that change pins or hooks, without most of those that look alike."""
    wanted = [s for s in found if instance in s.text or "BPF_LINK_UPDATE" in s.text]
    by_kind: dict[str, list[Step]] = {}
    for step in wanted:
        kind = step.call + "".join(re.findall(r"BPF_[A-Z]+_[A-Z]+", step.text)[:1])
        by_kind.setdefault(kind, []).append(step)
    chosen = {kind[len(kind) // 2] for name, kind in by_kind.items() if name not in DULL}
    chosen |= {step for step in wanted if step.call in ("rename", "renameat2")}
    return [step for step in wanted if step in chosen]


def whole(host: Host, folder: str = "programs") -> set[int]:
    numbers = set(host.ilax.programs(folder).values())
    assert len(numbers) == 5
    return numbers


def test_upgrade_and_rollback_are_killed_under_load(bare: Lab) -> None:
    operator.bring_up(bare, SMALL)
    host = bare.hosts[1]
    ilax = host.ilax
    a, _, b, _ = bare.containers
    ilax(*AT_ONCE)
    with (
        NumberedStream(a.ns, b.ns, b.address, rate=500, port=7001) as to,
        NumberedStream(b.ns, a.ns, a.address, rate=500, port=7002) as back,
    ):
        until(lambda: to.received > 20 and back.received > 20, "traffic")
        upgrading = of_the_switch(steps(ilax, *AT_ONCE), ilax.instance)
        calls = {step.call for step in upgrading}
        assert calls == {"bpf", "rename", "renameat2", "unlink"}, upgrading
        for number, step in enumerate(upgrading):
            at_work, older = whole(host), whole(host, "previous")
            kill_at(ilax, step, *AT_ONCE)
            mixed = set(running(host).values())
            if number % 2:
                # Back to what was at work as a whole, or to what came before that.
                ilax("rollback")
                assert whole(host) in (at_work, older), step
                if not mixed & at_work:
                    assert whole(host) == at_work, step
            else:
                ilax(*AT_ONCE)
                if mixed & at_work:
                    assert whole(host, "previous") == at_work, step
                assert not whole(host) & at_work, step
            _check(host, step)

        rolling = of_the_switch(steps(ilax, "rollback"), ilax.instance)
        assert {step.call for step in rolling} == {"bpf", "renameat2"}, rolling
        for number, step in enumerate(rolling):
            at_work, older = whole(host), whole(host, "previous")
            kill_at(ilax, step, "rollback")
            ilax(*(AT_ONCE if number % 2 else ("rollback",)))
            if number % 2 == 0:
                assert (whole(host), whole(host, "previous")) == (older, at_work), step
            _check(host, step)
        still_flowing(to, back)
    assert_unharmed(to, back)


def _check(host: Host, step: Step) -> None:
    """All hooks have programs of the current set, and nothing lies about."""
    assert set(running(host).values()) <= whole(host), step
    folders = {path.name for path in (host.ilax.pins / "v1").iterdir()}
    assert folders == {"maps", "programs", "previous", "links"}, step


def test_killed_while_it_watches(pair: Lab) -> None:
    """The new set stays at work, and the way back is open."""
    host = pair.hosts[0]
    before = whole(host)
    command = (sys.executable, "-m", "ilax", "--instance", host.ilax.instance, "upgrade")
    with host.ns.running(*command, "--soak", "60s", "--before", "0", env=environment()):
        until(lambda: not set(running(host).values()) & before, "all hooks switched")
        assert whole(host, "previous") == before
        # The lock is free: containers come and go.
        task = host.containers[0]
        host.ilax("endpoint", "del", task.address)
        host.ilax(*operator.add_arguments(task))
    assert set(running(host).values()) <= whole(host)
    host.ilax("rollback")
    assert set(running(host).values()) <= whole(host) == before
