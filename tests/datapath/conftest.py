# SPDX-License-Identifier: Apache-2.0
"""One World for the session; each module of tests runs inside its namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.plan import PLAN
from datapath.world import World, build_shim


@pytest.fixture(scope="session")
def shim_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the compiled helper programs."""
    if os.geteuid():
        pytest.skip("loading BPF programs needs root")
    objects = tmp_path_factory.mktemp("objects")
    build_shim(objects)
    return objects


@pytest.fixture(scope="session")
def _world(shim_objects: Path) -> Iterator[World]:
    with World(shim_objects) as world:
        yield world


@pytest.fixture(scope="module")
def world(_world: World) -> Iterator[World]:
    with _world.inside():
        _world.use(PLAN)
        yield _world
