# SPDX-License-Identifier: Apache-2.0
"""Addresses of Identifier-Locator Addressing, one at a time.

A SIR address is a 64-bit SIR prefix and a 64-bit identifier. Its wire address
has a locator instead of the prefix, and the identifier's last 16 bits are
adjusted so that the one's complement sum over all eight 16-bit words stays the
same: every checksum over a pseudo-header stays right (draft-herbert-intarea-ila,
RFC 1071). Words are numbered W0 to W7 from the front, as in the draft:

    W4: type (3 bits), C-bit (1 bit), payload    W7: the adjustment

One's complement has two zeros, so W7 = 0x0000 cannot be restored. Such
identifiers are refused.

Nothing here touches maps or needs numpy; arrays are in `ilax.address_bulk`.
"""

from __future__ import annotations

import enum
import socket
import struct
from dataclasses import dataclass

from ilax.errors import AddressError

HALF_BITS = 64
HALF_MASK = (1 << HALF_BITS) - 1
WORD_MASK = 0xFFFF
TYPE_SHIFT = 61
CBIT = 1 << 60
# What one's complement addition of -0x1000 and +0x1000 to W7 makes up for when
# the C-bit is set and cleared in W4.
CBIT_WORD = 0x1000


class IdentifierError(AddressError):
    """A well-formed address whose identifier has no neutral mapping."""


class IdentifierType(enum.IntEnum):
    """The type field: the first three bits of an identifier."""

    INTERFACE_ID = 0
    LUID = 1
    VNID_IPV4 = 2
    VNID_IPV6 = 3
    MULTICAST = 4
    NONLOCAL = 5
    RESERVED_6 = 6
    RESERVED_7 = 7

    @property
    def label(self) -> str:
        """A name for people."""
        return _TYPE_LABELS[self]


_TYPE_LABELS = (
    "interface identifier",
    "locally unique identifier",
    "virtual network, IPv4",
    "virtual network, IPv6",
    "virtual network, multicast",
    "nonlocal address",
    "reserved",
    "reserved",
)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IPv6 address as its two halves, both 0..2**64-1 in host order.

    Raises:
        AddressError: a half is out of range.
    """

    prefix: int
    identifier: int

    def __post_init__(self) -> None:
        for name, half in (("prefix", self.prefix), ("identifier", self.identifier)):
            if not 0 <= half <= HALF_MASK:
                raise AddressError(f"{name} {half:#x} does not fit 64 bits")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Address:
        """Make an address of 16 bytes in network order, as in `struct in6_addr`.

        Raises:
            AddressError: not 16 bytes.
        """
        if len(raw) != 16:
            raise AddressError(f"an IPv6 address has 16 bytes, not {len(raw)}")
        return cls(*struct.unpack("!QQ", raw))

    @property
    def packed(self) -> bytes:
        """16 bytes in network order: a key of the endpoint and mapping tables."""
        return struct.pack("!QQ", self.prefix, self.identifier)

    @property
    def type(self) -> IdentifierType:
        """The identifier's type, where identifiers are typed."""
        return IdentifierType(self.identifier >> TYPE_SHIFT)

    @property
    def cbit(self) -> bool:
        """Whether the C-bit is set: "adjusted", where the C-bit is used."""
        return bool(self.identifier & CBIT)

    @property
    def adjustment(self) -> int:
        """W7, the identifier's last 16 bits."""
        return self.identifier & WORD_MASK

    @property
    def is_unicast(self) -> bool:
        """Whether one host can have it: neither multicast nor unspecified."""
        return self.prefix >> 56 != 0xFF and (self.prefix, self.identifier) != (0, 0)

    @property
    def checksum(self) -> int:
        """One's complement sum of the eight words; equal for SIR and wire."""
        return _fold(_sum_words(self.prefix) + _sum_words(self.identifier))

    def __str__(self) -> str:
        return socket.inet_ntop(socket.AF_INET6, self.packed)


