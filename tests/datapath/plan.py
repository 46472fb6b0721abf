# SPDX-License-Identifier: Apache-2.0
"""The host that all tests of the datapath look at: its devices and tables.

Three SIR domains stand side by side, one for each rule of identifiers:
with a C-bit, without it ("auto"), and without types.
"""

from __future__ import annotations

from dataclasses import dataclass

from model import address as ila
from model.address import address, upper
from model.tables import (
    ACTION_FORWARD,
    ACTION_LOCAL,
    PREFIX_BLOCK,
    PREFIX_LOCATOR,
    PREFIX_SIR,
    Config,
    Delivery,
    Endpoint,
    Limit,
    Mapping,
    Police,
    Port,
    Prefix,
    Tables,
)

LOOPBACK, UPLINK, TASK1, TASK2, TASK3, STRANGER, GONE = 1, 11, 21, 22, 23, 31, 99
MTU = 1500


def mac(ifindex: int, side: int = 0) -> bytes:
    """Of a device of the host (side 0), or of its peer (side 1)."""
    return bytes((2, 0, 0, 0, side, ifindex)) if ifindex != LOOPBACK else bytes(6)


@dataclass(frozen=True)
class Domain:
    """A SIR domain.

    Attributes:
        own: this host's locator.
        far: another host's locator, inside `block`.
        block: 48 bits.
    """

    sir: bytes
    own: bytes
    far: bytes
    block: bytes
    c_bit: bool
    typed: bool

    def name(self, identifier: str) -> bytes:
        """SIR address of an identifier written as in `2000:7:a1b2:c3d4`."""
        return self.sir + address(f"::{identifier}")[8:]

    def here(self, identifier: str) -> bytes:
        """Wire address at this host."""
        return ila.to_wire(self.name(identifier), self.own, self.c_bit)

    def there(self, identifier: str) -> bytes:
        """Wire address at the other host."""
        return ila.to_wire(self.name(identifier), self.far, self.c_bit)

    def rows(self) -> tuple[Prefix, ...]:
        return (
            self.prefix(self.sir, PREFIX_SIR),
            self.prefix(self.own, PREFIX_LOCATOR),
            self.prefix(self.block, PREFIX_BLOCK, 48),
        )

    def prefix(self, upper: bytes, kind: int, length: int = 64) -> Prefix:
        """A row of this domain."""
        sir = bytes(8) if kind == PREFIX_SIR else self.sir
        return Prefix(upper, kind, length, sir, c_bit=self.c_bit, typed=self.typed)


def _domain(sir: str, block: int, *, c_bit: bool, typed: bool) -> Domain:
    at = f"2001:db8:{block}"
    return Domain(
        upper(sir), upper(f"{at}:7::"), upper(f"{at}:9::"), upper(f"{at}::"), c_bit, typed
    )


CBIT = _domain("2001:db8:5a5a:1::", 42, c_bit=True, typed=True)
AUTO = _domain("2001:db8:5b5b:1::", 43, c_bit=False, typed=True)
PLAIN = _domain("2001:db8:5c5c:1::", 44, c_bit=False, typed=False)
DOMAINS = (CBIT, AUTO, PLAIN)

# Identifiers, the same in each domain. Those after "2000" are of type 1.
STACK_TASK = "2000:7:a1b2:c3d4"
XDP_TASK = "2000:7:a1b2:1"
HOST_TASK = "2000:7:a1b2:ffff"
ANY_MTU_TASK = "2000:7:0:2"
JUMBO_XDP_TASK = "2000:7:0:3"
DEVICELESS_TASK = "2000:7:0:4"
RECYCLED_TASK = "2000:7:0:5"
FAR_TASK = "2000:7:b1b2:c3d4"
MULTICAST_TYPE_TASK = "8000:7:b1b2:c3d4"  # any type but 0 will do
UNTYPED_TASK = "7:b1b2:c3d4"  # type 0: a task in PLAIN only
DANGLING = "2000:7:0:6"
NO_ACTION = "2000:7:0:7"
BAD_ACTION = "2000:7:0:8"
MOVED_TASK = "2000:7:0:9"  # its mapping leads to FAR_TASK's wire address
UNKNOWN = "2000:7:dead:beef"
# Tasks whose limit has made up its mind.
WITHIN_TASK = "2000:8:0:1"
MARKED_TASK = "2000:8:0:2"
TAGGED_TASK = "2000:8:0:3"
OVER_TASK = "2000:8:0:4"
PARENT_OVER_TASK = "2000:8:0:5"
PARENT_MARKED_TASK = "2000:8:0:6"
MARKED_XDP_TASK = "2000:8:0:7"
OVER_XDP_TASK = "2000:8:0:8"
TAGGED_HOST_TASK = "2000:8:0:9"
OVER_HOST_TASK = "2000:8:0:a"
HOST_ADDRESS = "1"

