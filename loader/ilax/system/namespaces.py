# SPDX-License-Identifier: Apache-2.0
"""Where the network namespaces of this machine can be entered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ilax.system.netlink import NAMED, errors, is_namespace

if TYPE_CHECKING:
    from ilax.system.netlink import Network

_PROCESSES = Path("/proc")
_UNKNOWN = 0xFFFFFFFF


def each() -> Iterator[tuple[int, Path]]:
    """Inode number and path of each namespace that has a name or a process: names first.

    One that only lives by a descriptor, or a mount elsewhere, is not among them.
    """
    seen = set()
    for path in chain(named(), _of_processes()):
        try:
            number = path.stat().st_ino
        except OSError:
            continue  # processes come and go, and those of others may be hidden
        if number not in seen:
            seen.add(number)
            yield number, path


def _of_processes() -> Iterator[Path]:
    for folder in _PROCESSES.iterdir():
        if folder.name.isdigit():
            yield folder / "ns/net"


def visible() -> dict[int, Path]:
    """Path of each namespace that has a name or a process, by inode number."""
    return dict(each())


def name_of(path: Path) -> str:
    """What `namespace_path` makes that path of."""
    if path.is_relative_to(_PROCESSES):
        return path.relative_to(_PROCESSES).parts[0]
    # A name of digits would be taken for a process.
    return str(path) if path.name.isdigit() else path.name


def named() -> Iterator[Path]:
    """Namespaces that have a name; a file that only lies there is none."""
    for path in sorted(NAMED.iterdir()) if NAMED.is_dir() else []:
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
