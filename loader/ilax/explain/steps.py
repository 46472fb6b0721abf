# SPDX-License-Identifier: Apache-2.0
"""What a journey is made of; plain values, for text and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ilax.explain.changes import Change
from ilax.explain.kernel import Route
from ilax.explain.limits import LimitUse
from ilax.explain.loaded import Loaded
from ilax.explain.rows import NO_ROWS, Rows
from ilax.frames import Packet
from ilax.watching.counters import reason_names, verdict_of

Outcome = Literal["delivered", "forwarded", "stack", "dropped"]


@dataclass(frozen=True, slots=True)
class Step:
    """One hook of ours, or a part of the way that the kernel decides.

    Attributes:
        where: in words, such as "XDP at eth0".
        hook: as counters name it; None for the kernel.
        loaded: the program; None for the kernel.
        tried: a twin of the program was run; False where its answer was concluded.
        before, after: the packet; `after` is None where it ends or does not change
            hands, and `frame` its bytes.
        rows: that the program met.
        reason: None for the kernel.
        ns: median time of `runs` runs, 0 where nothing was run.
        route: what the kernel answers.
        notes: sentences.
    """

    where: str
    hook: str | None = None
    loaded: Loaded | None = None
    tried: bool = False
    before: Packet | None = None
    after: Packet | None = None
    frame: bytes = b""
    rows: Rows = NO_ROWS
    limits: tuple[LimitUse, ...] = ()
    changes: tuple[Change, ...] = ()
    reason: str | None = None
    mark: int = 0
    priority: int = 0
    ns: int = 0
    runs: int = 0
    route: Route | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str | None:
        """Pass, send or drop, in lower case; None for the kernel."""
        if self.reason is None:
            return None
        number = next((n for n, name in reason_names().items() if name == self.reason), 0)
        return verdict_of(number)


@dataclass(frozen=True, slots=True)
class Journey:
    """What would become of a packet on this host.

    Attributes:
        packet: as it arrives.
        arrives: where, in words.
        cpu: on which it was tried; limits keep part of their state for each CPU.
        outcome: "delivered" to a container, "forwarded" out of the uplink,
            left to the host's "stack", or "dropped".
        summary: one sentence.
    """

    packet: Packet
    arrives: str
    cpu: int
    steps: tuple[Step, ...]
    outcome: Outcome
    summary: str

    def is_as_expected(self, expected: str) -> bool:
        """Whether the outcome, or the reason of any step, is `expected`."""
        return expected in (self.outcome, *(step.reason for step in self.steps))
