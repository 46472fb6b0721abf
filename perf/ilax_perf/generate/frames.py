# SPDX-License-Identifier: Apache-2.0
"""Frames of a traffic, many at a time.

A packet's payload begins with its number, modulo 65536, in network order; zeros
follow. Its source port is the first one plus its number modulo the flows.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ilax_perf.generate.traffic import FIRST_PORT, HEADERS, Addresses, Traffic

TO, SOURCE_PORT, CHECKSUM, NUMBER = 38, 54, 60, 62
_UDP, _HOP_LIMIT = 17, 64


def template(traffic: Traffic) -> bytes:
    """The first 64 bytes of all frames; what differs from packet to packet is 0."""
    source, destination = (bytes.fromhex(mac.replace(":", "")) for mac in traffic.macs)
    length = traffic.size - HEADERS + 8
    ip6 = struct.pack("!IHBB", 6 << 28, length, _UDP, _HOP_LIMIT)
    udp = struct.pack("!HHHH", 0, traffic.port, length, 0)
    addresses = traffic.source.packed + bytes(16)
    return destination + source + b"\x86\xdd" + ip6 + addresses + udp + bytes(2)


def constant_sum(traffic: Traffic) -> int:
    """Of the UDP checksum, the sum of all words that never change, each one in network order."""
    length = traffic.size - HEADERS + 8
    # The length is in the pseudo-header and in the header.
    source: int = sum(struct.unpack("!8H", traffic.source.packed))
    return source + _UDP + 2 * length + traffic.port


def build(traffic: Traffic, to: Addresses, first: int) -> NDArray[np.uint8]:
    """Frames from number `first` on, one for each destination.

    Args:
        traffic: what they are like.
        to: their destinations, shape (n, 16).
        first: number of the first packet.

    Returns:
        shape (n, traffic.size).
    """
    frames = np.zeros((len(to), traffic.size), np.uint8)
    frames[:, :64] = np.frombuffer(template(traffic), np.uint8)
    number = np.arange(first, first + len(to))
    ports = FIRST_PORT + number % traffic.flows
    total = constant_sum(traffic) + to.view(">u2").sum(axis=1, dtype=np.int64)
    total += ports + number % 0x10000
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    checksum = 0xFFFF ^ total
    checksum[checksum == 0] = 0xFFFF
    frames[:, TO : TO + 16] = to
    for at, words in ((SOURCE_PORT, ports), (CHECKSUM, checksum), (NUMBER, number % 0x10000)):
        frames[:, at : at + 2] = words.astype(">u2")[:, np.newaxis].view(np.uint8)
    return frames
