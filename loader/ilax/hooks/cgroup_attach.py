# SPDX-License-Identifier: Apache-2.0
"""The program at the limited cgroups themselves, for packets that no endpoint has seen.

Each of them has a pinned link, so that limits outlive every process. The
program finds its limit in a row of `ilax_attached`, which the kernel makes when
the program is attached; as long as it is 0, all packets pass.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ilax.bpf import Link, Program
from ilax.bpf.map import EXIST
from ilax.contract.tables import index_key
from ilax.errors import ConflictError, NotFoundError, SystemCallError
from ilax.hooks.places import CGROUP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ilax.instances.instance import Instance
    from ilax.instances.pins import PinFolder
    from ilax.instances.transaction import Transaction
    from ilax.system.cgroups import Cgroup


def _pin(pins: PinFolder, cgroup: int) -> Path:
    return pins.links / CGROUP.link_of(cgroup)


def pinned(pins: PinFolder) -> set[int]:
    """Numbers of all cgroups that have a link, living or not."""
    # A killed `down` may have taken the folder away already.
    found = pins.links.iterdir() if pins.links.is_dir() else ()
    return {number for pin in found if (number := CGROUP.number_of(pin.name)) is not None}


def attach(instance: Instance, cgroup: Cgroup) -> None:
    """Attach the program, unless it is already. It lets all packets pass so far.

    Raises:
        NotFoundError: the cgroup has just been removed.
        SystemCallError: the kernel refused.
    """
    pin = _pin(instance.pins, cgroup.id)
    with contextlib.suppress(NotFoundError), Link.open_pinned(pin) as link:
        if link.info().cgroup == cgroup.id:
            return
        pin.unlink()
    with (
        Program.open_pinned(instance.pins.programs / CGROUP.program) as program,
        _folder(cgroup) as fd,
    ):
        try:
            link = Link.cgroup_ingress(program, fd, cgroup.name)
        except SystemCallError as error:
            if error.errno != errno.EPERM:
                raise
            raise SystemCallError(
                error.action,
                error.errno,
                hint="a program that allows no other holds this cgroup or one above it "
                "(bpftool cgroup tree)",
            ) from error
        with link:
            link.pin(pin)


@contextlib.contextmanager
def _folder(cgroup: Cgroup) -> Iterator[int]:
    gone = NotFoundError(f"cgroup {cgroup.name} has just been removed; nothing was changed")
    try:
        fd = os.open(cgroup.path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise gone from None
    try:
        if os.fstat(fd).st_ino != cgroup.id:
            raise gone
        yield fd
    finally:
        os.close(fd)


def detach(instance: Instance, cgroup: int) -> None:
    """Take the program off; fine if it is not there, or the cgroup is gone."""
    # The kernel keeps this row as long as the cgroup, and takes the program off
    # a moment after its pin: it charges nothing from now on.
    with contextlib.suppress(ConflictError):
        set_slot(instance, cgroup, 0)
    _pin(instance.pins, cgroup).unlink(missing_ok=True)


def slot(instance: Instance, cgroup: int) -> int:
    """The limit that the program at a cgroup charges; 0 = none."""
    value = instance.attached.lookup(_key(cgroup))
    return int.from_bytes(value, "little") if value else 0


def holds(instance: Instance, cgroup: int, limit: int) -> bool:
    """Whether the program is attached to a cgroup and charges a limit."""
    try:
        with Link.open_pinned(_pin(instance.pins, cgroup)) as link:
            return link.info().cgroup == cgroup and slot(instance, cgroup) == limit
    except NotFoundError:
        return False


def set_slot(instance: Instance, cgroup: int, limit: int) -> None:
    """Tell an attached program which limit it charges.

    Raises:
        ConflictError: it was never attached, or the cgroup is gone.
    """
    instance.attached.update(_key(cgroup), index_key(limit), EXIST)


def swap(pins: PinFolder, program: Program, change: Transaction, previous: Program | None) -> None:
    """Put a new program into every link; those of removed cgroups are left to `gc`."""
    for cgroup in pinned(pins):
        if previous is not None:
            change.on_failure(_update, pins, cgroup, previous)
        _update(pins, cgroup, program)


def _update(pins: PinFolder, cgroup: int, program: Program) -> None:
    with contextlib.suppress(NotFoundError), Link.open_pinned(_pin(pins, cgroup)) as link:
        link.update(program)


def _key(cgroup: int) -> bytes:
    return cgroup.to_bytes(8, "little")
