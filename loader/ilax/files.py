# SPDX-License-Identifier: Apache-2.0
"""Files that appear when they are complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[TextIO]:
    """A text file to write, which becomes `path` when all of it is written.

    Its name until then is new and cannot be guessed: nobody can put a link there, or
    write it at the same time. If writing fails, an older file is as it was.

    Args:
        mode: less what the umask takes away.
    """
    scratch = path.with_name(f".ilax-{os.urandom(8).hex()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            yield stream
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            scratch.unlink()
        raise
