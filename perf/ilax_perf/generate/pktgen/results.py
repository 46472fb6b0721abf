# SPDX-License-Identifier: Apache-2.0
"""What a device of pktgen says after a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from ilax_perf.generate.pktgen.control import result_of

_RUN = re.compile(r"OK: (\d+)\(c\d+\+d\d+\) usec, (\d+) \((\d+)byte,-?\d+frags\)")
_SOFAR = re.compile(r"pkts-sofar: (\d+)\s+errors: (\d+)")
_QUEUES = re.compile(r"queue_map_min: (\d+)\s+queue_map_max: (\d+)")
_FLAGS = re.compile(r"Flags: (.*)")


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """The state of a device.

    Attributes:
        sent: packets of the run.
        errors: packets that the device did not take.
        seconds: of the run, or None before one is over.
        queues: first and last queue that are really used.
        flags: that are set.
        said: the whole result, in one line.
    """

    sent: int
    errors: int
    seconds: float | None
    queues: tuple[int, int]
    flags: frozenset[str]
    said: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of the text of a device's control file.

        Raises:
            ValueError: it is none.
        """
        sofar, queues, flags = (each.search(text) for each in (_SOFAR, _QUEUES, _FLAGS))
        if not (sofar and queues and flags):
            raise ValueError(f"no control file of a pktgen device: {text[:80]!r}")
        said = result_of(text)
        run = _RUN.match(said)
        return cls(
            sent=int(sofar[1]),
            errors=int(sofar[2]),
            seconds=int(run[1]) / 1e6 if run else None,
            queues=(int(queues[1]), int(queues[2])),
            flags=frozenset(flags[1].split()),
            said=said,
        )
