# SPDX-License-Identifier: Apache-2.0
"""Commands in processes that die of SIGKILL at one of the calls that change something.

Counted in those calls and not in time, and in parts of a length that is learned before
the first walk, so that the same draw dies at the same place.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from lab import notices

KILLED = -signal.SIGKILL


class Killer:
    """Runs commands that are killed somewhere between their begin and their end.

    Attributes:
        steps: how many such calls each kind of command makes, see `learn`.
        killed: how many were killed so far, by kind.
    """

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}
        self.killed: dict[str, int] = {}

    def learn(self, kind: str, command: Callable[[], int]) -> int:
        """Run a command to its end, and count; returns its exit code."""
        code, self.steps[kind] = _run(command, 0)
        return code

    def run(self, kind: str, command: Callable[[], int], permille: int) -> int:
        """Run a command that is killed, unless it is shorter than the one learned from.

        Args:
            command: returns an exit code.
            permille: before which of its steps, in thousandths.

        Returns:
            `KILLED`, or its exit code.
        """
        code, _ = _run(command, 1 + self.steps[kind] * permille // 1000)
        if code == KILLED:
            self.killed[kind] = self.killed.get(kind, 0) + 1
        return code


def _run(command: Callable[[], int], stop: int) -> tuple[int, int]:
    """Exit code, and number of steps."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        _child(command, theirs)
    theirs.close()
    with ours:
        _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
    try:
        taken = notices.follow(listener, child, stop)
    finally:
        os.close(listener)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(taken)


def _child(command: Callable[[], int], listener: socket.socket) -> None:
    code = 1
    try:
        with listener:
            socket.send_fds(listener, [b"."], [notices.listen()])
        code = command()
    finally:
        os._exit(code)
