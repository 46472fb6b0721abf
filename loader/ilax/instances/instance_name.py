# SPDX-License-Identifier: Apache-2.0
"""The name of an instance, apart from all that opening one needs."""

from __future__ import annotations

import re

from ilax.errors import UsageError

DEFAULT_INSTANCE = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def check(name: str) -> str:
    """Return `name`, or refuse what would not make a path.

    Raises:
        UsageError: not letters, digits, `_` and `-`, at most 32.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for an instance: use letters, digits, _ and -, at most 32"
        )
    return name
