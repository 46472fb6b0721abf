# SPDX-License-Identifier: Apache-2.0
"""All that is wrong with a document, told at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from ilax.declared.positions import Path, locate
from ilax.errors import UsageError, without_effect

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: keys that lead to it.
        rule: what is wrong, and what would be right.
    """

    path: Path
    rule: str


class DeclarationError(UsageError):
    """A file that cannot be applied.

    Attributes:
        lines: one for each problem, `FILE:LINE: KEY: RULE`.
    """

    def __init__(self, lines: list[str]) -> None:
        count = len(lines)
        what = "1 problem" if count == 1 else f"{count} problems"
        super().__init__("\n  ".join([f"{what}; nothing was changed", *lines]))
        self.lines = lines


@dataclass
class Problems:
    """Collects problems of one document, and says where they stand.

    Attributes:
        name: of the file, as the operator has named it.
        text: of the file.
        missing: what the document names and this host has not, or not yet; whether that
            is wrong is for the caller to decide.
        notes: doubts that forbid nothing, already as text.
    """

    name: str
    text: str
    found: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _lines: dict[Path, int] | None = None

    def add(self, path: Path, rule: object) -> None:
        """Something is wrong at a path."""
        self.found.append(Problem(path, without_effect(str(rule))))

    def lack(self, path: Path, rule: object) -> None:
        """What is named at a path is not there."""
        self.missing.append(Problem(path, without_effect(str(rule))))

    def note(self, path: Path, rule: str) -> None:
        """Something is doubtful at a path."""
        self.notes.append(self.told(Problem(path, rule)))

    def attempt(
        self, path: Path, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Run a step; what it refuses is a problem at a path, and gives None."""
        try:
            return step(*args, **kwargs)
        except UsageError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.add(path, f"{without_effect(str(error))}{hint}")
            return None

    def line(self, path: Path) -> int:
        """Line of a path, or of the nearest table around it."""
        if self._lines is None:
            # Only a file with problems is walked twice.
            self._lines = dict(locate(self.text))
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def told(self, problem: Problem) -> str:
        """`FILE:LINE: KEY: RULE`."""
        key = _named(problem.path)
        where = f"{self.name}:{self.line(problem.path)}"
        return f"{where}: {key}: {problem.rule}" if key else f"{where}: {problem.rule}"

    def raise_if_any(self) -> None:
        """End here if anything was wrong.

        Raises:
            DeclarationError: names all problems in the order of their lines.
        """
        if self.found:
            ordered = sorted(self.found, key=lambda p: self.line(p.path))
            raise DeclarationError(list(dict.fromkeys(map(self.told, ordered))))


def _named(path: Path) -> str:
    """Such as `endpoint.cgroup`: the line tells which endpoint it is."""
    return ".".join(str(part) for part in path if isinstance(part, str))
