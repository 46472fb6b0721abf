# SPDX-License-Identifier: Apache-2.0
"""The live screen of `ilax top`: its clock and its keys."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ilax.cli.context import taken_down
from ilax.cli.top_tables import screen
from ilax.watching.rates import Rates

if TYPE_CHECKING:
    from ilax.instances.instance import Instance
    from ilax.watching.rate_rows import Order, View

_HISTORY = 40
_KEYS: dict[str, Order] = {"r": "rate", "p": "packets", "d": "drops"}


def run(instance: Instance, interval: float, order: Order, rows: int | None) -> None:
    """Show an instance until q, Ctrl-C or the end of the instance."""
    console = Console()
    rates = Rates(instance, _HISTORY)
    halted = False
    with (
        _keyboard() as wait,
        Live(console=console, screen=True, auto_refresh=False, transient=True) as live,
    ):
        live.update(
            Text(f"ilax top  {instance.name}: the first rates come in a moment"), refresh=True
        )
        due = time.monotonic() + interval
        shown: View | None = None
        while True:
            key = wait(max(0.0, due - time.monotonic()))
            if key == "q":
                return
            halted ^= key == " "
            order = _KEYS.get(key, order)
            if time.monotonic() >= due:
                due = max(due + interval, time.monotonic())
                if not instance.is_pinned():
                    break
                rates.look()
            elif shown is None:
                continue
            if shown is None or not halted:
                shown = rates.view(order, rows or console.height)
            live.update(screen(shown, console, halted=halted), refresh=True)
    raise taken_down(instance)


@contextlib.contextmanager
def _keyboard() -> Iterator[_Wait]:
    """Keys without Return; where the input is no terminal there are none."""
    if not sys.stdin.isatty():
        yield _Wait(None)
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    handler = signal.signal(signal.SIGTERM, _end)
    try:
        tty.setcbreak(fd)
        yield _Wait(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


def _end(number: int, _: object) -> None:
    """Leave by way of what puts the terminal back."""
    sys.exit(128 + number)


class _Wait:
    """Waits for a key."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def __call__(self, seconds: float) -> str:
        """The next key, or "" after so many seconds."""
        if self._fd is None:
            time.sleep(seconds)
            return ""
        if not select.select([self._fd], [], [], seconds)[0]:
            return ""
        key = os.read(self._fd, 1)
        if not key:
            # The terminal is gone.
            return "q"
        return key.decode("ascii", "replace").lower()