# slot of ilax_traffic: the endpoint's and its port's
SLOTS = {STACK_TASK: 1, XDP_TASK: 2, HOST_TASK: 3, ANY_MTU_TASK: 4, JUMBO_XDP_TASK: 5}

# slot of ilax_limits
PASSES, MARKS, TAGS, REFUSES, PARENT_REFUSES, PARENT_MARKS = range(1, 7)
LIMITS = {
    PASSES: Limit(Police.PASS),
    MARKS: Limit(Police.MARK),
    TAGS: Limit(Police.TAG, mark=0x10A5, prio=6),
    REFUSES: Limit(Police.DROP),
    PARENT_REFUSES: Limit(Police.PASS, parents=(PASSES, MARKS, REFUSES)),
    PARENT_MARKS: Limit(Police.TAG, mark=7, prio=1, parents=(PASSES, TAGS, MARKS, PASSES)),
}
_LIMITED = (
    (WITHIN_TASK, Delivery.STACK, TASK1, PASSES),
    (MARKED_TASK, Delivery.STACK, TASK1, MARKS),
    (TAGGED_TASK, Delivery.STACK, TASK1, TAGS),
    (OVER_TASK, Delivery.STACK, TASK1, REFUSES),
    (PARENT_OVER_TASK, Delivery.STACK, TASK1, PARENT_REFUSES),
    (PARENT_MARKED_TASK, Delivery.STACK, TASK1, PARENT_MARKS),
    (MARKED_XDP_TASK, Delivery.XDP, TASK2, MARKS),
    (OVER_XDP_TASK, Delivery.XDP, TASK2, REFUSES),
    (TAGGED_HOST_TASK, Delivery.HOST, 0, TAGS),
    (OVER_HOST_TASK, Delivery.HOST, 0, REFUSES),
)


def _endpoints(domain: Domain) -> dict[bytes, Endpoint]:
    kinds = (
        (STACK_TASK, Delivery.STACK, TASK1, MTU),
        (XDP_TASK, Delivery.XDP, TASK2, MTU),
        (HOST_TASK, Delivery.HOST, 0, MTU),
        (ANY_MTU_TASK, Delivery.STACK, TASK1, 0),
        (JUMBO_XDP_TASK, Delivery.XDP, TASK3, 9000),
        (DEVICELESS_TASK, Delivery.XDP, GONE, MTU),
        (RECYCLED_TASK, Delivery.STACK, TASK1, MTU),
    )
    limits = {name: slot for name, _, _, slot in _LIMITED}
    limited = [(name, delivery, ifindex, MTU) for name, delivery, ifindex, _ in _LIMITED]
    return {
        domain.here(name): Endpoint(
            domain.name(name),
            delivery,
            ifindex,
            mtu,
            SLOTS.get(name, 0) if domain is CBIT else 0,
            mac(ifindex, 1) if ifindex else bytes(6),
            mac(ifindex) if ifindex else bytes(6),
            wire=domain.here(UNKNOWN) if name == RECYCLED_TASK else None,
            limit=limits.get(name, 0),
        )
        for name, delivery, ifindex, mtu in (*kinds, *limited)
    }


def _mappings(domain: Domain) -> dict[bytes, Mapping]:
    here = (*SLOTS, DEVICELESS_TASK, RECYCLED_TASK, DANGLING, *(row[0] for row in _LIMITED))
    rows = {domain.name(name): Mapping(domain.here(name), ACTION_LOCAL) for name in here}
    for name in (FAR_TASK, MULTICAST_TYPE_TASK):
        rows[domain.name(name)] = Mapping(domain.there(name), ACTION_FORWARD)
    if not domain.typed:
        rows[domain.name(UNTYPED_TASK)] = Mapping(domain.there(UNTYPED_TASK), ACTION_FORWARD)
    rows[domain.name(NO_ACTION)] = Mapping(domain.here(STACK_TASK), 0)
    rows[domain.name(BAD_ACTION)] = Mapping(domain.here(STACK_TASK), 9)
    rows[domain.name(MOVED_TASK)] = Mapping(domain.there(FAR_TASK), ACTION_FORWARD)
    return rows


PLAN = Tables(
    endpoints={key: row for domain in DOMAINS for key, row in _endpoints(domain).items()},
    mappings={key: row for domain in DOMAINS for key, row in _mappings(domain).items()},
    ports={
        TASK1: Port(CBIT.name(STACK_TASK), slot=1),
        TASK2: Port(CBIT.name(XDP_TASK), slot=2),
        TASK3: Port(CBIT.name(JUMBO_XDP_TASK), slot=5, any_source=True),
    },
    prefixes=tuple(row for domain in DOMAINS for row in domain.rows()),
    config=Config(uplink_ifindex=UPLINK, uplink_mtu=MTU),
    devices=frozenset((TASK2, TASK3)),
    limits=LIMITS,
)
