# SPDX-License-Identifier: Apache-2.0
"""On which line each key of a TOML document stands.

`tomllib` tells no positions. This walks over a text that `tomllib` has accepted
already, so it only has to find where keys and values begin and end; what a value
means is not its business. Libraries with positions for Python were looked for: the
one that has them is a fork of 2022 that is not kept up.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(
    r"""[ \t]*(?:(?P<bare>[A-Za-z0-9_-]+)|(?P<quoted>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'))[ \t]*"""
)
_STRING = re.compile(
    # Up to two quotes may stand before the three that end a text of many lines.
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def locate(text: str) -> Mapping[Path, int]:
    """Lines of all tables, keys and elements of arrays, counted from 1.

    Args:
        text: a document that `tomllib` accepts.

    Returns:
        Line by path, such as `("endpoint", 0, "sir")`.
    """
    return _Walk(text.replace("\r\n", "\n")).found


class _Walk:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0
        # Elements that each array of tables has so far.
        self._elements: dict[Path, int] = {}
        self.found: dict[Path, int] = {(): 1}
        self._document()

    def _document(self) -> None:
        table: Path = ()
        while self._skip_blank():
            if self._text.startswith("[[", self._at):
                self._at += 2
                table = self._header(self._key(), element=True)
                self._at += 2
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._header(self._key(), element=False)
                self._at += 1
            else:
                self._pair(table)

    def _header(self, keys: list[str], *, element: bool) -> Path:
        line = self._line_here()
        path: Path = ()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            last = number == len(keys)
            self._note(path, line)
            if last and element:
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
                self._note(path, line)
        return path

    def _pair(self, table: Path) -> None:
        keys, line = self._key(), self._line_here()
        path = table
        for key in keys:
            path = (*path, key)
            self._note(path, line)
        self._at += 1  # =
        self._skip_blank()
        self._value(path)

    def _value(self, path: Path) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._take(_STRING)
        elif opening == "[":
            self._at += 1
            number = 0
            while self._until("]"):
                element = (*path, number)
                self._note(element, self._line_here())
                self._value(element)
                number += 1
        elif opening == "{":
            self._at += 1
            while self._until("}"):
                self._pair(path)
        else:
            self._take(_SCALAR)

    def _until(self, closing: str) -> bool:
        """Go to the next element; False behind the last one."""
        self._skip_blank()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip_blank()
        if self._text[self._at] != closing:
            return True
        self._at += 1
        return False

    def _key(self) -> list[str]:
        keys = []
        while True:
            found = self._take(_KEY_PART)
            quoted = found["quoted"]
            keys.append(tomllib.loads(f"k = {quoted}")["k"] if quoted else found["bare"])
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        assert found is not None, f"tomllib has accepted what stands at {self._at}"
        self._at = found.end()
        return found

    def _skip_blank(self) -> bool:
        self._take(_BLANK)
        return self._at < len(self._text)

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path: Path, line: int) -> None:
        self.found.setdefault(path, line)
