# SPDX-License-Identifier: Apache-2.0
"""Where the network namespaces of this machine can be entered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ilax.netlink import errors, is_namespace

if TYPE_CHECKING:
    from ilax.netlink import Network

_NAMED = Path("/run/netns")
_UNKNOWN = 0xFFFFFFFF


def visible() -> dict[int, Path]:
    """Path of each namespace that has a name or a process, by inode number.

    One that only lives by a descriptor, or a mount elsewhere, is not among them.
    """
    found: dict[int, Path] = {}
    processes = (
        Path(entry.path, "ns/net") for entry in os.scandir("/proc") if entry.name.isdigit()
    )
    for path in (*named(), *processes):
        # Processes come and go, and those of others may be hidden.
        with contextlib.suppress(OSError):
            found.setdefault(path.stat().st_ino, path)
    return found


def named() -> Iterator[Path]:
    """Namespaces that have a name; a file that only lies there is none."""
    for path in sorted(_NAMED.iterdir()) if _NAMED.is_dir() else []:
        # What a killed `ip netns` has left is a plain file, and stays.
        with contextlib.suppress(OSError):
            if is_namespace(path):
                yield path


def by_number(network: Network) -> dict[int, Path]:
    """Path of each visible namespace by the number that `network` knows it by."""
    found = {}
    for path in visible().values():
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY)
            try:
                with errors(f"ask for the number of {path}"):
                    number = int(network.ipr.get_netnsid(fd=fd)["nsid"])
            finally:
                os.close(fd)
            if number != _UNKNOWN:
                found[number] = path
    return found
