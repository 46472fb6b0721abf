# SPDX-License-Identifier: Apache-2.0
"""Packets that are drawn before it is known what the tables say by then.

A shot names its addresses by number, so that the same draw means the same packet
whatever commands came before it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from hypothesis import strategies as st

from datapath import packets as p
from datapath.strategies import ipv6
from model import Hook, address, checksum
from model.address import upper
from model.control import Setup
from model.packet import ICMPV6, UDP

SIR_PREFIXES = (upper("2001:db8:5a5a:1::"), upper("2001:db8:5a5a:2::"))
OWN, OTHER_OWN, FAR, FAR_AWAY = (
    upper(f"2001:db8:{n}::") for n in ("42:7", "42:70", "42:8", "43:9")
)
LOCATORS = (OWN, OTHER_OWN, FAR, FAR_AWAY)
BLOCKS = (upper("2001:db8:42::"), upper("2001:db8:43::"))

# Tasks: all but the last of the first SIR prefix; further addresses live elsewhere.
TASKS = 6
NUMBERS = 9

SIZES = (44, 1232, 1352, 1353, 1452, 1453)
MISCELLANY = tuple(
    address.address(text)
    for text in ("2001:db8:42:7::1", "2001:db8:99:3::80", "ff02::1", "fe80::1", "2001:db8:43:9::1")
)


def sir(number: int) -> bytes:
    """SIR address of a task, which counts from 0."""
    prefix = SIR_PREFIXES[number % TASKS == TASKS - 1]
    return prefix + address.address(f"::2000:0:0:{0xC1 + number:x}")[8:]


def text(raw: bytes) -> str:
    """An address as commands take it."""
    return socket.inet_ntop(socket.AF_INET6, raw)


@dataclass(frozen=True)
class Shot:
    """One packet at one hook.

    Attributes:
        port: whose container sends it, for the hook of containers.
        target: "sir", "wire" or "other".
        number, locator: of the target.
        spoofed: it does not have its sender's address.
        quote: None for UDP; else it is an ICMPv6 error about that wire address.
        size: bytes of its payload.
    """

    hook: Hook
    port: int
    target: str
    number: int
    locator: int
    spoofed: bool
    quote: tuple[int, int] | None
    size: int
    hop_limit: int
    ect: bool
    tags: tuple[int, ...]

    def destination(self, setup: Setup) -> bytes:
        if self.target == "sir":
            return sir(self.number)
        if self.target == "wire":
            return setup.wire(sir(self.number), LOCATORS[self.locator])
        return MISCELLANY[self.number % len(MISCELLANY)]

    def frame(self, setup: Setup, mac: bytes) -> bytes:
        """The frame, for a device with a hardware address."""
        source = sir(self.port) if not self.spoofed else sir(self.port + 1)
        payload = bytes.fromhex("c0000035") + (8 + self.size).to_bytes(2, "big") + bytes(2)
        payload += bytes(self.size)
        kind = UDP
        if self.quote is not None:
            number, locator = self.quote
            about = setup.wire(sir(number), LOCATORS[locator])
            inner = ipv6(sir(self.number), about, 3, UDP, bytes(16))
            payload, kind = bytes([3]) + bytes(7) + inner, ICMPV6
        packet = ipv6(source, self.destination(setup), self.hop_limit, kind, payload)
        # ECT(0): a limit may mark it.
        packet = bytes([0x60, 0x20 * self.ect]) + packet[2:]
        return p.link(mac, checksum.fill(packet), tags=self.tags)


def _usual(simple: object, *others: object) -> st.SearchStrategy:
    """Mostly one value, sometimes one of others."""
    return st.sampled_from((*[simple] * (3 * len(others)), *others))


numbers = st.integers(0, NUMBERS - 1)
locators = st.integers(0, len(LOCATORS) - 1)
shots = st.builds(
    Shot,
    hook=st.sampled_from(Hook),
    port=st.integers(0, TASKS - 1),
    target=st.sampled_from(("sir", "wire", "sir", "wire", "other")),
    number=numbers,
    locator=_usual(0, *range(1, len(LOCATORS))),
    spoofed=_usual(False, True),
    quote=st.one_of(st.none(), st.none(), st.tuples(numbers, locators)),
    size=_usual(*SIZES),
    hop_limit=_usual(64, 2, 1),
    ect=st.booleans(),
    tags=_usual((), (0x81000005,)),
)


def probe(hook: Hook, target: str, number: int, port: int = 0) -> Shot:
    """An ordinary packet."""
    return Shot(hook, port, target, number, 0, False, None, SIZES[0], 64, False, ())


# Every address from every side, after every command.
PROBES = (
    *(probe(hook, "wire", n) for hook in (Hook.XDP, Hook.UPLINK_IN) for n in range(TASKS)),
    *(probe(Hook.UPLINK_OUT, "sir", n) for n in range(NUMBERS)),
    *(probe(Hook.CONTAINER, "sir", n, port) for port in range(TASKS) for n in range(NUMBERS)),
)
