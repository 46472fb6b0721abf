# SPDX-License-Identifier: Apache-2.0
"""What one limit says: from rates and times to the costs of the contract and back.

Nothing here touches a map. All arithmetic is exact; a cost is the only thing that
is rounded, once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from ilax import units
from ilax.contract import schema
from ilax.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

# Takes an option back, where there is no zero to do it.
NONE: Literal["none"] = "none"

MS = 1_000_000
_TIME_MAX = 0xFFFFFFFF  # ns; the contract's times have 32 bits
_TAG_MAX = 0xFFFFFFFF
# Costs below this are more than 0.4 % beside the rate that was asked for.
_COST_MIN = 128

_BURST = 1 * MS
_DROP = {"drop": 1 * MS, "count": 1 * MS, "mark": 4 * MS, "tag": 4 * MS}
_MARK = MS // 2

# What a CPU may borrow at a time, and all of them together, in ns.
_CHUNK_MAX = 20_000
_CHUNKS_MAX = 500_000
_CHUNK_MIN = 1_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a row of `ilax_limits`, in the units of the contract.

    Attributes:
        byte_cost: (1/64 ns << 10) for a byte, 0 = bytes are free.
        packet_cost: 1/64 ns for a packet, 0 = packets are free.
        burst, mark, drop, small: ns.
        action: "drop", "mark", "tag" or "count".
    """

    byte_cost: int = 0
    packet_cost: int = 0
    burst: int = 0
    mark: int = 0
    drop: int = 0
    small: int = 0
    action: str = "drop"
    tag_mark: int = 0
    tag_priority: int = 0

    @property
    def limits(self) -> bool:
        """Whether anything costs anything."""
        return bool(self.byte_cost or self.packet_cost)

    @property
    def rate(self) -> int | None:
        """Bits per second: the roundest number that has this cost."""
        return _roundest(_bytes_per_cost(), self.byte_cost)

    @property
    def packets(self) -> int | float | None:
        """Packets per second: the roundest number that has this cost."""
        per_cost = _packets_per_cost()
        whole = _roundest(per_cost, self.packet_cost)
        if whole is not None and _nearest(Fraction(per_cost, whole)) == self.packet_cost:
            return whole
        # A few packets only: no whole number comes near enough.
        return per_cost / self.packet_cost if self.packet_cost else None

    def time_of(self, frame: int) -> int:
        """Nanoseconds that a frame of so many charged bytes takes, rounded up."""
        shift = schema.enum("ilax_limit_unit")
        by_bytes = frame * self.byte_cost >> shift["ILAX_BYTE_COST_SHIFT"]
        return -(-max(by_bytes, self.packet_cost) >> shift["ILAX_TIME_SHIFT"])


