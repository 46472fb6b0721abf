# SPDX-License-Identifier: Apache-2.0
"""Random walks of commands, kills and packets over a real instance."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from lab.cgroups import own_cgroups
from loader.conftest import UPLINK, Lab, ip
from model.control import Setup
from model.tables import Delivery
from stateful import shots
from stateful.bench import Bench
from stateful.choices import PATHS, Kill
from stateful.killing import Killer
from stateful.machine import Walk
from stateful.walker import Place

CASES = int(os.environ.get("ILAX_CASES", "0"))
WALKS = max(6, CASES // 250)
STEPS = 25


@pytest.fixture
def place(lab: Lab) -> Iterator[Place]:
    tag = lab.namespace.rpartition("-")[0]
    namespaces = {shots.sir(n): f"{tag}-n{n}" for n in range(shots.TASKS)}
    for name in namespaces.values():
        ip("netns", "add", name)  # the lab removes them
    before = os.sched_getaffinity(0)
    # A CPU holds some of a limit's time back; the model has one CPU.
    os.sched_setaffinity(0, {min(before)})
    try:
        with own_cgroups(tag) as own, Bench(lab.instance, UPLINK, namespaces) as bench:
            own.make(PATHS[-1])
            yield Place(lab, own, bench, namespaces, Killer())
    finally:
        os.sched_setaffinity(0, before)


def learn(walk: Walk) -> None:
    """How long commands are that walks will kill: one of each kind, on an ordinary host."""
    setup = Setup(shots.SIR_PREFIXES, (shots.OWN, shots.OTHER_OWN), shots.BLOCKS)
    not_killed = Kill(permille=None)
    walk.begin(setup)
    for number, delivery in enumerate(Delivery):
        walk.kill_delete(number, not_killed)
        walk.kill_add(number, delivery, not_killed)
    walk.kill_import({6: 2, 7: 3}, not_killed)
    walk.kill_up(setup, not_killed)
    for back in (False, True):
        walk.kill_programs(back, not_killed)
    walk.teardown()


def test_walks(place: Place) -> None:
    machine = type("Walk", (Walk,), {"place": place})
    learn(machine())
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # The same walks each time; the nightly run goes others.
            derandomize=not CASES,
            suppress_health_check=list(HealthCheck),
            # To look for a shorter walk takes long; the nightly run has the time.
            phases=[Phase.generate, *([Phase.shrink] if CASES else [])],
        ),
    )
    assert place.shot > 10 * WALKS
    assert sum(place.killer.killed.values()) > WALKS
    assert place.killed_full
