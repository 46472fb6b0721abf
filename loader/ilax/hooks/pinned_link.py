# SPDX-License-Identifier: Apache-2.0
"""One pinned link: made, given another program, or moved to another device.

An update swaps the program in place and no packet sees the hook empty. A link to
another device is made beside the old one, which goes only when the whole change has
succeeded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ilax.bpf import Link, LinkInfo, Program
from ilax.errors import NotFoundError
from ilax.hooks import places
from ilax.instances.transaction import Transaction


def put(
    pin: Path,
    ifindex: int,
    program: Program,
    previous: Program | None,
    create: Callable[[], Link],
    change: Transaction,
    moves: Callable[[LinkInfo], bool] | None = None,
) -> None:
    """Put a program into our link on a device; make that link if there is none.

    Args:
        moves: tells of our link whether it should be made anew, at another place.
            Until the old one goes, packets may pass both, which is better than
            none; what both leave to the stack is counted twice.
    """
    beside = _beside(pin)
    for path in (pin, beside):
        if moves is not None and _is_to_move(path, ifindex, moves):
            continue
        if _swap(path, ifindex, program):
            if previous is not None:
                change.on_failure(_swap, path, ifindex, previous)
            break
    else:
        # The trace of an `up` that was killed on its way to a third device.
        beside.unlink(missing_ok=True)
        path = beside if pin.exists() else pin
        with create() as link:
            link.pin(path)
        change.on_failure(path.unlink, missing_ok=True)
    if path == beside:
        change.on_success(beside.rename, pin)
    else:
        change.on_success(beside.unlink, missing_ok=True)


def _is_to_move(pin: Path, ifindex: int, moves: Callable[[LinkInfo], bool]) -> bool:
    try:
        with Link.open_pinned(pin) as link:
            info = link.info()
    except NotFoundError:
        return False
    return info.ifindex == ifindex and moves(info)


def _swap(pin: Path, ifindex: int, program: Program) -> bool:
    """Put a program into a pinned link; False if it is none on this device."""
    try:
        with Link.open_pinned(pin) as link:
            if link.info().ifindex != ifindex:
                return False
            link.update(program)
    except NotFoundError:
        return False
    return True


def is_on(pin: Path, ifindex: int) -> bool:
    """Whether our link, or the one beside it, ties something to a device."""
    for path in (pin, _beside(pin)):
        with contextlib.suppress(NotFoundError), Link.open_pinned(path) as link:
            if link.info().ifindex == ifindex:
                return True
    return False


def unpin(pin: Path) -> None:
    """Take the program off, also one that waits beside it."""
    for path in (pin, _beside(pin)):
        path.unlink(missing_ok=True)


def _beside(pin: Path) -> Path:
    """Where a link to another device waits until the old one may go."""
    return pin.with_name(places.beside(pin.name))
