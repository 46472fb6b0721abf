# SPDX-License-Identifier: Apache-2.0
"""What instances and this process hold, to compare before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ilax.bpf import Map
from lab.topology import Lab


@dataclass(frozen=True)
class Resources:
    """Of all hosts of a lab together.

    Attributes:
        memlock: bytes of all pinned maps, as the kernel accounts them.
        files: descriptors that this process has open.
    """

    maps: int
    programs: int
    links: int
    memlock: int
    devices: int
    files: int

    @classmethod
    def of(cls, lab: Lab) -> Resources:
        """As they are now."""
        versions = [host.ilax.pins / "v1" for host in lab.hosts]
        pinned = [path for version in versions for path in (version / "maps").iterdir()]
        return cls(
            maps=len(pinned),
            programs=_count(v / folder for v in versions for folder in ("programs", "previous")),
            links=_count(version / "links" for version in versions),
            memlock=sum(map(_memlock, pinned)),
            devices=sum(len(host.ns.devices()) for host in lab.hosts),
            files=_count([Path("/proc/self/fd")]),
        )


def _count(folders: Iterable[Path]) -> int:
    return sum(len(list(folder.iterdir())) for folder in folders if folder.is_dir())


def _memlock(pin: Path) -> int:
    with Map.open_pinned(pin) as opened:
        text = Path(f"/proc/self/fdinfo/{opened.fd}").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("memlock")))


def resident() -> int:
    """Bytes of memory that this process has."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(x.split()[1] for x in text.splitlines() if x.startswith("VmRSS")))
