# SPDX-License-Identifier: Apache-2.0
"""Telling who waits for the lock what the wait is for."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from threading import Timer

_log = logging.getLogger(__name__)

# A change takes less; most wait for nobody.
_SECONDS = 2.0

# Of a command line, which may be of any length.
_MOST_LETTERS = 200


class Notice:
    """One warning, if a wait that has begun is not over soon.

    Args:
        folder: carries the lock; it may be removed and made again meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Somebody else has the lock; further calls make no difference."""
        if self._timer is not None:
            return
        # Who need not wait does without threads.
        from threading import Timer

        self._timer = Timer(_SECONDS, self._tell)
        self._timer.daemon = True
        self._timer.start()

    def _tell(self) -> None:
        _log.warning("waiting for the lock on %s, %s", self._folder, holder(self._folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def holder(folder: Path) -> str:
    """Who has the lock on a folder, in words, as far as /proc tells.

    The kernel names the process that has taken it. Its children may have inherited it,
    and may have it still when that process has ended.
    """
    number = _taken_by(folder)
    if number is None:
        return "and who has taken it is not in sight here"
    try:
        command = Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return f"which process {number} has taken; it has ended, and a child of it has the lock"
    words = command.replace(b"\0", b" ").decode(errors="replace").strip()
    # Anybody may call a process as they like, also by what a terminal obeys.
    shown = "".join(letter if letter.isprintable() else "?" for letter in words)
    return f"which process {number} has taken: {shown[:_MOST_LETTERS] or 'no command line'}"


def _taken_by(folder: Path) -> int | None:
    """Number of the process that has taken the lock; None if /proc does not show it."""
    try:
        found = folder.stat()
        rows = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    for row in rows:
        # `7: FLOCK  ADVISORY  WRITE 4711 00:1c:16515 0 EOF`; `->` stands before who waits.
        words = row.split()
        if words[1] == "FLOCK" and words[5] == f"{device}:{found.st_ino}":
            return int(words[4])
    return None
