# SPDX-License-Identifier: Apache-2.0
"""What all handles with a file descriptor share."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ilax.bpf import _libbpf
from ilax.errors import NotFoundError, check_system_call


class Closing:
    """A context manager that closes itself."""

    def close(self) -> None:
        """Let go of what is owned. Closing twice is harmless."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Handle(Closing):
    """Owns one file descriptor.

    Closing it drops this process's reference; a pin keeps the object alive.
    """

    kind = "BPF object"

    def __init__(self, fd: int, name: str = "") -> None:
        self._fd = fd
        self.name = name

    @property
    def fd(self) -> int:
        """The descriptor; valid until `close()`."""
        if self._fd < 0:
            raise ValueError(f"{self.kind} {self.name} is closed")
        return self._fd

    def close(self) -> None:
        """Drop the reference. Closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def pin(self, path: Path) -> None:
        """Pin to `path`, which must not exist.

        Raises:
            SystemCallError: with EEXIST if something is pinned there.
        """
        check_system_call(
            _libbpf.lib.bpf_obj_pin(self.fd, os.fsencode(path)),
            f"pin {self.kind} {self.name} at {path}",
        )


# The kernel refuses all writes by such a descriptor, and asks for permission to read
# the pin only.
_RDONLY = 1 << 3


# What descriptors of BPF objects are called below /proc, with "-" or "_" by version.
_KINDS = {"bpf_map": "map", "bpf_prog": "program", "bpf_link": "link"}


def get_pinned(path: Path, kind: str, *, read_only: bool = False) -> int:
    """A new descriptor of the object pinned at `path`.

    Args:
        kind: "map", "program" or "link".
        read_only: of maps and programs only; the kernel knows no such links.

    Raises:
        NotFoundError: nothing is pinned there, or an object of another kind.
    """
    options = _libbpf.opts(_libbpf.ObjGetOpts(file_flags=_RDONLY if read_only else 0))
    fd = int(_libbpf.lib.bpf_obj_get_opts(os.fsencode(path), _libbpf.pointer(options)))
    if fd == -errno.ENOENT:
        raise NotFoundError(f"no {kind} is pinned at {path}")
    check_system_call(fd, f"open pinned {kind} {path}")
    # The kernel describes any object to whoever asks, and what it says of a program
    # reads like a map of gigabytes.
    really = _kind_of(fd)
    if really != kind:
        os.close(fd)
        raise NotFoundError(f"no {kind} is pinned at {path}, but a {really}")
    return fd


def _kind_of(fd: int) -> str:
    name = str(Path(f"/proc/self/fd/{fd}").readlink())
    name = name.removeprefix("anon_inode:").replace("-", "_")
    return _KINDS.get(name, name)


def fill_info(fd: int, info: object, action: str) -> None:
    """BPF_OBJ_GET_INFO_BY_FD into a ctypes structure."""
    length = _libbpf.new_uint32(_libbpf.size_of(info))
    check_system_call(
        _libbpf.lib.bpf_obj_get_info_by_fd(fd, _libbpf.pointer(info), _libbpf.pointer(length)),
        action,
    )
