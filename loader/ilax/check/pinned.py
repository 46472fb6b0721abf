# SPDX-License-Identifier: Apache-2.0
"""The pins of an instance: whether it is there, whole, ours to read, and tidy."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shlex import quote

from ilax.check import restore
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.view import View
from ilax.errors import LayoutError, NotFoundError, OlderMinorError
from ilax.hooks import program_set, xdp_slot
from ilax.instances.instance import own_netns
from ilax.instances.pins import bpffs_is_mounted, remove_folder
from ilax.system import namespaces

NOT_UP = kind("instance.not-up", Severity.ERROR, "there is no such instance")
UNFINISHED = kind(
    "instance.unfinished", Severity.ERROR,
    "the first `up` was killed, and what it was asked for is written nowhere: run it again, "
    "or `down`",
)  # fmt: skip
REMAINS = kind(
    "instance.remains", Severity.ERROR,
    "a `down` was killed, or an `up` before it had made its maps", Remedy.DOWN,
)  # fmt: skip
INCOMPLETE = kind(
    "instance.incomplete", Severity.ERROR, "maps of the instance are missing; programs may run on"
)
OLDER = kind(
    "instance.older", Severity.ERROR,
    "the maps are of an older minor of the contract: this ilax has not taken them over yet",
)  # fmt: skip
LAYOUT = kind(
    "instance.layout", Severity.ERROR, "the maps are of another contract than this ilax knows"
)
UNREADABLE = kind(
    "instance.unreadable", Severity.ERROR, "the maps cannot be opened, so nothing can be compared"
)
ELSEWHERE = kind(
    "instance.elsewhere", Severity.ERROR,
    "the instance serves another network namespace; only its pins were looked at",
)  # fmt: skip
NO_NAMESPACE = kind(
    "instance.no-namespace", Severity.ERROR,
    "the instance serves a network namespace that is in sight nowhere: it is gone",
)  # fmt: skip
MODE = kind(
    "pin.mode", Severity.WARNING, "others than root may enter a folder of pins", Remedy.STEP
)
LEFTOVER = kind("pin.leftover", Severity.WARNING, "the trace of a killed command", Remedy.STEP)


@check(Needs.NOTHING)
def presence(view: View) -> Iterator[Finding]:
    """Why the maps cannot be used."""
    problem, pins = view.problem, view.pins
    if problem is None:
        return
    seen = str(problem).partition(";")[0]
    up = restore.command(view)
    if isinstance(problem, OlderMinorError):
        yield OLDER.found(
            pins.maps, seen=seen, expected="maps of this minor", command=view.command("upgrade")
        )
    elif isinstance(problem, LayoutError):
        yield LAYOUT.found(
            pins.base,
            seen=seen,
            expected="maps of this ilax",
            command=view.command("down") + "  # with the ilax that made them",
        )
    elif not isinstance(problem, NotFoundError):
        yield UNREADABLE.found(
            pins.maps,
            seen=seen,
            expected="maps that can be opened",
            command=view.command("check") + "  # as root",
        )
    elif not bpffs_is_mounted():
        return  # it may be up all the same: host.no-bpffs says why that cannot be seen
    elif not pins.base.is_dir():
        yield NOT_UP.found(view.name, seen="no pins", expected="an instance", command=up)
    elif not pins.maps.is_dir():
        yield REMAINS.found(
            view.name,
            seen="folders without maps",
            expected="an instance, or nothing of it",
            command=view.command("down"),
        )
    else:
        yield INCOMPLETE.found(
            view.name,
            seen=seen,
            expected="all maps of the contract",
            command=f"{view.command('down')} && {up}",
        )


@check(Needs.MAPS)
def place(view: View) -> Iterator[Finding]:
    """Whether it is finished, and of this network namespace."""
    if view.netns != own_netns():
        path = namespaces.visible().get(view.netns)
        seen = f"the instance serves net:[{view.netns}], this is net:[{own_netns()}]"
        if path is None:
            yield NO_NAMESPACE.found(
                view.name,
                seen=seen,
                expected="a namespace that is there",
                command=view.command("down --force"),
            )
        else:
            yield ELSEWHERE.found(
                view.name,
                seen=seen,
                expected="check runs in the namespace of the instance",
                command=f"nsenter --net={quote(str(path))} {view.command('check')}",
            )
    elif view.pins.doomed.is_dir():
        yield REMAINS.found(
            view.name,
            seen=f"{view.pins.doomed}",
            expected="nothing, as `down` was asked for",
            command=view.command("down"),
        )
    elif view.known is None and view.prefixes.bad:
        return  # those rows are named, and may have been whole before
    elif not view.uplink_index or view.known is None or view.unfinished:
        part = "programs" if view.known else "prefixes"
        yield UNFINISHED.found(
            view.name,
            seen=f"maps without {part if view.uplink_index else 'uplink'}",
            expected="uplink, prefixes and programs",
            command=view.command("down") + "  # or the same `up` as before",
        )


@check(Needs.NOTHING)
def folders(view: View) -> Iterator[Finding]:
    """Who may enter the folders of pins; what lies in them that nobody needs."""
    pins = view.pins
    inside = sorted(pins.version.iterdir()) if pins.version.is_dir() else []
    for folder in (pins.root, pins.base, pins.version, *inside):
        if not folder.is_dir():
            continue
        found = folder.stat()
        mode, owner = stat.S_IMODE(found.st_mode), found.st_uid
        if mode & 0o077 or owner not in (0, os.geteuid()):
            path = quote(str(folder))
            yield MODE.found(
                folder,
                seen=f"mode {mode:04o}, owner {owner}",
                expected="mode 0700, owner 0",
                command=f"chown 0 {path} && chmod 0700 {path}",
                step=partial(_close, folder),
            )
    yield from _leftovers(view)


def _close(folder: Path) -> None:
    # The owner first: the mode is theirs to change.
    os.chown(folder, 0, -1)
    folder.chmod(0o700)


def _leftovers(view: View) -> Iterator[Finding]:
    pins = view.pins
    fix = view.command("check --fix")
    for path in (pins.programs_new, pins.dropped):
        if view.problem is None and path.is_dir():
            seen = "a set of programs that was to get its place, or to go"
            yield _leftover(path, seen, fix, partial(program_set.settle, pins))
    # Where a slot is not ours any more, that is the finding.
    ours = view.problem is None and all(xdp_slot.holds_ours(pins, slot) for slot in view.slots)
    for path in xdp_slot.leftovers(pins) if ours else ():
        seen = "of a slot that our XDP program is not in"
        yield _leftover(path, seen, fix, partial(xdp_slot.tidy, pins))
    found = sorted(pins.programs.glob("*_new"))
    # Without maps beside it, or with older ones, `up` needs to look at it.
    if view.problem is None and pins.maps_new.is_dir():
        found.append(pins.maps_new)
    for path in found:
        seen = "a pin under a name for the time of a change"
        yield _leftover(path, seen, f"rm -r {quote(str(path))}", partial(_remove, path))


def _leftover(path: Path, seen: str, command: str, step: Callable[[], object]) -> Finding:
    return LEFTOVER.found(path, seen=seen, expected="nothing", command=command, step=step)


def _remove(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)
