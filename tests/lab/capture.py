# SPDX-License-Identifier: Apache-2.0
"""See and send frames on a device of a namespace, by packet sockets."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

from lab.netns import Namespace
from lab.packets import Frame, decode
from lab.wait import until

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_SO_RCVBUFFORCE = 33
# struct tpacket_auxdata of <linux/if_packet.h>
_AUXDATA = struct.Struct("=IIIHHHH")
_TP_STATUS_VLAN_VALID = 1 << 4


class Capture:
    """Frames that pass a device while the context lasts, in both directions.

    Args:
        ns: where the device is.
        device: its name.
        keep: which frames to remember; default: all with IPv6.
    """

    def __init__(
        self, ns: Namespace, device: str, keep: Callable[[Frame], bool] = lambda _: True
    ) -> None:
        self._ns, self._device, self._keep = ns, device, keep
        self._stop = threading.Event()
        self.frames: list[Frame] = []

    def __enter__(self) -> Self:
        with self._ns.entered():
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
            )
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._socket.bind((self._device, _ETH_P_ALL))
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _collect(self) -> None:
        while True:
            try:
                raw, ancillary, *_ = self._socket.recvmsg(1 << 18, 256)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            frame = decode(_with_tag(raw, ancillary))
            if frame is not None and self._keep(frame):
                self.frames.append(frame)

    def wait(self, wanted: Callable[[Frame], bool], what: str) -> Frame:
        """The first frame that `wanted` accepts, as soon as there is one.

        Raises:
            TimeoutError: none came.
        """
        return until(lambda: next((f for f in list(self.frames) if wanted(f)), None), what)  # type: ignore[return-value]


def _with_tag(raw: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """Put back the tag that the kernel keeps beside the frame."""
    for level, kind, data in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, _, _, _, _, tci, protocol = _AUXDATA.unpack_from(data)
            if status & _TP_STATUS_VLAN_VALID:
                return raw[:12] + struct.pack("!HH", protocol or 0x8100, tci) + raw[12:]
    return raw


def send_frames(ns: Namespace, device: str, *frames: bytes) -> None:
    """Send whole frames, Ethernet header included, out of a device."""
    with ns.entered():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind((device, 0))
        for frame in frames:
            raw.send(frame)


def mac_of(ns: Namespace, device: str) -> str:
    """Hardware address of a device."""
    (row,) = ns.ip_json("link", "show", "dev", device)
    return str(row["address"])
