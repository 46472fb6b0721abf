# SPDX-License-Identifier: Apache-2.0
"""One program, one frame: run a twin and say what it met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ilax.contract import schema
from ilax.errors import IlaxError
from ilax.explain import limits, rows
from ilax.explain.changes import between
from ilax.explain.steps import Step
from ilax.explain.twin import Twin
from ilax.frames import decode

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ilax.explain.loaded import Loaded
    from ilax.explain.sandbox import Sandbox
    from ilax.explain.twin import Run
    from ilax.hooks.places import Hook
    from ilax.system.netlink import Network

# How often a packet is tried anew because a row changed under it.
_TRIES = 3


class Trial:
    """Tries frames in one sandbox, so that what one step charges, the next one finds.

    Args:
        cpu: that this thread keeps to.
        held: closes the twins.
    """

    def __init__(self, network: Network, sandbox: Sandbox, cpu: int, held: ExitStack) -> None:
        self._network, self._sandbox = network, sandbox
        self._cpu, self._held = cpu, held
        self._twins: dict[Hook, Twin] = {}

    def twin(self, place: Hook, program: Loaded) -> Twin:
        """The copy of a loaded program.

        Raises:
            ConflictError: the loaded program is another one than we could copy.
        """
        if place not in self._twins:
            twin = Twin.load(place, program, self._sandbox)
            self._twins[place] = self._held.enter_context(twin)
        return self._twins[place]

    def run(self, where: str, place: Hook, program: Loaded, frame: bytes) -> tuple[Run, Step]:
        """What a program does with a frame.

        Args:
            where: title of the step.

        Raises:
            IlaxError: rows change faster than they can be looked at.
        """
        twin, packet = self.twin(place, program), decode(frame)
        for _ in range(_TRIES):
            found = rows.met(self._sandbox.live, place, packet)
            self._sandbox.copy_limits(found.limits)
            state = self._sandbox.state()
            before = limits.counts(self._sandbox, found.limits)
            run = twin.run(frame)
            if rows.met(self._sandbox.live, place, packet) == found:
                break
            self._sandbox.restore(state)
        else:
            raise IlaxError(
                "the rows that this packet meets keep changing; nothing was sent or counted",
                hint="try again",
            )
        used = limits.used(self._sandbox, found.limits, before, self._cpu)
        after = None if run.reason.startswith("drop") else decode(run.data)
        seen = rows.as_far_as(found, run.reason)
        step = Step(
            where=where,
            hook=place.name,
            loaded=program,
            tried=True,
            before=packet,
            after=after,
            frame=run.data if after else b"",
            rows=seen,
            limits=tuple(used) if seen.endpoint else (),
            changes=tuple(between(packet, after)) if after else (),
            reason=run.reason,
            mark=run.mark,
            priority=run.priority,
            ns=run.ns,
            runs=run.runs,
            notes=self._notes(run),
        )
        return run, step

    def _notes(self, run: Run) -> tuple[str, ...]:
        if not run.handover:
            return ()
        ifindex, mark, priority = note_of(run.handover)
        text = f"puts a note in front for tc: {self._device(ifindex)}"
        if mark or priority:
            text += f", mark {mark:#x}, priority {priority:#x}"
        return (text,)

    def _device(self, ifindex: int) -> str:
        if not ifindex:
            return "the host's stack comes next"
        found = self._network.interface_by_index(ifindex)
        return f"interface {found.name if found else ifindex}"


def note_of(handover: bytes) -> tuple[int, int, int]:
    """Device, mark and priority of XDP metadata (`struct ilax_handover`, or `_tagged`)."""
    note = np.frombuffer(handover, schema.dtype("ilax_handover"), 1)[0]
    ifindex = int(note["ifindex"])
    if note["magic"] != schema.enum("ilax_version")["ILAX_TAGGED_MAGIC"]:
        return ifindex, 0, 0
    tagged = np.frombuffer(handover, schema.dtype("ilax_handover_tagged"), 1)[0]
    return ifindex, int(tagged["mark"]), int(tagged["prio"])
