# SPDX-License-Identifier: Apache-2.0
"""The programs of an instance as one set: loading it, pinning it, keeping the one before.

`programs/` holds the set that new hooks are given, `previous/` the one before it. A
set is pinned whole in `programs_new/` and gets its place by an exchange of folders,
so a crash leaves whole sets only. What an interrupted change has left in `programs_new/`
is told by age: a set that is being prepared is younger than that in `programs/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ilax.bpf import Map, Object, Program
from ilax.contract import schema
from ilax.errors import ConflictError, NotFoundError, UsageError
from ilax.hooks import places
from ilax.instances.pins import PinFolder, remove_folder
from ilax.instances.transaction import Transaction
from ilax.system import _libc

Programs = dict[str, Program]

# Of XDP, with "frags" and without.
_XDP, _LINEAR = places.XDP_INGRESS.objects

# Object -> its one program; the name of the pin follows from it.
OBJECTS = {kind.object: kind.program for kind in places.ALL}


def object_paths(folder: Path | None = None) -> dict[str, Path]:
    """File of each object by name, with both kinds of XDP.

    Args:
        folder: objects to use instead of the shipped ones of the same names.

    Raises:
        UsageError: there is none of these names in the folder.
    """
    paths = {name: schema.object_path(name) for name in (*OBJECTS, _LINEAR)}
    if folder is not None:
        own = {name: folder / path.name for name, path in paths.items()}
        own = {name: path for name, path in own.items() if path.is_file()}
        if not own:
            names = ", ".join(path.name for path in paths.values())
            raise UsageError(f"{folder} has none of {names}; nothing was changed")
        paths |= own
    return paths


def load(maps: Mapping[str, Map], folder: Path | None = None, *, linear: bool = False) -> Programs:
    """All programs over maps that exist, attached to nothing yet.

    Args:
        folder: see `object_paths`.
        linear: XDP without "frags".

    Raises:
        UsageError: an object has not the program that it should have, or the folder has
            XDP of the other kind only.
        VerifierError: the kernel refused a program.
    """
    paths = object_paths(folder)
    xdp, other = (_LINEAR, _XDP) if linear else (_XDP, _LINEAR)
    if paths[other].parent == folder != paths[xdp].parent:
        raise UsageError(
            f"{folder} has {paths[other].name}, but the instance needs {paths[xdp].name}, which "
            "is not there; nothing was changed",
            hint=f"compile that one, too, or move {paths[other].name} away to keep the shipped XDP",
        )
    programs: Programs = {}
    with ExitStack() as undo:
        for name, program in OBJECTS.items():
            path = paths[xdp if name == _XDP else name]
            programs[program] = undo.enter_context(load_one(maps, path, program))
        undo.pop_all()
    return programs


def load_one(maps: Mapping[str, Map], path: Path, program: str) -> Program:
    """The program of one object over maps that exist.

    Raises:
        UsageError: the object has no program of that name.
        VerifierError: the kernel refused it.
    """
    with Object.open(path) as obj:
        if program not in obj.programs:
            raise UsageError(f"{path} has no program {program}; nothing was changed")
        obj.reuse_maps(dict(maps))
        obj.load()
        return obj.programs[program].open()


@contextmanager
def pinned(folder: Path) -> Iterator[Programs]:
    """The programs pinned in a folder, by name; none if there is no folder."""
    with ExitStack() as stack:
        yield {
            pin.name: stack.enter_context(Program.open_pinned(pin))
            for pin in (sorted(folder.iterdir()) if folder.is_dir() else ())
        }


def settle(pins: PinFolder) -> None:
    """Finish or undo what a killed loader has left between two folders."""
    with pinned(pins.programs_new) as waiting, pinned(pins.programs) as current:
        replaced = bool(waiting) and bool(current) and _age(waiting) < _age(current)
    if replaced:
        if pins.previous.is_dir():
            remove_folder(pins.dropped)
            pins.previous.rename(pins.dropped)
        pins.programs_new.rename(pins.previous)
    remove_folder(pins.programs_new)
    remove_folder(pins.dropped)


def _age(programs: Programs) -> int:
    """When the oldest was loaded: a set may have been completed by younger ones."""
    return min(program.load_time for program in programs.values())


def install(
    pins: PinFolder, programs: Programs, change: Transaction, *, keep_previous: bool = False
) -> None:
    """Make a set that was just loaded the current one; what it replaces becomes the previous.

    Args:
        keep_previous: what it replaces was never at work as a whole and is dropped.
    """
    settle(pins)
    pins.programs_new.mkdir(mode=0o700)
    change.on_failure(remove_folder, pins.programs_new)
    for name, program in programs.items():
        program.pin(pins.programs_new / name)
    _exchange(pins.programs, pins.programs_new, change)
    if not keep_previous and any(pins.programs_new.iterdir()):
        _retire(pins, programs, change)
    for folder in (pins.programs_new, pins.dropped):
        change.on_success(remove_folder, folder)


def _retire(pins: PinFolder, programs: Programs, change: Transaction) -> None:
    """What stood in `programs/` goes to `previous/`; what stood there can come back."""
    for name, program in programs.items():
        # A set of an older minor lacks programs, which work beside its own.
        pin = pins.programs_new / name
        if not pin.exists():
            program.pin(pin)
            change.on_failure(pin.unlink)
    if pins.previous.is_dir():
        _rename(pins.previous, pins.dropped, change)
    _rename(pins.programs_new, pins.previous, change)


def swap_places(pins: PinFolder, change: Transaction) -> None:
    """The previous set becomes the current one, and the other way round."""
    _exchange(pins.programs, pins.previous, change)


def _exchange(one: Path, other: Path, change: Transaction) -> None:
    _libc.exchange(one, other)
    change.on_failure(_libc.exchange, one, other)


def forget_previous(pins: PinFolder, older: Programs) -> None:
    """Drop the previous set, in favour of an older one if there is any.

    Args:
        older: open handles; nobody needs to have pinned it.
    """
    remove_folder(pins.previous)
    if older:
        pins.previous.mkdir(mode=0o700)
        for name, program in older.items():
            program.pin(pins.previous / name)


def _rename(source: Path, target: Path, change: Transaction) -> None:
    source.rename(target)
    change.on_failure(target.rename, source)


def require_previous(pins: PinFolder, current: Programs, previous: Programs, maps: int) -> None:
    """Raise unless the previous set can take over.

    Args:
        maps: number of the map of counters, which all programs of an instance use.

    Raises:
        NotFoundError: there is none, or it lacks a program.
        ConflictError: it works on other maps.
    """
    if not previous:
        raise NotFoundError(
            f"instance {pins.instance} has no previous set of programs; nothing was changed",
            hint="there is one after `ilax upgrade`, or after `ilax up` over a running instance",
        )
    missing = sorted(current.keys() - previous.keys())
    if missing:
        raise NotFoundError(
            f"the previous set has no program {', '.join(missing)}; nothing was changed"
        )
    strange = sorted(name for name, p in previous.items() if maps not in p.map_ids())
    if strange:
        raise ConflictError(
            f"the maps of the previous set ({', '.join(strange)}) are not those of instance "
            f"{pins.instance} any more; nothing was changed",
            hint="`ilax upgrade --objects FOLDER` loads older objects over the maps of today",
        )
