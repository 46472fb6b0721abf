# SPDX-License-Identifier: Apache-2.0
"""Whether this kernel can run ilax at all, said before anything is tried."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from ilax.errors import IlaxError

OLDEST = (6, 1)


def require_kernel() -> None:
    """Raise unless the kernel is new enough and carries its types.

    Raises:
        IlaxError: says what is there and what is needed.
    """
    release = platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers and tuple(map(int, numbers.groups())) < OLDEST:
        raise IlaxError(
            f"Linux {release} is too old: ilax needs {OLDEST[0]}.{OLDEST[1]} or later; "
            "nothing was changed"
        )
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise IlaxError(
            f"Linux {release} was built without BTF (/sys/kernel/btf/vmlinux is missing); "
            "nothing was changed",
            hint="use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions build it",
        )
