# SPDX-License-Identifier: Apache-2.0
"""Guards over a change of programs: whether what comes after it is worse than before.

A guard compares two windows of time. Shares are compared and not rates, because traffic
changes by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ilax.contract import schema
from ilax.hooks.places import CONTAINER, UPLINK_INGRESS, XDP_INGRESS
from ilax.watching import counters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Fewer drops say nothing, whatever their share.
_LEAST_DROPS = 10
# So many deliveries must have been due before none of them is a finding.
_LEAST_DELIVERIES = 20
# Part of the packets that arrived before, in the same time, that counts as no fewer.
_GOES_ON = 0.5

# Reasons that stand for an error of a program, not for something in a packet.
_ERRORS = ("drop_rewrite", "drop_bad_action", "drop_row_changed")

# How packets go in and out: hooks where they are counted first, and reasons that mean
# that they have been delivered.
_IN_HOOKS = (XDP_INGRESS.name, UPLINK_INGRESS.name)
_IN_REASONS = (
    "send_xdp", "send_peer", "send_handover", "pass_host", "pass_handover"
)  # fmt: skip
_OUT_HOOKS = (CONTAINER.name,)
_OUT_REASONS = ("send_local", "send_forward", "pass_host")


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a guard trips.

    Attributes:
        drop_rise: share of a hook's packets, 0..1, by which the drops of one reason may
            rise over what they were before.
        packets: a hook with fewer packets in a window is not judged by shares.
        errors: packets that met an error of a program, in a window.
        misses: runs that the kernel skipped, of all programs since they were loaded.
    """

    drop_rise: float = 0.01
    packets: int = 100
    errors: int = 10
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Trip:
    """A guard that has tripped.

    Attributes:
        guard: "drops", "errors", "misses" or "deliveries".
        subject: what it is about, such as "container drop_no_mapping".
        before, after: the figures that it compared, as text.
    """

    guard: str
    subject: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"guard {self.guard}: {self.subject}: before {self.before}, after {self.after}"


@dataclass(frozen=True)
class Reading:
    """Where everything stood at one moment.

    Attributes:
        time: seconds of the monotonic clock.
        packets: by hook and reason, shape (hooks, reasons).
        arrived: packets that the uplink ("in") and all ports ("out") have received.
        misses: of the current programs, by name.
    """

    time: float
    packets: NDArray[np.uint64]
    arrived: Mapping[str, int]
    misses: Mapping[str, int]


@dataclass(frozen=True)
class Window:
    """What happened between two readings; the same units."""

    seconds: float
    packets: NDArray[np.int64]
    arrived: Mapping[str, int]
    misses: Mapping[str, int]

    @classmethod
    def between(cls, first: Reading, last: Reading) -> Self:
        """The difference of two readings."""
        import numpy as np

        return cls(
            last.time - first.time,
            # Control may zero what it has counted; that is nothing negative.
            np.maximum(last.packets.astype(np.int64) - first.packets.astype(np.int64), 0),
            {way: max(n - first.arrived.get(way, 0), 0) for way, n in last.arrived.items()},
            dict(last.misses),
        )

    def of(self, hooks: tuple[str, ...], reasons: tuple[str, ...]) -> int:
        """Packets that some hooks counted by some reasons."""
        rows = [number for number, name in counters.hook_names().items() if name in hooks]
        columns = [number for number, name in counters.reason_names().items() if name in reasons]
        return int(self.packets[rows][:, columns].sum())

    def first(self, hooks: tuple[str, ...]) -> int:
        """Packets that were counted by the first of some hooks that counts any."""
        numbers = {name: number for number, name in counters.hook_names().items()}
        return next((n for hook in hooks if (n := int(self.packets[numbers[hook]].sum()))), 0)


def judge(before: Window, after: Window, limits: Limits) -> Trip | None:
    """The first guard that trips, if any does."""
    return (
        _misses(before, after, limits)
        or _errors(before, after, limits)
        or _drops(before, after, limits)
        or _deliveries(before, after)
    )


def _misses(before: Window, after: Window, limits: Limits) -> Trip | None:
    for name, count in after.misses.items():
        if count > limits.misses:
            return Trip("misses", name, str(before.misses.get(name, 0)), f"{count} runs skipped")
    return None


def _errors(before: Window, after: Window, limits: Limits) -> Trip | None:
    for number, hook in counters.hook_names().items():
        for reason, name in counters.reason_names().items():
            if name not in _ERRORS:
                continue
            was, now = (_share(window, number, reason) for window in (before, after))
            count = int(after.packets[number, reason])
            if count > limits.errors and now > was:
                return Trip("errors", f"{hook} {name}", _percent(was), f"{count} packets")
    return None


def _deliveries(before: Window, after: Window) -> Trip | None:
    """None is delivered any more, where so many should be that this is no chance.

    Senders may just have stopped: so either as much arrives as before, or the program
    does not even count what arrives.
    """
    for way, hooks, reasons in (
        ("in", _IN_HOOKS, _IN_REASONS),
        ("out", _OUT_HOOKS, _OUT_REASONS),
    ):
        was, now = (max(w.first(hooks), w.arrived.get(way, 0)) for w in (before, after))
        delivered = before.of(hooks, reasons)
        if not was or not delivered or after.of(hooks, reasons):
            continue
        due = delivered / was * now
        if now * before.seconds < _GOES_ON * was * after.seconds:
            due = min(due, now - after.first(hooks))
        if due >= _LEAST_DELIVERIES:
            where = "from the uplink" if way == "in" else "from containers"
            return Trip(
                "deliveries", f"packets {where}", f"{delivered} of {was} delivered", f"0 of {now}"
            )
    return None


def _drops(before: Window, after: Window, limits: Limits) -> Trip | None:
    first = schema.enum("ilax_reason_block")["ILAX_DROP_FIRST"]
    names = counters.reason_names()
    for number, hook in counters.hook_names().items():
        if after.packets[number].sum() < limits.packets:
            continue
        for reason in range(first, after.packets.shape[1]):
            was, now = (_share(window, number, reason) for window in (before, after))
            if now - was > limits.drop_rise and after.packets[number, reason] >= _LEAST_DROPS:
                name = names.get(reason, f"reason_{reason}")
                return Trip("drops", f"{hook} {name}", f"{_percent(was)} of packets", _percent(now))
    return None


def _share(window: Window, hook: int, reason: int) -> float:
    total = int(window.packets[hook].sum())
    return int(window.packets[hook, reason]) / total if total else 0.0


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
