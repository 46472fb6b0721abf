# SPDX-License-Identifier: Apache-2.0
"""What a check finds, and the registry of all that can be found.

Each subject has a module, which declares its kinds of findings beside the
functions that look for them. Importing `ilax.check` fills both registries.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ilax.check.view import View


class Severity(enum.StrEnum):
    """How bad it is."""

    ERROR = "error"  # packets are lost, or pass unchecked
    WARNING = "warning"  # works, but not as wanted, or not for long
    INFO = "info"  # worth knowing


class Remedy(enum.StrEnum):
    """What `--fix` does about it."""

    NOTHING = "nothing"  # the operator decides; the command is for them
    UP = "up"  # `ilax up` with what the maps say
    STEP = "step"  # the finding's own step, under the lock
    LIMITS = "limits"  # `ilax limit gc`
    DOWN = "down"  # `ilax down`


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        id: stable, such as "endpoint.no-neighbour".
        object: what it is about: an address, device, pin or setting.
        seen: what is there.
        expected: what should be.
        command: mends it.
        remedy: what `--fix` does.
        step: of remedy STEP; changes something, under the instances' lock.
    """

    id: str
    severity: Severity
    object: str
    seen: str
    expected: str
    command: str
    remedy: Remedy = Remedy.NOTHING
    step: Callable[[], Any] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.

    Attributes:
        meaning: what is wrong, and what comes of it.
    """

    id: str
    severity: Severity
    meaning: str
    remedy: Remedy

    def found(
        self,
        subject: object,
        *,
        seen: str,
        expected: str,
        command: str,
        step: Callable[[], object] | None = None,
    ) -> Finding:
        """A finding of this kind.

        Args:
            subject: what it is about.
            step: mends it; a kind of remedy STEP whose findings has none leaves
                that one to the operator.
        """
        remedy = self.remedy
        if remedy is Remedy.STEP and step is None:
            remedy = Remedy.NOTHING
        return Finding(self.id, self.severity, str(subject), seen, expected, command, remedy, step)


class Needs(enum.IntEnum):
    """How much must be there for a check to make sense."""

    NOTHING = 0
    MAPS = 1  # the instance's maps can be read
    HOME = 2  # and this is the network namespace that they are about


@dataclass(frozen=True, slots=True)
class Check:
    """One function that looks for findings.

    Attributes:
        unlocked: it needs no lock against other loaders, or takes it by itself.
    """

    name: str
    look: Callable[[View], Iterator[Finding]]
    needs: Needs
    unlocked: bool


KINDS: dict[str, Kind] = {}
CHECKS: list[Check] = []


def kind(name: str, severity: Severity, meaning: str, remedy: Remedy = Remedy.NOTHING) -> Kind:
    """Declare a kind of finding."""
    assert name not in KINDS, name
    made = KINDS[name] = Kind(name, severity, meaning, remedy)
    return made


Look = Callable[["View"], Iterator[Finding]]


def check(needs: Needs, *, unlocked: bool = False) -> Callable[[Look], Look]:
    """Declare a function that looks for findings; they run in order of declaration."""

    def register(look: Look) -> Look:
        module = look.__module__.rpartition(".")[2]
        CHECKS.append(Check(f"{module}.{look.__name__}", look, needs, unlocked))
        return look

    return register
