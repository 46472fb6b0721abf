# SPDX-License-Identifier: Apache-2.0
"""Rows whose room the next row gets are let go of only when no program holds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import build_objects
from ilax.address import parse
from ilax.bpf import Map, Object, Program, wait_for_programs
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from ilax.system.netlink import Network
from lab.wait import until

from .conftest import Lab, sir

_SOURCE = Path(__file__).parents[1] / "lab" / "linger.bpf.c"


class Lingering:
    """A program that is at work for a good while, again and again."""

    def __init__(self, program: Program, state: Map) -> None:
        self._program = program
        self._state = state

    def counts(self) -> tuple[int, int]:
        """How often it has begun and ended."""
        row = self._state.lookup(index_key(0))
        assert row is not None
        return int.from_bytes(row[:8], "little"), int.from_bytes(row[8:], "little")

    def outlived_by(self, action: Callable[[], object]) -> bool:
        """Whether a run that was going on when `action` began had ended when it was done."""
        before, _ = self.counts()
        thread = threading.Thread(target=self._program.test_run, args=(bytes(64),))
        thread.start()
        try:
            until(lambda: self.counts()[0] > before, "the program runs")
            action()
            begun, ended = self.counts()
            return begun == ended
        finally:
            thread.join()

    def never_outlasts(self, action: Callable[[], object]) -> bool:
        """Whether it is always over after an action; on a busy machine it may be by chance."""
        return all(self.outlived_by(action) for _ in range(5))


@pytest.fixture(scope="module")
def lingering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lingering]:
    (path,) = build_objects.build([_SOURCE], tmp_path_factory.mktemp("linger"))
    with Object.open(path) as obj:
        obj.load()
        with obj.programs["linger"].open() as program, obj.maps["linger_state"].open() as state:
            yield Lingering(program, state)


@contextmanager
def _opened(lab: Lab) -> Iterator[tuple[Network, Instance]]:
    with Network() as network, Instance.open(lab.instance) as instance:
        yield network, instance


def test_a_program_lingers_beyond_what_does_not_wait(lingering: Lingering) -> None:
    assert not lingering.never_outlasts(lambda: None)


def test_waiting_is_over_when_the_program_is(lingering: Lingering) -> None:
    assert lingering.outlived_by(wait_for_programs)


def test_a_new_endpoint_waits_for_nobody(lab: Lab, lingering: Lingering) -> None:
    assert lab.up().exit_code == 0
    assert lab.ilax("endpoint", "add", "--host", sir(5)).exit_code == 0
    with _opened(lab) as (_, instance):
        known = endpoints.find(instance, parse(sir(5)))
        others = (
            replace(known, sir=parse(sir(number)), wire=parse(f"2001:db8:42:7:3000::{number:x}"))
            for number in range(6, 60)
        )
        assert not lingering.never_outlasts(lambda: endpoints.put(instance, next(others)))


def test_a_changed_or_removed_endpoint_is_held_by_no_program(
    lab: Lab, lingering: Lingering
) -> None:
    assert lab.up().exit_code == 0
    assert lab.ilax("endpoint", "add", "--host", sir(5)).exit_code == 0
    with _opened(lab) as (network, instance):
        known = endpoints.find(instance, parse(sir(5)))
        for change in (
            lambda: endpoints.rewrite(instance, replace(known, mtu=1300)),
            lambda: endpoints.put(instance, known, replace=True),
            lambda: endpoints.retire(instance, known.wire),
            lambda: endpoints.remove(network, instance, known),
        ):
            assert lingering.outlived_by(change)
