# SPDX-License-Identifier: Apache-2.0
"""Our XDP program behind a foreign one: in a slot of that one's array of programs.

Whoever holds the hook pins an array (BPF_MAP_TYPE_PROG_ARRAY) and calls one of its
slots by a tail call; we put our program there and take it out again. `slots/` of an
instance remembers where, whatever was killed when: `array_<number of the map>_<slot>`
is a pin of the array, and `program_<number>` one of each program that we have put into
a slot. So a slot is ours if its program has such a pin, and nothing else in a foreign
array is ever touched.

The kernel replaces the program of a slot at once, so an upgrade shows no empty one. It
has no call that fills a slot only if it is empty: somebody who fills it between our look
and our write would be replaced.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ilax.bpf import Map, Object, Program
from ilax.bpf.handle import Closing
from ilax.bpf.link import xdp_program_on
from ilax.bpf.map import PROG_ARRAY
from ilax.bpf.program import in_words
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.errors import ConflictError, IlaxError, SystemCallError, UsageError
from ilax.instances.pins import PinFolder
from ilax.instances.transaction import Transaction

_XDP = 6  # enum bpf_prog_type
_ARRAY, _PROGRAM = "array_", "program_"


@dataclass(frozen=True, slots=True)
class SlotName:
    """A slot as an operator names it.

    Attributes:
        path: where the array is pinned.
        index: of the slot, from 0.
    """

    path: Path
    index: int


def parse(text: str) -> SlotName:
    """A slot as it is written: PIN:INDEX.

    Raises:
        UsageError: it is not written so.
    """
    path, _, index = text.rpartition(":")
    if not path or not (index.isascii() and index.isdigit()):
        raise UsageError(
            f"{text!r} is no slot; nothing was changed",
            hint="write where the array is pinned, and which slot: /sys/fs/bpf/root_array:2",
        )
    return SlotName(Path(path), int(index))


class Slot(Closing):
    """An open array of programs and one of its slots.

    Attributes:
        array: the foreign array.
        index: of the slot.
    """

    def __init__(self, array: Map, index: int) -> None:
        self.array = array
        self.index = index

    @classmethod
    def open(cls, name: SlotName) -> Self:
        """Open the slot that an operator has named.

        Raises:
            NotFoundError: no map is pinned there.
            UsageError: it is no array of programs, or has no such slot.
            ConflictError: it is an array of programs of another type.
        """
        path = name.path
        try:
            opened = Map.open_pinned(path)
        except SystemCallError as error:
            if error.errno != errno.EACCES:
                raise
            raise UsageError(f"{path} is no pin in bpffs; nothing was changed") from error
        with ExitStack() as undo:
            array = undo.enter_context(opened)
            if array.type != PROG_ARRAY:
                raise UsageError(
                    f"{path} (map {array.name}) is no array of programs; nothing was changed"
                )
            if name.index >= array.max_entries:
                raise UsageError(
                    f"{path} has the slots 0 to {array.max_entries - 1}, not {name.index}; "
                    "nothing was changed"
                )
            kind = _owner_type(array)
            if kind not in (None, _XDP):
                raise ConflictError(
                    f"{path} is an array of programs of type {kind}, not of XDP ({_XDP}); "
                    "nothing was changed"
                )
            undo.pop_all()
        return cls(array, name.index)

    def __str__(self) -> str:
        return f"slot {self.index} of array {self.array.name} (map {self.array.id})"

    def program(self) -> int:
        """Number of the program in it, 0 for none."""
        found = self.array.lookup(index_key(self.index))
        return int.from_bytes(found, "little") if found else 0

    def put(self, program: Program) -> None:
        """Replace what is in it, at once.

        Raises:
            ConflictError: the array does not take the program.
        """
        try:
            self.array.update(index_key(self.index), program.fd.to_bytes(4, "little"))
        except SystemCallError as error:
            if error.errno != errno.EINVAL:
                raise
            raise ConflictError(
                f"{self} does not take XDP program {program.name}: all programs of an array and "
                "those that call it must agree in type, attach type, JIT and frags; it was left "
                "alone"
            ) from error

    def clear(self) -> None:
        """Leave it empty."""
        self.array.delete(index_key(self.index))

    def takes_frags(self) -> bool:
        """Whether programs with "frags" may be in it; see `xdp/slot_probe.bpf.c`."""
        with Object.open(schema.object_path("slot_probe")) as obj:
            obj.maps["slots"].reuse(self.array)
            try:
                obj.load()
            except SystemCallError as error:
                if error.errno != errno.EINVAL:
                    raise
                return False
        return True

    def is_called_at(self, ifindex: int) -> bool | None:
        """Whether the XDP program on a device uses the array; None if that cannot be seen.

        It may be called by way of other programs, which is not looked at.
        """
        number = xdp_program_on(ifindex)
        if not number:
            return False
        try:
            with Program.by_id(number) as program:
                return self.array.id in program.map_ids()
        except IlaxError:
            return None  # asking for it needs CAP_SYS_ADMIN

    def close(self) -> None:
        """Close the array."""
        self.array.close()


def _has_frags(program: Program) -> bool:
    """Whether an XDP program has "frags", which the kernel does not tell: an array does."""
    with Object.open(schema.object_path("slot_probe")) as obj:
        obj.load()
        with obj.maps["slots"].open() as array:
            try:
                array.update(index_key(0), program.fd.to_bytes(4, "little"))
            except SystemCallError as error:
                if error.errno != errno.EINVAL:
                    raise
                return False
    return True


def _owner_type(array: Map) -> int | None:
    """Enum bpf_prog_type of the programs that an array takes; None as long as it has none."""
    for line in Path(f"/proc/self/fdinfo/{array.fd}").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "owner_prog_type":
            return int(value)
    return None


# --- what the pins of an instance say ------------------------------------------


@contextmanager
def remembered(pins: PinFolder, *, read_only: bool = False) -> Iterator[list[Slot]]:
    """The slots that an instance was put into, open; more than one after a killed `up`."""
    with ExitStack() as stack:
        found = []
        for pin in _pins(pins, _ARRAY):
            array = Map.open_pinned(pin, read_only=read_only)
            slot = Slot(array, int(pin.name.rpartition("_")[2]))
            found.append(stack.enter_context(slot))
        yield found


def holds_ours(pins: PinFolder, slot: Slot) -> bool:
    """Whether the program in a slot is one that we have put there."""
    return (pins.slots / f"{_PROGRAM}{slot.program()}").exists()


def needs_linear(pins: PinFolder) -> bool:
    """Whether our program has to be one without "frags" to stay where it is.

    Raises:
        ConflictError: a killed `up` has left it in slots of both kinds.
    """
    with remembered(pins) as slots:
        kinds = {slot.takes_frags(): str(slot) for slot in slots if holds_ours(pins, slot)}
    if len(kinds) > 1:
        raise ConflictError(
            f"an `up` was interrupted between {' and '.join(kinds.values())}, of which one takes "
            "programs with frags only and the other one without; nothing was changed",
            hint="`ilax up` ends it",
        )
    return False in kinds


def refusing(pins: PinFolder, program: Program) -> str | None:
    """A slot that we are in and that does not take a program loaded before, in words."""
    with remembered(pins) as slots:
        ours = {str(slot): slot.takes_frags() for slot in slots if holds_ours(pins, slot)}
    if not ours:
        return None
    has_frags = _has_frags(program)
    return next((words for words, frags in ours.items() if frags != has_frags), None)


def programs(pins: PinFolder) -> list[tuple[str, int]]:
    """Each remembered slot in words, and the number of our program in it, 0 for none."""
    with remembered(pins) as slots:
        return [(str(s), s.program() if holds_ours(pins, s) else 0) for s in slots]


def attach(pins: PinFolder, slot: Slot, program: Program, change: Transaction) -> None:
    """Put our program into a slot; others that we are in are left when the change is done.

    Raises:
        ConflictError: the slot is not empty, and what is in it is not ours; or the array
            does not take the program.
    """
    require_free(pins, slot)
    if not pins.slots.is_dir():
        pins.slots.mkdir(mode=0o700)
        change.on_failure(pins.slots.rmdir)
    pin = _pin_of(pins, slot)
    # First of all, so that a killed `up` is known to have been here.
    if not pin.exists():
        slot.array.pin(pin)
        change.on_failure(pin.unlink)
    _replace(pins, slot, program, change)
    change.on_success(leave, pins, but=pin)


def require_free(pins: PinFolder, slot: Slot) -> None:
    """Raise unless a slot is empty, or what is in it is ours.

    Raises:
        ConflictError: it is not.
    """
    now = slot.program()
    if now and not holds_ours(pins, slot):
        raise ConflictError(
            f"{slot} holds program {in_words(now)}; it was left alone",
            hint="name an empty slot (`bpftool map dump pinned PATH` shows them)",
        )


def swap(pins: PinFolder, program: Program, change: Transaction) -> int:
    """Put another program into the slots that hold ours; returns how many were changed."""
    changed = 0
    with remembered(pins) as slots:
        for slot in slots:
            if holds_ours(pins, slot) and slot.program() != program.id:
                _replace(pins, slot, program, change)
                changed += 1
    change.on_success(tidy, pins)
    return changed


def leave(pins: PinFolder, but: Path | None = None) -> None:
    """Take our program out of all slots, and forget them.

    Args:
        but: the pin of the array whose slot is to keep it.
    """
    with remembered(pins) as slots:
        for slot in slots:
            pin = _pin_of(pins, slot)
            if pin == but:
                continue
            if holds_ours(pins, slot):
                slot.clear()
            pin.unlink(missing_ok=True)
    tidy(pins)


def _replace(pins: PinFolder, slot: Slot, program: Program, change: Transaction) -> None:
    """Put a program into a slot that is empty or holds ours."""
    before = slot.program()
    mark = pins.slots / f"{_PROGRAM}{program.id}"
    # Before it is in the slot: what is there has to be known as ours.
    if not mark.exists():
        program.pin(mark)
        change.on_failure(mark.unlink, missing_ok=True)
    slot.put(program)
    change.on_failure(_put_back, pins, _pin_of(pins, slot), before)


def _put_back(pins: PinFolder, pin: Path, number: int) -> None:
    with remembered(pins) as slots:
        for slot in slots:
            if _pin_of(pins, slot) != pin or not holds_ours(pins, slot):
                continue
            if not number:
                slot.clear()
                continue
            with Program.open_pinned(pins.slots / f"{_PROGRAM}{number}") as program:
                slot.put(program)


def leftovers(pins: PinFolder) -> list[Path]:
    """Pins of programs that are in no slot any more, and the folder if there is no slot."""
    with remembered(pins) as slots:
        used = {f"{_PROGRAM}{slot.program()}" for slot in slots}
    unused = [pin for pin in _pins(pins, _PROGRAM) if pin.name not in used]
    return unused if used or not pins.slots.is_dir() else [*unused, pins.slots]


def tidy(pins: PinFolder) -> None:
    """Remove what `leftovers` lists."""
    for path in leftovers(pins):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def _pin_of(pins: PinFolder, slot: Slot) -> Path:
    return pins.slots / f"{_ARRAY}{slot.array.id}_{slot.index}"


def _pins(pins: PinFolder, start: str) -> list[Path]:
    folder = pins.slots
    return sorted(folder.glob(f"{start}*")) if folder.is_dir() else []
