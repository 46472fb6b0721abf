# SPDX-License-Identifier: Apache-2.0
"""All hooks get another program, or keep theirs; whoever else holds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ilax.bpf import Link, Program
from ilax.contract import schema
from ilax.errors import ConflictError
from ilax.hooks import program_set, switch
from ilax.hooks.places import UPLINK_INGRESS
from ilax.instances.instance import Instance
from ilax.instances.transaction import Transaction
from ilax.system.netlink import Network

from .conftest import Lab


def _only_by_its_link(instance: Instance) -> int:
    """Give a link a program that nothing else keeps; its number."""
    path = schema.object_path("uplink_ingress")
    with (
        program_set.load_one(instance.maps, path, UPLINK_INGRESS.program) as program,
        Link.open_pinned(instance.pins.links / "uplink_ingress") as link,
    ):
        link.update(program)
        return program.id


def _now(instance: Instance) -> int:
    with Link.open_pinned(instance.pins.links / "uplink_ingress") as link:
        return link.info().program_id


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_going_back_has_the_program_that_only_its_link_kept(running: Lab) -> None:
    with Instance.open(running.instance) as instance, Network() as network:
        stray = _only_by_its_link(instance)
        assert _now(instance) == stray
        before = _open_files()
        with (
            program_set.pinned(instance.pins.programs) as programs,
            pytest.raises(ConflictError) as caught,
            Transaction() as change,
        ):
            assert switch.switch(network, instance, programs, {}, change) == 1
            assert _now(instance) == programs[UPLINK_INGRESS.program].id
            raise ConflictError("something else failed")
        assert not getattr(caught.value, "__notes__", [])
        assert _now(instance) == stray
        assert _open_files() == before
        with Program.by_id(stray) as program:
            assert program.name == UPLINK_INGRESS.program
