# SPDX-License-Identifier: Apache-2.0
"""Reading pcapng (draft-ietf-opsawg-pcapng): its frames, and no more.

Comments, names and statistics are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ilax.errors import UsageError
from ilax.frames.headers import Link, link_of
from ilax.frames.record import Record

MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_ORDER_MAGIC = 0x1A2B3C4D
_OPTION_END, _OPTION_RESOLUTION, _OPTION_OFFSET = 0, 9, 14
_NO_SNAPLEN = 262144
_MAX_BLOCK = 1 << 25


@dataclass(frozen=True, slots=True)
class _Interface:
    """Where frames come from; `ticks` of the clock are one second."""

    link: Link
    snaplen: int
    ticks: int = 1_000_000
    offset: int = 0


class Reader:
    """A pcapng file, behind its first four bytes."""

    nanoseconds = True
    snaplen = _NO_SNAPLEN
    link: Link | None = None

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._order = "<"
        self._interfaces: list[_Interface] = []
        self._start_section()

    def __iter__(self) -> Iterator[Record]:
        """Frames in the order of the file."""
        number = 0
        while kind_bytes := self._stream.read(4):
            if kind_bytes == MAGIC:
                self._start_section()
                continue
            kind, body = self._block(kind_bytes)
            if kind == _INTERFACE:
                self._interfaces.append(self._interface(body))
            elif kind == _ENHANCED:
                number += 1
                which, high, low, captured, length = self._unpack("IIIII", body, 0)
                interface = self._interface_of(which, number)
                time = _nanoseconds(interface, high << 32 | low)
                yield Record(time, length, _cut(body, 20, captured, number), interface.link)
            elif kind == _SIMPLE:
                number += 1
                (length,) = self._unpack("I", body, 0)
                interface = self._interface_of(0, number)
                captured = min(length, interface.snaplen)
                yield Record(0, length, _cut(body, 4, captured, number), interface.link)

    def _start_section(self) -> None:
        """The header of a section, behind its type; it says the order of bytes."""
        head = self._exactly(8)
        for order in "<>":
            if struct.unpack(order + "I", head[4:])[0] == _ORDER_MAGIC:
                self._order = order
                self._interfaces = []
                (size,) = struct.unpack(order + "I", head[:4])
                self._exactly(_checked_size(size) - 12)
                return
        raise UsageError("the capture is damaged: a section of pcapng without its magic number")

    def _block(self, kind_bytes: bytes) -> tuple[int, bytes]:
        kind, size = struct.unpack(
            self._order + "II", kind_bytes + self._exactly(8 - len(kind_bytes))
        )
        body = self._exactly(_checked_size(size) - 8)
        return kind, body[:-4]

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise UsageError("the capture ends within a block")
        return data

    def _unpack(self, form: str, body: bytes, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + form, body, at)
        except struct.error as error:
            raise UsageError("the capture is damaged: a block is too short") from error

    def _interface(self, body: bytes) -> _Interface:
        link, _, snaplen = self._unpack("HHI", body, 0)
        ticks, offset, at = 1_000_000, 0, 8
        while at + 4 <= len(body):
            code, size = self._unpack("HH", body, at)
            if code == _OPTION_END:
                break
            if code == _OPTION_RESOLUTION and size == 1:
                (value,) = self._unpack("B", body, at + 4)
                ticks = 1 << (value & 0x7F) if value & 0x80 else 10**value
            elif code == _OPTION_OFFSET and size == 8:
                (offset,) = self._unpack("q", body, at + 4)
            at += 4 + (size + 3 & ~3)
        return _Interface(link_of(link), snaplen or _NO_SNAPLEN, ticks, offset)

    def _interface_of(self, which: int, number: int) -> _Interface:
        if which >= len(self._interfaces):
            raise UsageError(
                f"the capture is damaged: frame {number} is of interface {which}, "
                f"and {len(self._interfaces)} are described"
            )
        return self._interfaces[which]


def _checked_size(size: int) -> int:
    if size % 4 or not 12 <= size <= _MAX_BLOCK:
        raise UsageError(f"the capture is damaged: a block is said to have {size} bytes")
    return size


def _nanoseconds(interface: _Interface, ticks: int) -> int:
    return interface.offset * 1_000_000_000 + ticks * 1_000_000_000 // interface.ticks


def _cut(body: bytes, at: int, captured: int, number: int) -> bytes:
    if at + captured > len(body):
        raise UsageError(f"the capture is damaged: frame {number} is longer than its block")
    return body[at : at + captured]