# A row that limits nothing itself, for a cgroup that an endpoint names.
EMPTY = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an operator asks of a limit. None leaves a value as it is, or at its default.

    Attributes:
        rate: bits per second; NONE takes it back.
        packets: packets per second; NONE takes it back.
        burst, mark, drop, small: ns.
        parent: "auto", "none", or the number of a cgroup that has a limit.
    """

    rate: int | Literal["none"] | None = None
    packets: Fraction | int | Literal["none"] | None = None
    burst: int | None = None
    mark: int | None = None
    drop: int | None = None
    small: int | None = None
    action: str | None = None
    tag_mark: int | None = None
    tag_priority: int | None = None
    parent: int | Literal["auto", "none"] | None = None


def actions() -> dict[str, int]:
    """Actions by the name that the CLI uses."""
    return {
        name.removeprefix("ILAX_LIMIT_").lower(): value
        for name, value in schema.enum("ilax_limit_action").items()
    }


def _bytes_per_cost() -> int:
    unit = schema.enum("ilax_limit_unit")
    return int(8 * 10**9 << unit["ILAX_TIME_SHIFT"] + unit["ILAX_BYTE_COST_SHIFT"])


def _packets_per_cost() -> int:
    return 10**9 << schema.enum("ilax_limit_unit")["ILAX_TIME_SHIFT"]


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def byte_cost(rate: int) -> int:
    """Cost of a byte at so many bits per second.

    Raises:
        UsageError: not above zero, or too high for the cost to tell it.
    """
    if rate <= 0:
        raise UsageError(f"a rate of {rate} bit/s is not above zero; nothing was changed")
    cost = _nearest(Fraction(_bytes_per_cost(), rate))
    if cost < _COST_MIN:
        most = units.format_rate(_bytes_per_cost() // _COST_MIN)
        raise UsageError(
            f"a rate of {units.format_rate(rate)} is too high: at most {most} can be told apart; "
            "nothing was changed"
        )
    return cost


def packet_cost(packets: Fraction | int) -> int:
    """Cost of a packet at so many packets per second.

    Raises:
        UsageError: not above zero, or too high for the cost to tell it.
    """
    if packets <= 0:
        raise UsageError(f"{packets} packets/s is not above zero; nothing was changed")
    cost = _nearest(_packets_per_cost() / Fraction(packets))
    if cost < _COST_MIN:
        most = units.format_packets(_packets_per_cost() // _COST_MIN)
        raise UsageError(
            f"{units.format_packets(packets)} packets/s is too high: at most {most} can be told "
            "apart; nothing was changed"
        )
    return cost


def _roundest(per_cost: int, cost: int) -> int | None:
    """The whole number with the fewest digits that is rounded to this cost."""
    if not cost:
        return None
    exact = Fraction(per_cost, cost)
    for digits in range(15, -1, -1):
        unit = int(10**digits)
        candidate = _nearest(exact / unit) * unit
        if candidate and _nearest(Fraction(per_cost, candidate)) == cost:
            return candidate
    return _nearest(exact) or None


# --- defaults ----------------------------------------------------------------


def _defaults(rules: Rules, frame: int) -> dict[str, int]:
    """What times are if nobody chooses them, by costs, action and drop threshold."""
    drop = _DROP.get(rules.action, MS)
    return {
        "burst": min(max(_BURST, 2 * rules.time_of(frame)), _TIME_MAX),
        "drop": drop,
        "mark": 0 if rules.action == "tag" else min(_MARK, rules.drop // 2),
        # A flood of short frames would leave nothing to longer ones.
        "small": 0,
    }


def decide(wish: Wish, old: Rules | None, frame: int) -> Rules:
    """The rules that a limit gets.

    Values that nobody has chosen follow: a burst at its default is computed anew
    when the rate changes, and so on.

    Args:
        old: the rules in force; None if there are none.
        frame: charged bytes of the longest frame that the uplink carries.

    Raises:
        UsageError: what was asked makes no sense.
    """
    was = old if old is not None and old.limits else None
    costs = Rules(
        byte_cost=_cost(wish.rate, byte_cost, was.byte_cost if was else 0),
        packet_cost=_cost(wish.packets, packet_cost, was.packet_cost if was else 0),
    )
    if not costs.limits:
        raise UsageError(
            "a limit needs a rate or packets/s; nothing was changed",
            hint="give --rate or --pps, or remove the limit: ilax limit del",
        )
    action = wish.action or (was.action if was else "drop")
    if action not in actions():
        raise UsageError(
            f"{action!r} is no action; choose one of {', '.join(actions())}; nothing was changed"
        )
    chosen: dict[str, int] = {}
    if was:
        defaults = _defaults(was, frame)
        chosen = {n: getattr(was, n) for n in defaults if getattr(was, n) != defaults[n]}
    asked = {"burst": wish.burst, "mark": wish.mark, "drop": wish.drop, "small": wish.small}
    chosen |= {name: ns for name, ns in asked.items() if ns is not None}
    drop = chosen.get("drop", _DROP[action])
    unseen = was is not None and was.action == "drop" and wish.mark is None
    if unseen and chosen.get("mark", 0) > drop:
        # Nobody was shown it, so it must not be what a new action fails of.
        del chosen["mark"]
    rules = replace(
        costs,
        action=action,
        drop=drop,
        tag_mark=_tag(wish.tag_mark, was.tag_mark if was else 0, action, "--tag-mark"),
        tag_priority=_tag(
            wish.tag_priority, was.tag_priority if was else 0, action, "--tag-priority"
        ),
    )
    times: dict[str, Any] = _defaults(rules, frame) | chosen
    rules = replace(rules, **times)
    _check(rules, frame)
    return rules


def _cost(asked: Any, cost: Any, old: int) -> int:
    if asked is None:
        return old
    return 0 if asked == NONE else int(cost(asked))


def _tag(asked: int | None, old: int, action: str, option: str) -> int:
    if action != "tag":
        if asked is not None:
            raise UsageError(
                f"{option} has no meaning for action {action}; nothing was changed",
                hint="tags need --action tag",
            )
        return 0
    value = old if asked is None else asked
    if not 0 <= value <= _TAG_MAX:
        raise UsageError(f"{option} {value} does not fit into 32 bits; nothing was changed")
    return value


def _check(rules: Rules, frame: int) -> None:
    for name, ns in (
        ("burst", rules.burst), ("mark threshold", rules.mark), ("drop threshold", rules.drop),
        ("extra of small packets", rules.small),
    ):  # fmt: skip
        if not 0 <= ns <= _TIME_MAX:
            raise UsageError(
                f"a {name} of {units.format_time(ns)} does not fit: times go from 0 to "
                f"{units.format_time(_TIME_MAX)}; nothing was changed"
            )
    needed = rules.time_of(frame)
    if rules.burst < needed:
        too_slow = needed > _TIME_MAX
        raise UsageError(
            f"one frame of {frame} bytes takes {units.format_time(needed)} at this limit, "
            f"and a burst of {units.format_time(rules.burst)} does not hold one; "
            "nothing was changed",
            hint=f"a burst has at most {units.format_time(_TIME_MAX)}: choose a higher rate"
            if too_slow
            else "choose a longer --burst or a higher rate",
        )
    if rules.action != "drop" and rules.mark > rules.drop:
        raise UsageError(
            f"the mark threshold ({units.format_time(rules.mark)}) is above the drop threshold "
            f"({units.format_time(rules.drop)}) and would never be reached; nothing was changed"
        )
    if rules.action == "tag" and not (rules.tag_mark or rules.tag_priority):
        raise UsageError(
            "action tag without a tag does nothing; nothing was changed",
            hint="give --tag-mark or --tag-priority",
        )


def chunk(burst: int, cpus: int) -> int:
    """Exponent of the time that a CPU borrows at once; 0 = each packet by itself."""
    most = min(_CHUNK_MAX, burst // 4, _CHUNKS_MAX // cpus)
    exponent = max(most, 1).bit_length() - 1
    return exponent if 1 << exponent >= _CHUNK_MIN else 0


# --- rows --------------------------------------------------------------------


def from_row(row: np.void | Any) -> Rules:
    """The rules of a row of `ilax_limits`."""
    names = {value: name for name, value in actions().items()}
    return Rules(
        byte_cost=int(row["byte_cost"]),
        packet_cost=int(row["packet_cost"]),
        burst=int(row["burst"]),
        mark=int(row["mark"]),
        drop=int(row["drop"]),
        small=int(row["small"]),
        action=names.get(int(row["action"]), str(row["action"])),
        tag_mark=int(row["tag_mark"]),
        tag_priority=int(row["tag_prio"]),
    )


def fill(row: np.void | Any, rules: Rules, cpus: int) -> None:
    """Write rules into a row."""
    row["byte_cost"], row["packet_cost"] = rules.byte_cost, rules.packet_cost
    row["burst"], row["mark"], row["drop"] = rules.burst, rules.mark, rules.drop
    row["small"] = rules.small
    known = actions()
    # A number: what another daemon has written, and is put back.
    row["action"] = known[rules.action] if rules.action in known else int(rules.action)
    row["tag_mark"], row["tag_prio"] = rules.tag_mark, rules.tag_priority
    row["chunk"] = chunk(rules.burst, cpus) if rules.limits else 0
