# SPDX-License-Identifier: Apache-2.0
"""Wait for something to become true, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    condition: Callable[[], T], what: str, *, timeout: float = 15, interval: float = 0.01
) -> T:
    """Call `condition` until its result is true, and return that.

    Args:
        what: named in the error.
        timeout: seconds; generous, as only failures take that long.
        interval: seconds between two calls.

    Raises:
        TimeoutError: it did not become true in time.
    """
    end = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {timeout:g} s")
        time.sleep(interval)
