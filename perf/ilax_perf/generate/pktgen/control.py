# SPDX-License-Identifier: Apache-2.0
"""Lines for a control file of pktgen, and what the kernel says about each.

A write may succeed although nothing was done, or something else than was asked for:
the file's "Result:" then has an error text, or another value than the line had
(`count abc` becomes `OK: count=0`, `udp_src_min 70000` becomes 4464, and an address
that is none is `::`). So the result is read after each line and compared.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from ilax.errors import IlaxError

# Of the kernel; user space has no name for it.
_ENOTSUPP = 524
_RESULT = "Result:"
_OK = "OK:"


class PktgenError(IlaxError):
    """The kernel's pktgen refused a line, or did not do what it says.

    Attributes:
        path: of the control file.
        line: that was written to it.
        said: what the kernel said about it.
    """

    def __init__(self, path: Path, line: str, said: str, *, hint: str | None = None) -> None:
        # The name that people know; it is the same file.
        shown = Path("/proc/net/pktgen") / path.name
        super().__init__(f"{shown}: {line!r}: {said}", hint=hint)
        self.path = path
        self.line = line
        self.said = said


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a control file.

    Attributes:
        name: of the command or parameter.
        value: number, address, MAC address or word; None if it has none.
    """

    name: str
    value: int | IPv6Address | str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name} {self.value}"

    def echoed(self, result: str) -> bool:
        """Whether the kernel's "OK: ..." is about this value.

        Results without a value, and those of flags (which are numbers), say nothing.
        """
        _, equals, said = result.removeprefix(_OK).strip().partition("=")
        if self.name == "flag" or not equals:
            return True
        try:
            if isinstance(self.value, int):
                return int(said, 0) == self.value
            if isinstance(self.value, IPv6Address):
                return IPv6Address(said) == self.value
        except ValueError:
            return False
        return said == self.value


@dataclass(frozen=True, slots=True)
class ControlFile:
    """A file below /proc/net/pktgen of a device or a thread."""

    path: Path

    def write(self, line: Line) -> None:
        """Write a line, and see what became of it.

        Raises:
            PktgenError: it was refused, or something else was done.
        """
        write(self.path, line)
        result = self.result()
        if not result.startswith(_OK):
            raise PktgenError(self.path, str(line), result or "no result")
        if not line.echoed(result):
            raise PktgenError(self.path, str(line), f"the kernel took it for {result!r}")

    def read(self) -> str:
        """All of it."""
        return self.path.read_text()

    def result(self) -> str:
        """What the kernel says about the last line or run, in one line."""
        return result_of(self.read())


def result_of(text: str) -> str:
    """The result in the text of a control file, in one line."""
    _, found, said = text.rpartition(f"\n{_RESULT}")
    return " ".join(said.split()) if found else ""


def write(path: Path, line: Line) -> None:
    """Write one line; without a look at the result.

    Raises:
        PktgenError: the kernel refused it.
    """
    try:
        # One system call: the kernel takes each for a line.
        with path.open("wb", buffering=0) as file:
            file.write(f"{line}\n".encode())
    except OSError as error:
        number = error.errno or 0
        said = "Operation is not supported" if number == _ENOTSUPP else os.strerror(number)
        raise PktgenError(path, str(line), said, hint=_hint(line, number)) from error


def _hint(line: Line, number: int) -> str | None:
    if number == _ENOTSUPP and line.name in {"clone_skb", "burst"}:
        return (
            "this device's driver changes the packets that it sends, as veth does, so each one "
            "must be new: leave it out"
        )
    if number == errno.ENETDOWN:
        return f"`ip link set {str(line.value).partition('@')[0]} up`"
    return None
