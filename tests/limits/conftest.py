# SPDX-License-Identifier: Apache-2.0
"""The object is compiled and loaded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from limits.timed import Timed, build


@contextmanager
def _loaded(factory: pytest.TempPathFactory, name: str, *defined: str) -> Iterator[Timed]:
    if os.geteuid():
        pytest.skip("loading BPF programs needs root")
    with Timed.loaded(build(factory.mktemp(name), *defined)) as timed:
        yield timed


@pytest.fixture(scope="session")
def _timed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    with _loaded(tmp_path_factory, "timed") as timed:
        yield timed


@pytest.fixture
def timed(_timed: Timed) -> Iterator[Timed]:
    """On one CPU; what a test does about that is undone."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(affinity)})
    try:
        yield _timed
    finally:
        os.sched_setaffinity(0, affinity)


@pytest.fixture(scope="session")
def too_late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    """Every charge but a backlog's first finds that another CPU was faster."""
    with _loaded(tmp_path_factory, "too_late", "TIMED_TOO_LATE") as timed:
        yield timed


@pytest.fixture(scope="session")
def by_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    """The same with the kernel's own clock."""
    with _loaded(tmp_path_factory, "by_kernel", "TIMED_BY_KERNEL") as timed:
        yield timed
