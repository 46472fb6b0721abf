# SPDX-License-Identifier: Apache-2.0
"""The shipped program of cgroups, as a test run can have it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import build_objects
from datapath.fill import u32
from ilax.bpf import Map, Object, Program
from ilax.contract import schema


def load_attached(stack: ExitStack, maps: dict[str, Map], objects: Path) -> Program:
    """The program of cgroups, behind one that says which limit it is attached for.

    Args:
        stack: closes what was opened.
        maps: to use.
        objects: folder for what has to be compiled.

    Returns:
        The program that `cb[0]` tells the slot of the limit.
    """
    (built,) = build_objects.build([Path(__file__).parent / "attached.bpf.c"], objects)
    with Object.open(schema.object_path("cgroup_ingress")) as file:
        file.reuse_maps(maps)
        file.load()
        shipped = stack.enter_context(file.programs["ilax_cgroup_in"].open())
    with Object.open(built) as file:
        file.reuse_maps(maps)
        file.load()
        # Whoever closes it empties it.
        target = stack.enter_context(file.maps["attached_target"].open())
        target.update(u32(0), u32(shipped.fd))
        return stack.enter_context(file.programs["attached"].open())
