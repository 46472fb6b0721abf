# SPDX-License-Identifier: Apache-2.0
"""What a device says of itself and can be told by ethtool, in the namespace of this thread.

By the old calls, one for each question: netlink, and asking for all features to know
one, took as long as making a device.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from typing import Any

from ilax.errors import IlaxError

# <linux/sockios.h>, <linux/ethtool.h>
_SIOCETHTOOL = 0x8946
_GDRVINFO, _GGRO, _SGRO = 0x03, 0x2B, 0x2C
# struct ifreq with a pointer; struct ethtool_value; struct ethtool_drvinfo as far as the name.
_REQUEST = struct.Struct("16sP16x")
_VALUE = struct.Struct("=II")
_DRVINFO = struct.Struct("=I32s160x")


def driver_of(name: str) -> str:
    """Driver of an interface, of a pair "veth" or "netkit"; "" if there is none."""
    try:
        driver: bytes = _ask(name, _DRVINFO, _GDRVINFO, b"")[1]
    except OSError:
        return ""
    return driver.rstrip(b"\0").decode()


def turn_gro_on(name: str) -> None:
    """Switch GRO on for an interface.

    On a veth this starts NAPI: without it the kernel drops what XDP redirects
    into the device, silently.

    Raises:
        IlaxError: the device does not keep the setting.
    """
    if gro_is_on(name):
        return
    try:
        _ask(name, _VALUE, _SGRO, 1)
    except OSError as error:
        raise IlaxError(f"cannot switch GRO on for interface {name}: {error}") from error
    if not gro_is_on(name):
        raise IlaxError(f"cannot switch GRO on for interface {name}: it does not stay on")


def gro_is_on(name: str) -> bool:
    """Whether an interface has GRO on.

    Raises:
        IlaxError: the device does not say.
    """
    try:
        return bool(_ask(name, _VALUE, _GGRO, 0)[1])
    except OSError as error:
        raise IlaxError(f"cannot ask interface {name} for GRO: {error}") from error


def _ask(name: str, layout: struct.Struct, *values: Any) -> tuple[Any, ...]:
    data = array.array("B", layout.pack(*values))
    request = _REQUEST.pack(os.fsencode(name), data.buffer_info()[0])
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
    return layout.unpack(data)
