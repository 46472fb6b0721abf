# SPDX-License-Identifier: Apache-2.0
"""The tables of the contract, as the model sees them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from model import address

ACTION_LOCAL = 1
ACTION_FORWARD = 2

PREFIX_END = 0
PREFIX_SIR = 1
PREFIX_LOCATOR = 2
PREFIX_BLOCK = 3


class Police(enum.Enum):
    """What a limit says of every packet; model/limit.py has the arithmetic."""

    PASS = enum.auto()
    MARK = enum.auto()
    TAG = enum.auto()
    DROP = enum.auto()


@dataclass(frozen=True)
class Limit:
    says: Police
    mark: int = 0  # of the skb, for TAG
    prio: int = 0
    parents: tuple[int, ...] = ()


class Delivery(enum.IntEnum):
    STACK = 0
    XDP = 1
    HOST = 2


@dataclass(frozen=True)
class Endpoint:
    sir: bytes
    delivery: Delivery = Delivery.STACK
    ifindex: int = 0
    mtu: int = 0
    slot: int = 0
    mac: bytes = bytes(6)
    host_mac: bytes = bytes(6)
    wire: bytes | None = None  # what the row says of its own key; None = the truth
    limit: int = 0


@dataclass(frozen=True)
class Mapping:
    wire: bytes
    action: int = ACTION_FORWARD


@dataclass(frozen=True)
class Port:
    sir: bytes
    slot: int = 0
    any_source: bool = False


@dataclass(frozen=True)
class Prefix:
    upper: bytes
    kind: int
    length: int = 64
    sir_prefix: bytes = bytes(8)
    c_bit: bool = True
    typed: bool = True

    @property
    def mask(self) -> bytes:
        return ((1 << 64) - (1 << (64 - self.length))).to_bytes(8, "big")

    def covers(self, raw: bytes) -> bool:
        return bytes(a & b for a, b in zip(raw[:8], self.mask, strict=True)) == self.upper

    def is_host_address(self, raw: bytes) -> bool:
        """Identifiers of type 0 are ordinary addresses, where there are types."""
        return self.typed and address.identifier_type(raw) == 0


@dataclass(frozen=True)
class Config:
    uplink_ifindex: int = 0
    uplink_mtu: int = 0
    gateway: bytes = bytes(16)


@dataclass(frozen=True)
class Tables:
    endpoints: dict[bytes, Endpoint] = field(default_factory=dict)
    mappings: dict[bytes, Mapping] = field(default_factory=dict)
    ports: dict[int, Port] = field(default_factory=dict)
    prefixes: tuple[Prefix, ...] = ()
    config: Config = Config()
    devices: frozenset[int] = frozenset()
    limits: dict[int, Limit] = field(default_factory=dict)

    def chain(self, slot: int) -> list[Limit]:
        """A limit and its parents; nothing for slot 0."""
        if not slot:
            return []
        leaf = self.limits[slot]
        return [leaf, *(self.limits[parent] for parent in leaf.parents)]

    def classify(self, raw: bytes) -> Prefix | None:
        """The first row that matches, of those before the end."""
        for row in self.prefixes:
            if row.kind == PREFIX_END:
                break
            if row.covers(raw):
                return row
        return None
