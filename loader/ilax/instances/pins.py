# SPDX-License-Identifier: Apache-2.0
"""Where an instance lives in bpffs, and who may change it at a time.

    /sys/fs/bpf/ilax/<instance>/v<major>/maps/<map>
                                        /programs/<program>
                                        /previous/<program>
                                        /links/<link>
                                        /down           while it is taken down
                                        /slots/...  (see `xdp_slot.py`)

The folder of maps appears by one rename, complete, so a crash leaves either no
instance or a whole one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ilax.contract.schema import ABI_MAJOR
from ilax.errors import ConflictError
from ilax.instances import instance_name, lock_wait
from ilax.system import _libc

BPFFS = Path("/sys/fs/bpf")
_BPF_FS_MAGIC = 0xCAFE4A11


class PinFolder:
    """Paths of one instance.

    Args:
        instance: letters, digits, `_` and `-`, at most 32.

    Raises:
        UsageError: the name would not make a path.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance_name.check(instance)
        self.root = BPFFS / "ilax"
        self.base = self.root / instance
        self.version = self.base / f"v{ABI_MAJOR}"
        self.maps = self.version / "maps"
        self.maps_new = self.version / "maps_new"
        self.programs = self.version / "programs"
        self.programs_new = self.version / "programs_new"
        self.previous = self.version / "previous"
        self.dropped = self.version / "previous_old"
        self.links = self.version / "links"
        self.doomed = self.version / "down"
        self.slots = self.version / "slots"

    @property
    def _sets(self) -> tuple[Path, ...]:
        return self.programs, self.programs_new, self.previous, self.dropped

    def other_versions(self) -> list[str]:
        """Major versions that are pinned beside ours, such as `v2`."""
        if not self.base.is_dir():
            return []
        return sorted(p.name for p in self.base.iterdir() if p != self.version)

    def create(self) -> None:
        """Make the folders, readable by their owner only; a `down` that was begun is off."""
        for folder in (self.root, self.base, self.version, self.programs, self.links):
            folder.mkdir(mode=0o700, exist_ok=True)
        remove_folder(self.doomed)

    def remove(self) -> None:
        """Remove everything of this instance and version; links let go first.

        What is in a slot of a foreign array stays there: `xdp_slot.leave` comes before.

        The folder of maps disappears as it came, by one rename, so that a crash
        leaves a whole instance or none. The folder of all instances carries the
        lock and goes with that.
        """
        for folder in (self.links, self.slots, *self._sets, self.maps_new):
            remove_folder(folder)
        if self.maps.is_dir():
            self.maps.rename(self.maps_new)
            remove_folder(self.maps_new)
        for folder in (self.doomed, self.version, self.base):
            with contextlib.suppress(OSError):
                folder.rmdir()

    @contextlib.contextmanager
    def lock(self, *, to_read: bool = False) -> Iterator[None]:
        """Keep other loaders away, of all instances: they share hosts.

        Reading needs no lock: each update of a map is atomic. The lock is on the
        folder of all instances and leaves nothing behind; the kernel drops it
        with its owner. Who holds it and asks for it again waits for ever. A wait that
        takes long is told once, in the log.

        Args:
            to_read: nothing is going to be changed.

        Raises:
            ConflictError: the file system of the pins is read-only.
        """
        if not to_read:
            require_writable()
        fd = self._lock_root()
        try:
            yield
        finally:
            # While we hold the lock: whoever waits for it on this folder will see
            # that the path is another folder by then, or none.
            with contextlib.suppress(OSError):
                self.root.rmdir()
            os.close(fd)

    def _lock_root(self) -> int:
        with lock_wait.Notice(self.root) as notice:
            while True:
                with contextlib.suppress(FileExistsError):
                    self.root.mkdir(mode=0o700)
                # The folder may be removed between any two of these calls.
                with contextlib.suppress(FileNotFoundError), ExitStack() as closing:
                    fd = self._open_root()
                    closing.callback(os.close, fd)
                    try:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        notice.begin()
                        fcntl.flock(fd, fcntl.LOCK_EX)
                    if os.path.samestat(os.fstat(fd), self.root.stat()):
                        closing.pop_all()
                        return fd

    def _open_root(self) -> int:
        """Open the folder of all instances, if it is ours.

        Where everybody may write into bpffs, anybody may have made it before us: who
        owns it may hold its lock for ever and move what is in it.

        Raises:
            ConflictError: it is somebody else's.
        """
        hint = f"remove {self.root}; mount bpffs with mode=0700, so that it does not come back"
        try:
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except NotADirectoryError:
            raise ConflictError(
                f"{self.root} is no folder; nothing was changed", hint=hint
            ) from None
        found = os.fstat(fd)
        if found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022:
            return fd
        os.close(fd)
        raise ConflictError(
            f"{self.root} belongs to user {found.st_uid} and has mode "
            f"{found.st_mode & 0o777:04o}, so others may change what is in it; nothing was changed",
            hint=hint,
        )


def remove_folder(folder: Path) -> None:
    """Unpin all that is in a folder, and remove it."""
    if not folder.is_dir():
        return
    for pin in folder.iterdir():
        pin.unlink(missing_ok=True)
    folder.rmdir()


def instances() -> list[str]:
    """Names of all instances that have pins."""
    root = BPFFS / "ilax"
    return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def bpffs_is_mounted() -> bool:
    """Whether pins can be made, and seen."""
    return _libc.file_system_type(BPFFS) == _BPF_FS_MAGIC


def hidden_hint() -> str | None:
    """What to do where no pins can be seen, of whatever instance."""
    if bpffs_is_mounted():
        return None
    return (
        f"no bpffs is mounted at {BPFFS} here: `ip netns exec` hides the one of the host, "
        "`nsenter --net=...` does not"
    )


def require_writable() -> None:
    """Raise where pins can be neither made nor removed, before half of a change is done.

    Raises:
        ConflictError: bpffs is mounted read-only.
    """
    if os.statvfs(BPFFS).f_flag & os.ST_RDONLY:
        raise ConflictError(
            f"{BPFFS} is mounted read-only; nothing was changed",
            hint=f"`mount -o remount,rw {BPFFS}`, then try again",
        )


def ensure_bpffs() -> None:
    """Mount bpffs if it is absent, and if it stays after this command.

    Raises:
        SystemCallError: it cannot be mounted (CAP_SYS_ADMIN is needed).
        ConflictError: nobody else sees what is mounted here; it is not mounted then.
    """
    if bpffs_is_mounted():
        return
    _libc.mount("bpf", BPFFS, "bpf", "mode=0700")
    if _first_process_sees(BPFFS):
        return
    _libc.unmount(BPFFS)
    raise ConflictError(
        f"no bpffs is mounted at {BPFFS}, and one that is mounted here would go with this "
        "command, programs and maps with it; nothing was changed",
        hint="`ip netns exec` hides the one of the host: use `nsenter --net=...`. In a mount "
        f"namespace that stays: `mount -t bpf bpf {BPFFS}` before",
    )


def _first_process_sees(mounted: Path) -> bool:
    """Whether a file system is mounted for process 1, too.

    Its mount namespace outlives all others. Its list of mounts can be read where its
    namespaces (`/proc/1/ns`) cannot.
    """
    number = mounted.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    try:
        mounts = Path("/proc/1/mountinfo").read_text()
    except OSError:
        return False
    return any(line.split()[2] == device for line in mounts.splitlines())
