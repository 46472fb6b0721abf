# SPDX-License-Identifier: Apache-2.0
"""One frame of a capture."""

from __future__ import annotations

from dataclasses import dataclass

from ilax.frames.headers import Link


@dataclass(frozen=True, slots=True)
class Record:
    """A frame as a capture keeps it.

    Attributes:
        time: ns since 1970.
        length: bytes of the frame when it was on the wire.
        data: what was captured of it.
        link: what the frame begins with.
    """

    time: int
    length: int
    data: bytes
    link: Link
