# SPDX-License-Identifier: Apache-2.0
"""A new set of programs as a transaction: tried, switched, watched, taken back.

The instance's own settings stay: hooks are read from its links and filters, everything
else from its maps. The lock is held while hooks are switched and not while the new set
is watched, so that containers come and go meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ilax import selftest
from ilax.bpf import Program
from ilax.errors import ConflictError, IlaxError, NotFoundError
from ilax.hooks import program_set, switch, xdp_slot
from ilax.hooks.places import XDP_INGRESS
from ilax.hooks.program_set import Programs
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.instances.transaction import Transaction
from ilax.system.kernel import require_kernel
from ilax.system.netlink import Network
from ilax.system.privileges import require_capabilities
from ilax.upgrades import migration, soak
from ilax.upgrades.guards import Limits, Trip, Window
from ilax.upgrades.major_migration import OlderMajor, sweep_leftovers
from ilax.upgrades.soak import Meter

Progress = Callable[[str], None]

_TELL_EVERY = 5.0  # seconds of a soak


@dataclass(frozen=True)
class UpgradeOptions:
    """What `upgrade` is asked for.

    Attributes:
        objects: folder of objects that take the place of the shipped ones.
        before: seconds for which the old set is watched, at least.
        soak: seconds for which the new set is watched; 0 = not at all.
        limits: from when on a guard trips.
    """

    objects: Path | None = None
    before: float = 5.0
    soak: float = 30.0
    limits: Limits = field(default_factory=Limits)


@dataclass
class UpgradeResult:
    """What `upgrade` did.

    Attributes:
        tests: rows of the self test that passed.
        hooks: that were switched.
        programs: tag of each program that is at work now, by name.
        soaked: seconds for which the new set was watched.
        packets: that were counted meanwhile, over all hooks.
        trip: the guard that tripped, or None.
        rolled_back: the programs of before are at work again.
    """

    tests: int
    hooks: int = 0
    programs: dict[str, str] = field(default_factory=dict)
    soaked: float = 0.0
    packets: int = 0
    trip: Trip | None = None
    rolled_back: bool = False


@dataclass(frozen=True)
class RollbackResult:
    """What `rollback` did; the same fields as of `UpgradeResult`."""

    hooks: int
    programs: dict[str, str]


def upgrade(name: str, options: UpgradeOptions, tell: Progress) -> UpgradeResult:
    """Put new programs on all hooks of an instance that is up.

    Args:
        tell: is given lines that say how far it is.

    Raises:
        NotFoundError: the instance is not up.
        SelfTestError: the new programs failed their self test; nothing was changed.
        VerifierError: the kernel refused a program; nothing was changed.
        LayoutError: pinned maps of another contract; nothing was changed.
        ConflictError: another namespace's instance, or its programs were changed by
            somebody else while they were watched.
    """
    require_kernel()
    require_capabilities("upgrade an instance")
    pins = PinFolder(name)
    with ExitStack() as held:
        if OlderMajor.find(pins) is not None:
            return _migrate(pins, options, tell)
        _require_up(pins)
        meter = held.enter_context(Meter(pins))
        earlier = held.enter_context(program_set.pinned(pins.programs))
        first = meter.read(earlier)
        result = UpgradeResult(tests=selftest.run(options.objects))
        tell(f"self test: {result.tests} rows passed")
        if options.soak:
            time.sleep(max(0.0, first.time + options.before - time.monotonic()))
        before = Window.between(first, meter.read(earlier))
        change = _switch_over(pins, options.objects, held)
        result.hooks = change.hooks
        result.programs = _tags(change.programs)
        tell(f"switched {result.hooks} hooks; the old set is pinned in {pins.previous}")
        if not options.soak:
            return result
        window, result.trip = _soak(meter, change.programs, before, options, tell)
        result.soaked = window.seconds
        result.packets = int(window.packets.sum())
        if result.trip is None:
            _require_at_work(pins, change.programs)
        else:
            tell(f"{result.trip}; rolling back")
            result.programs = _tags(_take_back(pins, change))
            result.rolled_back = True
    return result


@dataclass(frozen=True)
class _Change:
    """What a switch has done, with open handles of all sets that it touched."""

    programs: Programs
    replaced: Programs
    retired: Programs
    hooks: int


def _switch_over(pins: PinFolder, objects: Path | None, held: ExitStack) -> _Change:
    """Load a set over the maps of an instance and put it to work, or change nothing."""
    with Network() as network, pins.lock(), ExitStack() as opening, Transaction() as change:
        older = migration.open_older(pins, lambda _: None, change)
        opened = opening.enter_context(older or Instance.open(pins.instance))
        opened.require_own_netns("upgrade it")
        pins.create()
        sweep_leftovers(pins)
        program_set.settle(pins)
        current = held.enter_context(program_set.pinned(pins.programs))
        previous = held.enter_context(program_set.pinned(pins.previous))
        linear = xdp_slot.needs_linear(pins)
        loaded = program_set.load(opened.maps, objects, linear=linear)
        programs = {name: held.enter_context(program) for name, program in loaded.items()}
        # An earlier switch was killed half-way: its set never was at work as a whole.
        half_way = switch.at_work(network, opened) & (_ids(previous) - _ids(current))
        program_set.install(pins, programs, change, keep_previous=bool(half_way))
        known = {p.id: p for folder in (current, previous) for p in folder.values()}
        hooks = switch.switch(network, opened, programs, known, change)
        if older is not None:
            change.on_success(migration.move_in, pins)
    if half_way:
        return _Change(programs, previous, {}, hooks)
    return _Change(programs, current, previous, hooks)


def _migrate(pins: PinFolder, options: UpgradeOptions, tell: Progress) -> UpgradeResult:
    """Bring an instance of an older major to ours. There is no way back, so no soak."""
    result = UpgradeResult(tests=selftest.run(options.objects))
    tell(f"self test: {result.tests} rows passed")
    with Network() as network, pins.lock(), ExitStack() as held, Transaction() as change:
        older = OlderMajor.find(pins)
        if older is None:
            raise ConflictError(
                f"instance {pins.instance} was changed meanwhile; nothing was changed",
                hint="try again",
            )
        opened = held.enter_context(older.open_new(change))
        current = held.enter_context(program_set.pinned(older.programs))
        linear = xdp_slot.needs_linear(opened.pins)
        loaded = program_set.load(opened.maps, options.objects, linear=linear)
        programs = {name: held.enter_context(program) for name, program in loaded.items()}
        # As late as possible: what the old programs count from now on is not carried over.
        older.carry_rows(opened)
        opened.require_own_netns("upgrade it")
        program_set.install(opened.pins, programs, change)
        known = {program.id: program for program in current.values()}
        result.hooks = switch.switch(network, opened, programs, known, change)
        result.programs = _tags(programs)
        change.on_success(older.move_in, opened)
        tell(f"contract v{older.major}: rows carried over, {result.hooks} hooks switched")
    tell("no soak: there is no way back to another major of the contract")
    return result


def _soak(
    meter: Meter, programs: Programs, before: Window, options: UpgradeOptions, tell: Progress
) -> tuple[Window, Trip | None]:
    due = _TELL_EVERY

    def say(seconds: float, window: Window) -> None:
        nonlocal due
        if seconds >= min(due, options.soak):
            due += _TELL_EVERY
            tell(f"soak {seconds:.0f}/{options.soak:.0f} s: {window.packets.sum()} packets")

    try:
        return soak.watch(meter, programs, before, options.soak, options.limits, say)
    except KeyboardInterrupt:
        raise IlaxError(
            "the soak was interrupted; the new programs stay",
            hint="`ilax rollback` returns to the set before",
        ) from None


def _require_at_work(pins: PinFolder, programs: Programs) -> None:
    """Raise if it was another set that was watched in the end, or none.

    Raises:
        NotFoundError, ConflictError: the instance was taken down, or its programs were
            changed.
    """
    with pins.lock(to_read=True):
        if not pins.maps.is_dir():
            raise NotFoundError(
                f"instance {pins.instance} was taken down while its new programs were watched"
            )
        with program_set.pinned(pins.programs) as current:
            if _ids(current) == _ids(programs):
                return
    raise ConflictError(
        "the programs were changed by somebody else while they were watched; what was seen "
        "says nothing of those that are at work now",
        hint="look at `ilax status`, then `ilax upgrade` again",
    )


def _take_back(pins: PinFolder, done: _Change) -> Programs:
    """Undo a switch: the sets are what they were before it, where they still are ours.

    Raises:
        ConflictError: somebody else has changed the programs since.
    """
    with Network() as network, pins.lock(), ExitStack() as held, Transaction() as change:
        opened = held.enter_context(Instance.open(pins.instance))
        program_set.settle(pins)
        current = held.enter_context(program_set.pinned(pins.programs))
        previous = held.enter_context(program_set.pinned(pins.previous))
        if _ids(current) != _ids(done.programs) or not _ids(done.replaced) <= _ids(previous):
            raise ConflictError(
                "a guard has tripped, but the programs were changed by somebody else "
                "meanwhile; they were left alone",
                hint="look at `ilax status`; `ilax rollback` returns to the set before",
            )
        known = {program.id: program for program in current.values()}
        switch.switch(network, opened, previous, known, change)
        program_set.swap_places(pins, change)
        # What has failed is nothing to go back to; what was there before it is.
        change.on_success(program_set.forget_previous, pins, done.retired)
        return dict(done.programs) | dict(done.replaced)


def rollback(name: str) -> RollbackResult:
    """Put the previous set of programs on all hooks; the current one becomes the previous.

    Raises:
        NotFoundError: the instance is not up, or there is no previous set.
        ConflictError: the previous set works on other maps than the instance has now.
    """
    require_capabilities("roll an instance back")
    pins = PinFolder(name)
    _require_up(pins)
    with Network() as network, pins.lock(), ExitStack() as held, Transaction() as change:
        opened = held.enter_context(Instance.open(name))
        opened.require_own_netns("roll it back")
        program_set.settle(pins)
        current = held.enter_context(program_set.pinned(pins.programs))
        previous = held.enter_context(program_set.pinned(pins.previous))
        program_set.require_previous(pins, current, previous, opened.counters.map.id)
        slot = xdp_slot.refusing(pins, previous[XDP_INGRESS.program])
        if slot is not None:
            raise ConflictError(
                f"{slot} does not take the XDP program of the previous set: one of them knows "
                "frames in pieces (frags) and the other does not; nothing was changed",
                hint="`ilax up --xdp off` leaves the slot, then roll back; or `ilax upgrade "
                "--objects FOLDER` loads older objects as the slot wants them",
            )
        known: dict[int, Program] = {program.id: program for program in current.values()}
        hooks = switch.switch(network, opened, previous, known, change)
        # Last: a killed rollback that is run again ends here, and not where it began.
        program_set.swap_places(pins, change)
        return RollbackResult(hooks, _tags(previous))


def _require_up(pins: PinFolder) -> None:
    """Raise where there are no maps, before the lock: without bpffs there is no place for it.

    Raises:
        NotFoundError: the instance is not up.
        LayoutError: it has another contract.
    """
    if not pins.maps.is_dir():
        Instance.open(pins.instance).close()  # says what is wrong


def _ids(programs: Programs) -> set[int]:
    return {program.id for program in programs.values()}


def _tags(programs: Programs) -> dict[str, str]:
    return {name: program.tag for name, program in sorted(programs.items())}
