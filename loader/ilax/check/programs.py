# SPDX-License-Identifier: Apache-2.0
"""The loaded programs against those of this installation."""

from __future__ import annotations

from collections.abc import Iterator

from ilax.check import installed, restore
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.view import View
from ilax.hooks.program_set import OBJECTS

NOT_PINNED = kind(
    "program.not-pinned", Severity.ERROR,
    "a program cannot be put on new hooks: its pin is missing", Remedy.UP,
)  # fmt: skip
DIFFERS = kind(
    "program.differs", Severity.WARNING,
    "the loaded program is not the one of this installation; `up` would swap it",
)  # fmt: skip


@check(Needs.HOME)
def pinned(view: View) -> Iterator[Finding]:
    """Each program is pinned."""
    for name in OBJECTS.values():
        if name not in view.programs:
            yield NOT_PINNED.found(
                name,
                seen="no pin",
                expected=str(view.pins.programs / name),
                command=restore.command(view),
            )


@check(Needs.HOME, unlocked=True)
def installed_ones(view: View) -> Iterator[Finding]:
    """Each pinned program is the one that this ilax would load."""
    for name, tag in installed.tags(view.instance.maps).items():
        loaded = view.programs.get(name)
        if loaded is not None and loaded[1] != tag:
            yield DIFFERS.found(
                name,
                seen=f"program {loaded[0]} with tag {loaded[1]}",
                expected=f"tag {tag}",
                command=restore.command(view),
            )
