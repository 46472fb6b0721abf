# SPDX-License-Identifier: Apache-2.0
"""The few calls of libc that Python's os module lacks (before 3.12)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from ilax.errors import SystemCallError, check_system_call

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong,
                        ctypes.c_char_p)  # fmt: skip
_libc.mount.restype = ctypes.c_int
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.umount2.restype = ctypes.c_int
_libc.statfs.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
_libc.statfs.restype = ctypes.c_int
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.setns.restype = ctypes.c_int
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p,
                            ctypes.c_uint)  # fmt: skip
_libc.renameat2.restype = ctypes.c_int

_CLONE_NEWNET = 0x40000000
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def mount(source: str, target: Path, kind: str, options: str) -> None:
    """Mount a file system.

    Raises:
        SystemCallError: with the errno.
    """
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), 0, options.encode()):
        raise SystemCallError(f"mount {kind} at {target}", ctypes.get_errno())


def unmount(target: Path) -> None:
    """Unmount a file system.

    Raises:
        SystemCallError: with the errno.
    """
    if _libc.umount2(os.fsencode(target), 0):
        raise SystemCallError(f"unmount {target}", ctypes.get_errno())


def file_system_type(path: Path) -> int:
    """Number of the file system that a path is on (statfs); 0 if the path does not exist."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer):
        return 0
    return int.from_bytes(buffer.raw[:8], "little") & 0xFFFFFFFF


def exchange(one: Path, other: Path) -> None:
    """Let two paths of one file system change places, in one step.

    Raises:
        SystemCallError: with the errno; bpffs knows this since Linux 5.16.
    """
    if _libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    ):
        raise SystemCallError(f"exchange {one} and {other}", ctypes.get_errno())


def enter_network_namespace(fd: int) -> None:
    """Move the calling thread, as setns(2) does.

    Raises:
        PrivilegeError: CAP_SYS_ADMIN is missing.
        SystemCallError: all else.
    """
    if _libc.setns(fd, _CLONE_NEWNET):
        check_system_call(-ctypes.get_errno(), "enter a network namespace", admin=True)
