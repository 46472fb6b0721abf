# SPDX-License-Identifier: Apache-2.0
"""Moments that are kept in files and told later, though the wall clock is set meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was, by the wall clock of then and by a clock that nobody sets.

    Attributes:
        time: seconds since 1970.
        boot: the kernel's name of the boot.
        since_boot: seconds since that boot, sleep included.
    """

    time: float
    boot: str
    since_boot: float

    @classmethod
    def now(cls) -> Moment:
        """This one."""
        boot = _BOOT_ID.read_text().strip()
        return cls(time.time(), boot, time.clock_gettime(time.CLOCK_BOOTTIME))

    def as_of_now(self) -> float:
        """Seconds since 1970 by the wall clock as it is now; that of then after a reboot."""
        now = Moment.now()
        return now.time - (now.since_boot - self.since_boot) if self.boot == now.boot else self.time
