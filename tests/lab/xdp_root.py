# SPDX-License-Identifier: Apache-2.0
"""A foreign program on the XDP hook of a host that lets others into its array."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import build_objects
from ilax.bpf import Link, Map, Object, Program
from ilax.bpf.link import XDP_NATIVE, xdp_program_on
from ilax.contract.tables import index_key
from lab.cleanup import PREFIX
from lab.netns import Namespace

SLOT, NEIGHBOUR = 2, 0
# Rows of `root_seen`.
SEEN, DROPPED, NOBODY = range(3)
REFUSED_PORT = 7009


class XdpRoot:
    """It holds the hook, and its array is pinned, while the context lasts.

    Args:
        linear: without "frags".

    Attributes:
        program: the one on the hook.
        neighbour: a foreign one in slot NEIGHBOUR.
        pin: of the array.
    """

    def __init__(self, ns: Namespace, device: str, folder: Path, *, linear: bool = False) -> None:
        self._ns, self._device = ns, device
        source = Path(__file__).parent / "xdp_root.bpf.c"
        defines = ("LINEAR",) if linear else ()
        (self._object,) = build_objects.build([source], folder, defines=defines)
        self.pin = Path("/sys/fs/bpf") / f"{PREFIX}{os.getpid():x}_root_{device}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            with Object.open(self._object) as obj:
                obj.load()
                self.program: Program = undo.enter_context(obj.programs["foreign_root"].open())
                self.neighbour: Program = undo.enter_context(obj.programs["foreign_slot"].open())
                self.array: Map = undo.enter_context(obj.maps["root_array"].open())
                self._seen: Map = undo.enter_context(obj.maps["root_seen"].open())
            undo.callback(self.pin.unlink, missing_ok=True)
            self.array.pin(self.pin)
            self.fill(NEIGHBOUR, self.neighbour)
            with self._ns.entered():
                index = self._ns.ifindex(self._device)
                self.link = undo.enter_context(Link.xdp(self.program, index, XDP_NATIVE))
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fill(self, slot: int, program: Program) -> None:
        """Put a program into a slot."""
        self.array.update(index_key(slot), program.fd.to_bytes(4, "little"))

    def empty(self, slot: int) -> None:
        """Take the program out of a slot."""
        self.array.delete(index_key(slot))

    def slots(self) -> list[int]:
        """Number of the program in each slot, 0 for none."""
        found = [self.array.lookup(index_key(i)) for i in range(self.array.max_entries)]
        return [int.from_bytes(row, "little") if row else 0 for row in found]

    def seen(self, row: int) -> int:
        """Packets that it has counted."""
        found = self._seen.lookup(index_key(row))
        assert found is not None
        return int.from_bytes(found, "little")

    def holds_the_hook(self) -> bool:
        """Whether it is where it was."""
        with self._ns.entered():
            return xdp_program_on(self._ns.ifindex(self._device)) == self.program.id
