# SPDX-License-Identifier: Apache-2.0
"""Labs for the end-to-end tests. They need root and a kernel with tcx (6.6)."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import operator
from lab.cleanup import PREFIX, unwinding_signals
from lab.ilax import quick_commands
from lab.operator import Options
from lab.topology import Host, Lab, Plan

# How packets can be handled; the main job has to look the same in all of them.
MODES = {
    "native-stack": Options(xdp="native"),
    "native-xdp": Options(xdp="native", delivery="xdp"),
    "tc-only": Options(xdp="off", tc="tcx", extra=("--gateway", str(Plan().router_link_local))),
    "clsact": Options(xdp="off", tc="clsact", extra=("--no-cbit",)),
}

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="makes network namespaces: needs root"))


@pytest.fixture(scope="session", autouse=True)
def _session() -> Iterator[None]:
    """Signals clean up, and commands start quickly."""
    with unwinding_signals(), quick_commands():
        yield


def _tag() -> str:
    return f"{PREFIX}{os.getpid():x}n{next(_numbers)}"


@pytest.fixture(scope="session", params=list(MODES))
def mode(request: pytest.FixtureRequest) -> str:
    """Name of the mode that this run of the test is about."""
    return str(request.param)


@pytest.fixture(scope="session")
def options(mode: str) -> Options:
    return MODES[mode]


@pytest.fixture(scope="session")
def fabric(options: Options) -> Iterator[Lab]:
    """Three hosts, six tasks, everything up, in one mode. Tests leave it as it was."""
    with Lab.make(_tag()) as lab:
        operator.bring_up(lab, options)
        yield lab


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """One of two hosts, with two tasks. Tests leave it without findings of `check`."""
    with Lab.make(_tag(), Plan(hosts=2)) as lab:
        operator.bring_up(lab)
        yield lab.hosts[0]


@pytest.fixture
def bare() -> Iterator[Lab]:
    """Two hosts with two tasks each; ilax is not up yet."""
    with Lab.make(_tag(), Plan(hosts=2)) as lab:
        yield lab


@pytest.fixture
def pair(bare: Lab) -> Lab:
    """Two hosts with two tasks each; everything is up."""
    operator.bring_up(bare)
    return bare
