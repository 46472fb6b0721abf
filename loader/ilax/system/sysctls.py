# SPDX-License-Identifier: Apache-2.0
"""Settings net.ipv6.conf of a device, in the network namespace of this thread."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from ilax.errors import SystemCallError

_FOLDER = Path("/proc/sys/net/ipv6/conf")


def name(device: str, setting: str) -> str:
    """What sysctl(8) calls a setting; with slashes, as a device may have dots in its name."""
    return f"net/ipv6/conf/{device}/{setting}"


def read(device: str, name: str) -> int | None:
    """A setting; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return int((_FOLDER / device / name).read_text())
    return None


def write(device: str, name: str, value: int) -> None:
    """Change a setting.

    Raises:
        OSError: there is none, or /proc/sys is read-only.
    """
    (_FOLDER / device / name).write_text(f"{value}\n")


def accepts_advertisements(device: str) -> bool:
    """Whether the kernel takes router advertisements that come by a device."""
    accept = read(device, "accept_ra")
    # A router listens only where it is told to all the same.
    return accept == 2 if read(device, "forwarding") == 1 else bool(accept)


def enable_ipv6(device: str) -> None:
    """Switch IPv6 on for a device that would not have it, by the default of its namespace.

    Raises:
        SystemCallError: /proc/sys is read-only.
    """
    if read(device, "disable_ipv6"):
        try:
            write(device, "disable_ipv6", 0)
        except OSError as error:
            raise SystemCallError(
                f"switch IPv6 on for interface {device}",
                error.errno or errno.EIO,
                hint=f"set {name(device, 'disable_ipv6')} to 0, or that of default",
            ) from error
