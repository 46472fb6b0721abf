# SPDX-License-Identifier: Apache-2.0
"""`ilax check`: compares what is wanted with what is there, and mends what is safe.

`look` reads only. `mend` does what findings say is safe, and looks again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

# Importing a subject registers its kinds and checks.
from ilax.check import (
    hooks,
    host,
    inside,
    limits,
    orphans,
    pinned,
    prefixes,
    programs,
    restore,
    routing,
    rows,
    tasks,
    uplink,
)
from ilax.check.model import CHECKS, KINDS, Check, Finding, Kind, Remedy, Severity, kind
from ilax.check.view import View
from ilax.errors import IlaxError, without_effect
from ilax.instances.pins import PinFolder

__all__ = ["KINDS", "Finding", "Kind", "Mended", "Remedy", "Report", "Severity", "look", "mend"]

SUBJECTS = (
    hooks, host, inside, limits, orphans, pinned, prefixes, programs, routing, rows, tasks, uplink
)  # fmt: skip

FAILED = kind("check.failed", Severity.WARNING, "a check could not be made, or not to its end")

# One mend may uncover what the next one has to mend: a device that is up again
# has lost its routes.
_ROUNDS = 5


@dataclass(frozen=True)
class Mended:
    """What `--fix` did, or tried.

    Attributes:
        problem: why it failed; "" if it did not.
    """

    id: str
    object: str
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        checks: how many checks were made.
        findings: worst first.
        mended: what was done about earlier findings.
    """

    instance: str
    checks: int
    findings: list[Finding]
    mended: list[Mended] = field(default_factory=list)

    def worst(self) -> Severity | None:
        """The highest severity; None without findings."""
        return self.findings[0].severity if self.findings else None


def look(name: str) -> Report:
    """Make all checks that make sense; reads only.

    What is found may be half of what another command is just doing. So it is looked
    at again while other commands wait; they never wait for long where all is well.
    """
    report = _look(name)
    return _look(name, alone=True) if report.findings else report


def _look(name: str, *, alone: bool = False) -> Report:
    """One time.

    Args:
        alone: keep other commands away meanwhile.
    """
    with ExitStack() as stack:
        with _locked(name) if alone else contextlib.nullcontext():
            view = stack.enter_context(View.open(name))
            useful = [one for one in CHECKS if one.needs <= view.level]
            findings = [f for one in useful if not one.unlocked for f in _run(one, view)]
        findings += [f for one in useful if one.unlocked for f in _run(one, view)]
        findings = _without_unsafe(view, findings)
    order = list(Severity)
    findings.sort(key=lambda f: order.index(f.severity))
    return Report(name, len(useful), findings)


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    pins = PinFolder(name)
    # Taking the lock makes the folder that carries it, which reading must not.
    with pins.lock(to_read=True) if pins.base.is_dir() else contextlib.nullcontext():
        yield


def _run(one: Check, view: View) -> Iterator[Finding]:
    try:
        yield from one.look(view)
    # A check that breaks must not hide what the others find.
    except Exception as error:
        text = without_effect(str(error))
        yield FAILED.found(
            one.name,
            seen=text if isinstance(error, IlaxError) else f"{type(error).__name__}: {text}",
            expected="an answer",
            command=view.command("check") + "  # as root",
        )


def _without_unsafe(view: View, findings: list[Finding]) -> list[Finding]:
    """Leave to the operator what would be an upgrade."""
    if not any(f.remedy is Remedy.UP for f in findings):
        return findings
    try:
        safe = restore.is_safe(view)
    except IlaxError:
        safe = False
    return [
        replace(f, remedy=Remedy.NOTHING) if f.remedy is Remedy.UP and not safe else f
        for f in findings
    ]


def mend(name: str) -> Report:
    """Do what the findings say is safe, then look again.

    It is looked and mended under one lock: whatever another command has made since
    would be undone by what was decided before.
    """
    done: list[Mended] = []
    if PinFolder(name).base.is_dir():
        # Programs are loaded to compare them, once: not while other commands wait.
        with View.open(name) as view:
            _ = view.level
        for number in range(_ROUNDS):
            steps = _round(name, first=not number)
            done += steps
            if all(step.problem for step in steps):
                break
    report = _look(name, alone=True)
    gc = _of(report.findings, Remedy.LIMITS)
    if gc:
        # It looks again by itself, under the lock.
        done += _try(gc, lambda: limits.collect(name))
        report = _look(name, alone=True)
    return replace(report, mended=done)


def _of(findings: list[Finding], remedy: Remedy) -> list[Finding]:
    return [found for found in findings if found.remedy is remedy]


def _try(findings: list[Finding], action: Callable[[], object]) -> list[Mended]:
    """One action that is to mend several findings."""
    problem = ""
    if findings:
        try:
            action()
        except (IlaxError, OSError) as error:
            problem = str(error)
    return [Mended(f.id, f.object, problem) for f in findings]


def _round(name: str, *, first: bool) -> list[Mended]:
    """Mend under one lock what is seen under it.

    Args:
        first: also end a `down` or an `up` that was interrupted.
    """
    done: list[Mended] = []
    with PinFolder(name).lock(), View.open(name) as view:
        found = [finding for one in _under_lock(view) for finding in _run(one, view)]
        if first:
            whole = _without_unsafe(view, found)
            done += _try(_of(whole, Remedy.DOWN), lambda: restore.down(view))
            # Before single steps, since it brings the programs that they attach.
            done += _try(_of(whole, Remedy.UP), lambda: restore.up(view))
            if any(not one.problem for one in done):
                return done  # what was seen is not there any more
        for finding in found:
            if finding.step is not None:
                done += _try([finding], finding.step)
    return done


def _under_lock(view: View) -> list[Check]:
    """Checks that make sense, and that whoever holds the lock can make."""
    return [one for one in CHECKS if one.needs <= view.level and not one.unlocked]
