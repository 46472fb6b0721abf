# SPDX-License-Identifier: Apache-2.0
"""Questions and answers between two namespaces, behind extension headers if wanted."""

from __future__ import annotations

import os
import socket
import struct
import threading

from lab.netns import Namespace

_PORT = 7777
_IPV6_HOPOPTS, _IPV6_DSTOPTS = 54, 59
# Eight bytes: the next header, which the kernel fills in, no further length, and padding.
_PADDING = bytes([0, 0, 1, 4, 0, 0, 0, 0])
_ECHO_REQUEST, _ECHO_REPLY = 128, 129
_SECONDS = 60


def _socket(ns: Namespace, kind: int, protocol: int, extended: bool) -> socket.socket:
    with ns.entered():
        made = socket.socket(socket.AF_INET6, kind, protocol)
    made.settimeout(_SECONDS)
    if extended:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_HOPOPTS, _PADDING)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_DSTOPTS, _PADDING)
    return made


def tcp(client: Namespace, server: Namespace, address: str, extended: bool) -> None:
    """Send 200 kB through a server that returns them; they must come back the same.

    Raises:
        AssertionError, OSError: they did not.
    """
    data = os.urandom(200_000)
    with (
        _socket(server, socket.SOCK_STREAM, 0, extended) as listener,
        _socket(client, socket.SOCK_STREAM, 0, extended) as asking,
    ):
        listener.bind((address, _PORT))
        listener.listen()
        asking.bind(("::", 0))

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while block := connection.recv(1 << 16):
                    connection.sendall(block)

        server_thread = threading.Thread(target=serve, daemon=True)
        server_thread.start()
        asking.connect((address, _PORT))
        back = bytearray()

        def receive() -> None:
            while block := asking.recv(1 << 16):
                back.extend(block)

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        asking.sendall(data)
        asking.shutdown(socket.SHUT_WR)
        receiver.join(_SECONDS)
        server_thread.join(_SECONDS)
    assert bytes(back) == data


def udp(client: Namespace, server: Namespace, address: str, extended: bool) -> None:
    """Twenty packets of many sizes there and back.

    Raises:
        AssertionError, OSError: one did not come, or changed.
    """
    with (
        _socket(server, socket.SOCK_DGRAM, 0, extended) as answering,
        _socket(client, socket.SOCK_DGRAM, 0, extended) as asking,
    ):
        answering.bind((address, _PORT))
        for number in range(20):
            data = os.urandom(number * 60)
            asking.sendto(data, (address, _PORT))
            got, sender = answering.recvfrom(2000)
            assert got == data
            answering.sendto(got, sender)
            assert asking.recv(2000) == data


def icmp6(client: Namespace, _: Namespace, address: str, extended: bool) -> None:
    """Five echoes, which the other side's kernel answers.

    Raises:
        AssertionError, OSError: one did not come, or changed.
    """
    with _socket(client, socket.SOCK_RAW, socket.IPPROTO_ICMPV6, extended) as asking:
        for number in range(5):
            data = os.urandom(100)
            # The kernel fills in the checksum.
            asking.sendto(
                struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 7, number) + data, (address, 0)
            )
            while (answer := asking.recv(2000))[0] != _ECHO_REPLY:
                pass
            assert answer[8:] == data


KINDS = {"tcp": tcp, "udp": udp, "icmp6": icmp6}