@dataclass(frozen=True, slots=True, order=True)
class Prefix:
    """The upper `length` bits of `upper`, an upper half; length is 1..64.

    Raises:
        AddressError: the length is out of range, or bits behind it are set.
    """

    upper: int
    length: int = HALF_BITS

    def __post_init__(self) -> None:
        if not 1 <= self.length <= HALF_BITS:
            raise AddressError(f"prefix length {self.length} is not in 1..64")
        if not 0 <= self.upper <= HALF_MASK:
            raise AddressError(f"prefix {self.upper:#x} does not fit 64 bits")
        if self.upper & ~self.mask:
            raise AddressError(f"{self} has bits set behind its length")

    @property
    def mask(self) -> int:
        """64 bits, ones for the prefix."""
        return HALF_MASK ^ (HALF_MASK >> self.length)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, Address):
            return item.prefix & self.mask == self.upper
        if isinstance(item, Prefix):
            return item.length >= self.length and item.upper & self.mask == self.upper
        return False

    def __str__(self) -> str:
        packed = struct.pack("!QQ", self.upper & HALF_MASK, 0)
        return f"{socket.inet_ntop(socket.AF_INET6, packed)}/{self.length}"


def parse(text: str) -> Address:
    """Read an IPv6 address in any of its text forms, without a zone.

    Raises:
        AddressError: not an IPv6 address.
    """
    try:
        return Address.from_bytes(socket.inet_pton(socket.AF_INET6, text))
    except (OSError, ValueError) as error:
        # ValueError: a NUL or a lone surrogate in the text.
        raise AddressError(f"{text!r} is not an IPv6 address") from error


def parse_prefix(text: str, *, length: int | None = None) -> Prefix:
    """Read `ADDRESS/LENGTH` with a length of 1..64.

    Args:
        text: the prefix; `/LENGTH` may be missing where `length` is given.
        length: the only length that is right here, such as 64 for a locator.

    Raises:
        AddressError: malformed, another length, or bits set behind the length.
    """
    base, slash, digits = text.partition("/")
    if slash and not (digits.isascii() and digits.isdigit()):
        raise AddressError(f"{text!r}: the prefix length is not a number")
    if not slash and length is None:
        raise AddressError(f"{text!r} lacks a prefix length, such as /64")
    got = int(digits) if slash else length
    assert got is not None
    if length is not None and got != length:
        raise AddressError(f"{text!r} must be a /{length}")
    address = parse(base)
    if address.identifier:
        raise AddressError(f"{text!r} has bits set behind its length")
    return Prefix(address.prefix, got)


def _sum_words(half: int) -> int:
    return (half & 0xFFFF) + (half >> 16 & 0xFFFF) + (half >> 32 & 0xFFFF) + (half >> 48)


def _fold(total: int) -> int:
    while total > WORD_MASK:
        total = (total & WORD_MASK) + (total >> 16)
    return total


def difference(old_prefix: int, new_prefix: int) -> int:
    """What W7 takes up when `new_prefix` replaces `old_prefix` (both 64 bits)."""
    return _fold(_sum_words(old_prefix) + _sum_words(new_prefix ^ HALF_MASK))


def check_identifier(sir: Address, *, cbit: bool = True, typed: bool = True) -> None:
    """Refuse a SIR address that has no neutral mapping.

    Raises:
        IdentifierError: its last 16 bits are zero; or its type is 0 where
            identifiers are typed; or its C-bit is set where the C-bit is used.
    """
    if not sir.adjustment:
        raise IdentifierError(
            f"{sir}: the last 16 bits of an identifier must not be zero, "
            "a receiver could not restore them"
        )
    if typed and not sir.type:
        raise IdentifierError(f"{sir}: identifiers of type 0 are addresses of hosts")
    if cbit and sir.cbit:
        raise IdentifierError(f"{sir}: the C-bit of a SIR address must be zero")


