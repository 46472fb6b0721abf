# SPDX-License-Identifier: Apache-2.0
"""What a limit says of each packet: GCRA in plain integers, without chunks.

Times are in 1/64 ns. Written from the contract (maps_schema/ilax_abi.h) and from
ITU-T I.371's virtual scheduling, not from the C.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

NS = 64  # units of a nanosecond
FRAME_OVERHEAD = 24
SHORTEST_FRAME = 60
SMALL_FRAME = 128


class Fate(enum.IntEnum):
    """Numbers are those of tests/limits/timed.bpf.c."""

    DROPPED = 1
    PASSED = 2
    MARKED = 3


class Action(enum.IntEnum):
    """Numbers are those of enum ilax_limit_action."""

    DROP = 0
    MARK = 1
    TAG = 2
    COUNT = 3


@dataclass(frozen=True)
class Rules:
    """A row of ilax_limits. Thresholds in ns.

    Attributes:
        nested: other limited cgroups lie below.
    """

    byte_cost: int
    packet_cost: int = 0
    burst: int = 0
    mark: int = 0
    drop: int = 0
    small: int = 0
    action: Action = Action.DROP
    parents: tuple[int, ...] = ()
    nested: bool = False

    def cost(self, frame: int) -> int:
        """Of one frame, in 1/64 ns."""
        wire = max(frame, SHORTEST_FRAME) + FRAME_OVERHEAD
        return max(wire * self.byte_cost >> 10, self.packet_cost)


@dataclass
class Queue:
    """A virtual queue.

    Attributes:
        until: when it will be empty, 1/64 ns.
        known: this CPU has seen the limit before, so it keeps `marking`.
    """

    rules: Rules
    until: int = 0
    known: bool = False
    marking: bool = False
    passed: int = 0
    marked: int = 0
    dropped: int = 0

    def charge(self, now: int, frame: int, *, own: bool) -> Fate:
        """Judge by what is queued in front of the packet, whatever it costs itself.

        Args:
            now: in 1/64 ns.
            own: it is this limit's packet, and not one of a limit below.
        """
        rules, known = self.rules, self.known
        cost = rules.cost(frame)
        if not cost:
            return Fate.PASSED
        self.known = True
        start = max(self.until, now - rules.burst * NS)
        backlog = start - now
        spared = own and not rules.nested and frame <= SMALL_FRAME
        if backlog >= (rules.drop + rules.small * spared) * NS:
            return Fate.DROPPED
        self.until = start + cost
        mark = rules.mark * NS
        over = backlog >= (mark // 2 if known and self.marking else mark)
        self.marking = known and over and rules.action != Action.DROP
        return Fate.MARKED if over and rules.action != Action.DROP else Fate.PASSED

    def give_back(self, frame: int) -> None:
        """A parent refused what was charged here."""
        self.until -= self.rules.cost(frame)


@dataclass
class Limits:
    """A leaf with its parents, nearest first."""

    queues: dict[int, Queue] = field(default_factory=dict)

    def police(self, slot: int, now: int, frame: int) -> Fate:
        """One ECN-capable frame at `now` ns."""
        chain = [slot, *self.queues[slot].rules.parents]
        charged: list[tuple[Queue, Fate]] = []
        for level in chain:
            queue = self.queues[level]
            fate = queue.charge(now * NS, frame, own=level == slot)
            if fate is Fate.DROPPED and queue.rules.action in (Action.DROP, Action.MARK):
                for other, other_fate in charged:
                    if other_fate is not Fate.DROPPED:
                        other.give_back(frame)
                queue.dropped += 1
                if level != slot:
                    self.queues[slot].dropped += 1
                return Fate.DROPPED
            charged.append((queue, fate))
        marked = False
        for queue, fate in charged:
            if fate is Fate.DROPPED and queue.rules.action is Action.COUNT:
                queue.dropped += 1
                continue
            queue.passed += 1
            if fate is Fate.MARKED and queue.rules.action in (Action.MARK, Action.COUNT):
                queue.marked += 1
                marked |= queue.rules.action is Action.MARK
        return Fate.MARKED if marked else Fate.PASSED
