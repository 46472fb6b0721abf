# SPDX-License-Identifier: Apache-2.0
"""What all generators are like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ilax.errors import IlaxError
from ilax_perf.generate.traffic import Traffic


class GeneratorError(IlaxError):
    """A generator cannot do what it was asked for, or has failed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a generator has sent.

    Attributes:
        packets: handed to the device.
        seconds: from the first to the last one (of open loops without a clock for
            each packet: to one of the last 64).
    """

    packets: int
    seconds: float

    @property
    def rate(self) -> float:
        """Packets in a second."""
        return self.packets / self.seconds if self.seconds else 0.0


class Generator(Protocol):
    """Sends traffic out of a device of the network namespace in which the thread is."""

    @property
    def name(self) -> str:
        """On the command line and in results."""
        ...

    def why_not(self, device: str, traffic: Traffic) -> str | None:
        """Why it cannot send this out of that device, or None if it can."""
        ...

    def run(self, device: str, traffic: Traffic) -> Sent:
        """Send, and return when it is over.

        Raises:
            IlaxError: it did not work; the message says what is missing.
        """
        ...
