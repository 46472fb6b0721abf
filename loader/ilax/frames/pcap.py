# SPDX-License-Identifier: Apache-2.0
"""Captures in files and pipes: pcap and pcapng are read, pcap is written.

One record at a time, so memory does not grow with the capture. Times are whole
nanoseconds, and the length that a cut frame had is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from ilax.errors import UsageError
from ilax.frames import pcapng
from ilax.frames.headers import Link, link_of
from ilax.frames.record import Record

_MICROSECONDS, _NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
_HEADER = "IHHiIII"
_RECORD = "IIII"
# No device makes longer ones; a number above it is damage, and would be read
# into memory.
MAX_BYTES = 1 << 24
SNAPLEN = 262144


class Capture(Protocol):
    """An open capture: iterate over it once.

    Attributes:
        nanoseconds: whether its times are finer than microseconds.
        snaplen: most bytes that it keeps of a frame.
        link: of all frames; None where each one has its own.
    """

    nanoseconds: bool
    snaplen: int
    link: Link | None

    def __iter__(self) -> Iterator[Record]: ...


def read(stream: BinaryIO) -> Capture:
    """Open a capture of either format.

    Args:
        stream: of bytes; need not be seekable.

    Raises:
        UsageError: neither pcap nor pcapng, or a link type that is not known.
            Iteration raises it where the capture is damaged or ends within a
            record; what was read until then is right.
    """
    magic = stream.read(4)
    if magic == pcapng.MAGIC:
        return pcapng.Reader(stream)
    for order in "<>":
        if len(magic) == 4 and struct.unpack(order + "I", magic)[0] in (
            _MICROSECONDS,
            _NANOSECONDS,
        ):
            return Reader(stream, order, magic)
    raise UsageError(
        "the input is no capture: it begins neither as pcap nor as pcapng does"
        if magic
        else "the input is empty: no capture"
    )


class Reader:
    """A pcap file, behind its magic number."""

    def __init__(self, stream: BinaryIO, order: str, magic: bytes) -> None:
        rest = stream.read(struct.calcsize(order + _HEADER) - 4)
        if len(rest) < struct.calcsize(order + _HEADER) - 4:
            raise UsageError("the capture ends within its header")
        number, _, _, _, _, self.snaplen, link = struct.unpack(order + _HEADER, magic + rest)
        self._stream = stream
        self._record = struct.Struct(order + _RECORD)
        self.nanoseconds = number == _NANOSECONDS
        # The upper bits say whether frames end with a checksum.
        self.link: Link | None = link_of(link & 0xFFFF)

    def __iter__(self) -> Iterator[Record]:
        """Frames in the order of the file."""
        read, record, link = self._stream.read, self._record, self.link
        assert link is not None
        scale = 1 if self.nanoseconds else 1000
        number = 0
        while header := read(record.size):
            number += 1
            if len(header) < record.size:
                raise UsageError(f"the capture ends within the header of frame {number}")
            seconds, fraction, captured, length = record.unpack(header)
            if captured > MAX_BYTES:
                raise UsageError(
                    f"the capture is damaged: frame {number} is said to have {captured} bytes"
                )
            data = read(captured)
            if len(data) < captured:
                raise UsageError(f"the capture ends within frame {number}")
            yield Record(seconds * 1_000_000_000 + fraction * scale, length, data, link)


class Writer:
    """Writes a pcap file; it is complete after each record.

    Args:
        stream: of bytes.
        link: of all frames.
        nanoseconds: finer times than microseconds; older readers lack them.
        snaplen: most bytes that are kept of a frame.
    """

    def __init__(
        self,
        stream: BinaryIO,
        link: Link,
        *,
        nanoseconds: bool = True,
        snaplen: int = SNAPLEN,
    ) -> None:
        self._stream = stream
        self.link = link
        self._scale = 1 if nanoseconds else 1000
        magic = _NANOSECONDS if nanoseconds else _MICROSECONDS
        stream.write(struct.pack("<" + _HEADER, magic, 2, 4, 0, 0, snaplen, link))

    def write(self, record: Record) -> None:
        """Append a frame.

        Raises:
            UsageError: of another link than the file is for.
        """
        if record.link is not self.link:
            raise UsageError(
                f"one pcap file cannot hold frames of {self.link.name.lower()} and of "
                f"{record.link.name.lower()}; what was written until then is right",
                hint="capture on one interface, or on `any`",
            )
        seconds, rest = divmod(record.time, 1_000_000_000)
        header = struct.pack(
            "<" + _RECORD, seconds, rest // self._scale, len(record.data), record.length
        )
        self._stream.write(header + record.data)


def copy(
    capture: Capture, stream: BinaryIO, change: Callable[[Record], Record], *, flush: bool
) -> None:
    """Write a capture anew as pcap, each record changed.

    Args:
        capture: is read to its end.
        stream: where to.
        change: one record to another one.
        flush: after each record, and not when the buffer is full.
    """

    def begin(link: Link) -> Writer:
        writer = Writer(stream, link, nanoseconds=capture.nanoseconds, snaplen=capture.snaplen)
        if flush:
            stream.flush()
        return writer

    # At once where it is known: who reads behind a pipe waits for it.
    writer = None if capture.link is None else begin(capture.link)
    for record in capture:
        writer = writer or begin(record.link)
        writer.write(change(record))
        if flush:
            stream.flush()
    if writer is None:
        begin(Link.ETHERNET)