def to_wire(sir: Address, locator: int, *, cbit: bool = True, typed: bool = True) -> Address:
    """Translate a SIR address to its wire address at `locator` (64 bits).

    Raises:
        IdentifierError: see `check_identifier`.
    """
    check_identifier(sir, cbit=cbit, typed=typed)
    change = difference(sir.prefix, locator)
    identifier = sir.identifier
    if cbit:
        change += CBIT_WORD ^ WORD_MASK
        identifier |= CBIT
    word = _fold(sir.adjustment + change)
    return Address(locator, identifier & ~WORD_MASK | word)


def to_sir(wire: Address, sir_prefix: int, *, cbit: bool = True) -> Address:
    """Translate a wire address back to the SIR address under `sir_prefix`.

    Raises:
        IdentifierError: no neutral mapping made this address: its C-bit is
            clear where the C-bit is used, or its last 16 bits are zero.
    """
    if cbit and not wire.cbit:
        raise IdentifierError(f"{wire}: the C-bit of a wire address must be one")
    if not wire.adjustment:
        raise IdentifierError(f"{wire}: the last 16 bits of a wire address are never zero")
    change = difference(wire.prefix, sir_prefix)
    identifier = wire.identifier
    if cbit:
        change += CBIT_WORD
        identifier &= ~CBIT
    word = _fold(wire.adjustment + change)
    return Address(sir_prefix, identifier & ~WORD_MASK | word)


@dataclass(frozen=True, slots=True)
class Translation:
    """One address, explained. All fields are plain text or numbers, for output.

    Attributes:
        sir: the SIR address.
        wire: the wire address; None for a SIR address seen without a locator.
        sir_prefix: such as `2001:db8:5a5a:1::/64`.
        locator: such as `2001:db8:42:7::/64`; None without a wire address.
        identifier: of the SIR address, 16 hexadecimal digits.
        type: number of the identifier's type, 0..7.
        type_name: the type in words.
        cbit: whether the wire form carries the C-bit.
        adjustment: last 16 bits of the wire address, or of the SIR address
            where there is none.
        difference: what was added to the SIR address's last 16 bits, 0..65535,
            in one's complement; None without a wire address.
    """

    sir: str
    wire: str | None
    sir_prefix: str
    locator: str | None
    identifier: str
    type: int
    type_name: str
    cbit: bool
    adjustment: int
    difference: int | None


def _explain(sir: Address, wire: Address | None, cbit: bool) -> Translation:
    change = None
    if wire is not None:
        change = difference(sir.prefix, wire.prefix)
        if cbit:
            change = _fold(change + (CBIT_WORD ^ WORD_MASK))
    return Translation(
        sir=str(sir),
        wire=None if wire is None else str(wire),
        sir_prefix=str(Prefix(sir.prefix)),
        locator=None if wire is None else str(Prefix(wire.prefix)),
        identifier=f"{sir.identifier:016x}",
        type=int(sir.type),
        type_name=sir.type.label,
        cbit=cbit and wire is not None,
        adjustment=(sir if wire is None else wire).adjustment,
        difference=change,
    )


def encode(sir: str, locator: str, *, cbit: bool = True, typed: bool = True) -> Translation:
    """Translate the text of a SIR address for the text of a locator.

    Raises:
        AddressError: malformed text, or see `check_identifier`.
    """
    source = parse(sir)
    target = parse_prefix(locator, length=HALF_BITS)
    return _explain(source, to_wire(source, target.upper, cbit=cbit, typed=typed), cbit)


def decode(text: str, sir_prefix: str, *, cbit: bool = True) -> Translation:
    """Explain the text of a SIR address or, under any other prefix, a wire address.

    Raises:
        AddressError: malformed text, or see `to_sir`.
    """
    address = parse(text)
    prefix = parse_prefix(sir_prefix, length=HALF_BITS)
    if address in prefix:
        return _explain(address, None, cbit)
    return _explain(to_sir(address, prefix.upper, cbit=cbit), address, cbit)
