# SPDX-License-Identifier: Apache-2.0
"""Cgroups of the unified hierarchy (v2): by path, by number, and as a tree.

The number of a cgroup is the inode number of its folder, which is what BPF
helpers return. It is never given out twice, so a number that is in no folder
belongs to a cgroup that is gone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ilax.errors import NotFoundError, UsageError
from ilax.system import _libc

_CGROUP2_MAGIC = 0x63677270
_CGROUP1_MAGIC = 0x27E0EB
# Of the root of the hierarchy; the mount of a cgroup namespace begins elsewhere.
_ROOT_ID = 1
_LINKS_OF_A_LEAF = 2

_NUMBER = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup that exists.

    Attributes:
        id: inode number of its folder.
        path: its folder.
        name: the path below the root of the hierarchy, "." for the root itself.
        ancestors: numbers of the cgroups above it, nearest first.
    """

    id: int
    path: Path
    name: str
    ancestors: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Levels below the root."""
        return len(self.ancestors)


def root() -> Path:
    """Where the whole cgroup v2 hierarchy is mounted.

    Raises:
        NotFoundError: nowhere, or only a part of it.
    """
    mounts = _mounts()
    for mount in mounts:
        if _libc.file_system_type(mount) == _CGROUP2_MAGIC and mount.stat().st_ino == _ROOT_ID:
            return mount
    if mounts:
        raise NotFoundError(
            f"{mounts[0]} shows only a part of the cgroup v2 hierarchy; nothing was changed",
            hint="run ilax in the host's cgroup namespace (nsenter --cgroup)",
        )
    raise NotFoundError(
        "no cgroup v2 hierarchy is mounted; nothing was changed",
        hint="mount it: mount -t cgroup2 none /sys/fs/cgroup/unified",
    )


def _mounts() -> list[Path]:
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            # Blanks and the like stand there as \040.
            escaped = before.split()[4]
            found.append(Path(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), escaped)))
    return found


def _folders(path: Path) -> list[os.DirEntry[str]]:
    # Most cgroups are leaves, and their files need not be listed: the kernel counts a
    # link for each folder inside, besides its own two.
    if path.stat().st_nlink == _LINKS_OF_A_LEAF:
        return []
    with os.scandir(path) as entries:
        return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]


class Tree:
    """All cgroups, as they were when this was read.

    Attributes:
        root: folder of the root.
        by_id: every cgroup by its number.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.by_id: dict[int, Cgroup] = {}
        self._walk(Cgroup(_ROOT_ID, folder, ".", ()))

    @classmethod
    def read(cls) -> Tree:
        """Walk the whole hierarchy.

        Raises:
            NotFoundError: it is not mounted.
        """
        return cls(root())

    def _walk(self, top: Cgroup) -> None:
        waiting = [top]
        while waiting:
            cgroup = waiting.pop()
            try:
                below = _folders(cgroup.path)
            except FileNotFoundError:
                continue  # removed while we look
            self.by_id[cgroup.id] = cgroup
            ancestors = (cgroup.id, *cgroup.ancestors)
            waiting += [
                Cgroup(
                    entry.inode(),
                    Path(entry.path),
                    entry.name if cgroup.name == "." else f"{cgroup.name}/{entry.name}",
                    ancestors,
                )
                for entry in below
            ]

    def name(self, number: int) -> str:
        """Path of a cgroup below the root, or its number if it is gone."""
        cgroup = self.by_id.get(number)
        return cgroup.name if cgroup else str(number)

    def find(self, text: str) -> Cgroup:
        """The cgroup that a user names: absolute path, path below the root, or number.

        Raises:
            NotFoundError: there is no such cgroup.
            UsageError: something else stands there.
        """
        if _NUMBER.fullmatch(text):
            cgroup = self.by_id.get(int(text))
            if cgroup is None:
                raise NotFoundError(f"no cgroup has number {text}; nothing was changed")
            return cgroup
        if not text:
            # Below the root "" would be the root: a variable of a script that is not set.
            raise UsageError(
                "a cgroup has a name, and this one is empty; nothing was changed",
                hint='the root of the hierarchy is "."',
            )
        path = Path(text) if text.startswith("/") else self.root / text
        try:
            path = path.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(
                f"there is no cgroup {text} ({path} does not exist); nothing was changed",
                hint=f"name it by its folder, or by its path below {self.root}",
            ) from error
        kind = _libc.file_system_type(path)
        if kind == _CGROUP1_MAGIC:
            raise UsageError(
                f"{path} belongs to a cgroup v1 hierarchy, and limits are for cgroup v2; "
                "nothing was changed",
                hint=f"the cgroup v2 hierarchy of this host is at {self.root}",
            )
        if kind != _CGROUP2_MAGIC or not path.is_dir():
            what = "a file of a cgroup, not its folder" if kind == _CGROUP2_MAGIC else "no cgroup"
            raise UsageError(
                f"{path} is {what}; nothing was changed",
                hint=f"the cgroup v2 hierarchy of this host is at {self.root}",
            )
        # By its number: the same hierarchy may be mounted at several places.
        cgroup = self.by_id.get(path.stat().st_ino)
        if cgroup is None:
            raise NotFoundError(f"cgroup {text} has just been removed; nothing was changed")
        return cgroup


def names() -> dict[int, str]:
    """Path of each cgroup, by number; none where the hierarchy cannot be seen."""
    try:
        return {number: one.name for number, one in Tree.read().by_id.items()}
    except NotFoundError:
        return {}
