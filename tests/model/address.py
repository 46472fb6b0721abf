# SPDX-License-Identifier: Apache-2.0
"""Neutral mapping, word by word as the draft writes it.

Addresses are 16 bytes, prefixes and locators 8 bytes, in network order.
"""

from __future__ import annotations

import ipaddress

C_BIT = 0x1000  # of word 4


def address(text: str) -> bytes:
    return ipaddress.IPv6Address(text).packed


def upper(text: str) -> bytes:
    return address(text)[:8]


def words(raw: bytes) -> list[int]:
    return [raw[i] << 8 | raw[i + 1] for i in range(0, len(raw), 2)]


def plus(a: int, b: int) -> int:
    """One's complement addition of two 16-bit words: the carry comes back in."""
    total = a + b
    return total - 0xFFFF if total > 0xFFFF else total


def total(values: list[int]) -> int:
    result = 0
    for value in values:
        result = plus(result, value)
    return result


def invert(word: int) -> int:
    return word ^ 0xFFFF


def _join(values: list[int]) -> bytes:
    return b"".join(bytes((value >> 8, value & 0xFF)) for value in values)


def identifier_type(raw: bytes) -> int:
    return raw[8] >> 5


def has_c_bit(raw: bytes) -> bool:
    return bool(words(raw)[4] & C_BIT)


def to_wire(sir: bytes, locator: bytes, c_bit: bool) -> bytes:
    """SIR address to wire address. The caller has kept the draft's guards."""
    w = words(sir)
    d = plus(total(w[:4]), invert(total(words(locator))))
    if c_bit:
        d = plus(d, 0xEFFF)
        w[4] |= C_BIT
    w[7] = plus(w[7], d)
    return locator + _join(w[4:])


def to_sir(wire: bytes, sir_prefix: bytes, c_bit: bool) -> bytes | None:
    """Wire address to SIR address; None if it lacks the C-bit that it must have."""
    w = words(wire)
    d = plus(total(w[:4]), invert(total(words(sir_prefix))))
    if c_bit:
        if not w[4] & C_BIT:
            return None
        d = plus(d, 0x1000)
        w[4] &= invert(C_BIT)
    w[7] = plus(w[7], d)
    return sir_prefix + _join(w[4:])


def is_multicast(raw: bytes) -> bool:
    return raw[0] == 0xFF


def is_link_local(raw: bytes) -> bool:
    return raw[0] == 0xFE and raw[1] & 0xC0 == 0x80


def is_link_scope(raw: bytes) -> bool:
    return is_multicast(raw) or is_link_local(raw)


def stays_on_link(raw: bytes) -> bool:
    """Link-local, or multicast of interface or link scope (RFC 4291, 2.7)."""
    return is_link_local(raw) or (is_multicast(raw) and raw[1] & 0x0F <= 2)


def is_unspecified(raw: bytes) -> bool:
    return raw == bytes(16)
