# SPDX-License-Identifier: Apache-2.0
"""Commands in processes that die of SIGKILL at a call of a function of the loader.

Counted in calls and not in time, so that the same draw dies at the same place.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import ilax

_LOADER = str(Path(ilax.__file__).parent)
KILLED = -signal.SIGKILL


class Killer:
    """Runs commands that are killed somewhere between their begin and their end.

    Attributes:
        calls: how many calls a kind of command took when it ran to its end last.
    """

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}

    def run(self, kind: str, command: Callable[[], int], permille: int) -> int:
        """Run a command in a process of its own.

        The first one of a kind is not killed, as nobody knows yet how long it is.

        Args:
            command: returns an exit code.
            permille: where to kill it, in thousandths of its calls.

        Returns:
            `KILLED`, or its exit code.
        """
        known = self.calls.get(kind)
        fatal = 1 + known * permille // 1000 if known else 0
        told, tells = os.pipe()
        child = os.fork()
        if not child:
            _child(command, fatal, tells)
        os.close(tells)
        with os.fdopen(told) as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if said and not code:
            self.calls[kind] = int(said)
        return code


def _child(command: Callable[[], int], fatal: int, tells: int) -> None:
    count = 0

    def on_call(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        if event == "call" and frame.f_code.co_filename.startswith(_LOADER):
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.setprofile(on_call)
        code = command()
        sys.setprofile(None)
        os.write(tells, str(count).encode())
    finally:
        os._exit(code)
