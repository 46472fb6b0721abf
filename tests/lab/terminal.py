# SPDX-License-Identifier: Apache-2.0
"""A program in a terminal of its own, and what it shows there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios

from lab.ilax import environment
from lab.wait import until


class Terminal:
    """Runs a program until it is closed.

    Args:
        argv: program and arguments.
        size: lines and columns.

    Attributes:
        ours, theirs: both ends of the terminal.
        modes: of the terminal before the program began.
        process: the program.
    """

    def __init__(self, argv: list[str], size: tuple[int, int] = (30, 130)) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
        self.modes = termios.tcgetattr(self.theirs)
        env = {**os.environ, **environment(), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self.process = subprocess.Popen(
            argv, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, env=env
        )
        self.text = ""

    def wait_for(self, pattern: str) -> str:
        """Read until a pattern has come.

        Returns:
            What came until its end, which is forgotten.
        """

        def found() -> re.Match[str] | None:
            while select.select([self.ours], [], [], 0)[0]:
                self.text += os.read(self.ours, 65536).decode("utf-8", "replace")
            return re.search(pattern, self.text, re.DOTALL)

        try:
            match = until(found, f"{pattern!r} on the screen")
        except TimeoutError as error:
            error.add_note(f"it shows {self.text!r}")
            raise
        assert match is not None
        shown, self.text = self.text[: match.end()], self.text[match.end() :]
        return shown

    def close(self) -> None:
        """End the program and the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)
