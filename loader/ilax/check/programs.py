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

OTHER_MAP = kind(
    "program.other-map", Severity.ERROR,
    "programs work on another map than the one that is pinned: no packet meets the rows that "
    "commands write; nothing else is looked at until it does",
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
    for name, ours in installed.programs(view.instance.maps).items():
        loaded = view.programs.get(name)
        if loaded is not None and loaded.tag != ours.tag:
            yield DIFFERS.found(
                name,
                seen=f"program {loaded.id} with tag {loaded.tag}",
                expected=f"tag {ours.tag}",
                command=restore.command(view),
            )


@check(Needs.MAPS)
def on_its_maps(view: View) -> Iterator[Finding]:
    """Programs read and write the maps that are pinned."""
    for (name, number), users in view.other_maps.items():
        pin = view.pins.maps / name
        yield OTHER_MAP.found(
            pin,
            seen=f"map {view.instance.maps[name].id}, but {', '.join(users)} use map {number}",
            expected=f"map {number}",
            command=f"rm {pin} && bpftool map pin id {number} {pin}",
        )
