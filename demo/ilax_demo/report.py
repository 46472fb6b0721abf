# SPDX-License-Identifier: Apache-2.0
"""What the demo says, and the facts that it has checked."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.topology import Lab

_BOLD, _DIM, _GREEN, _RED = "1", "2", "32", "31;1"


@dataclass(frozen=True)
class Fact:
    """One thing that was checked.

    Attributes:
        name: dotted and stable.
        ok: whether it held.
        value: what was seen: a number, a text, or lists and objects of these.
    """

    name: str
    ok: bool
    value: Any


class Report:
    """Prints as the demo goes; coloured on a terminal, unless NO_COLOR is set."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._start = time.monotonic()

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    @contextlib.contextmanager
    def chapter(self, name: str, title: str) -> Iterator[None]:
        """A part of the demo; an error in it is a fact that does not hold.

        The parts behind it run all the same.
        """
        print(f"\n{self._paint(_BOLD, title)}", flush=True)
        try:
            yield
        except Exception as error:
            self.check(f"{name}.error", False, str(error), str(error))

    def say(self, *lines: str) -> None:
        """Text for people."""
        for line in lines:
            print(f"  {line}", flush=True)

    @contextlib.contextmanager
    def commands(self, lab: Lab) -> Iterator[None]:
        """Meanwhile, every `ilax` command is shown with the host it runs on."""

        def teller(host: str) -> Callable[[str], object]:
            # One write, as hosts work side by side.
            return lambda line: sys.stdout.write(f"  {self._paint(_DIM, f'{host}# {line}')}\n")

        for host in lab.hosts:
            host.ilax.echo = teller(host.name)
        try:
            yield
        finally:
            for host in lab.hosts:
                host.ilax.echo = lambda _: None

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table with a line of headings."""
        cells = [list(head), *[[str(cell) for cell in row] for row in rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        for number, row in enumerate(cells):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.say(self._paint(_BOLD, line.rstrip()) if number == 0 else line.rstrip())

    def check(self, name: str, ok: bool, value: Any, text: str) -> bool:
        """Keep a fact and print it. Returns `ok`."""
        self.facts.append(Fact(name, bool(ok), value))
        mark = self._paint(_GREEN, "ok    ") if ok else self._paint(_RED, "FAILED")
        print(f"  {mark} {text}", flush=True)
        return ok

    @property
    def held(self) -> bool:
        """Whether there are facts, and all of them held."""
        return bool(self.facts) and all(fact.ok for fact in self.facts)

    def write(self, path: Path) -> None:
        """Write all facts as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(fact) for fact in self.facts], indent=1) + "\n")

    def conclude(self, path: Path) -> None:
        """The last line."""
        failed = [fact.name for fact in self.facts if not fact.ok]
        seconds = time.monotonic() - self._start
        count = f"{len(self.facts) - len(failed)} of {len(self.facts)} facts held"
        print(f"\n{self._paint(_BOLD, count)} in {seconds:.0f} s; {path}")
        for name in failed:
            print(f"  {self._paint(_RED, 'FAILED')} {name}")
