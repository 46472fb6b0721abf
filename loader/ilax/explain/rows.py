# SPDX-License-Identifier: Apache-2.0
"""Which rows of the live maps a packet meets, in the order in which programs look.

A test run does not say what a program has looked up. This follows the same order
(`datapath/ingress.h`, `egress.h`, `container.h`) as far as the reason tells that
the program came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ilax.address import Address, Prefix
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.errors import AddressError
from ilax.explain.limits import chain
from ilax.hooks.places import CONTAINER, UPLINK_INGRESS, XDP_INGRESS
from ilax.translation import fabric, mappings, prefix_rows

if TYPE_CHECKING:
    from ilax.endpoint.endpoints import Endpoint
    from ilax.frames import Packet
    from ilax.hooks.places import Hook
    from ilax.instances.instance import Instance
    from ilax.translation.mappings import Mapping
    from ilax.translation.prefix_rows import Row


@dataclass(frozen=True, slots=True)
class PrefixUse:
    """What an address is, by the table of prefixes.

    Attributes:
        of: "destination" or "quoted destination".
        kind: "sir", "locator", "block"; "none" if no row matches.
        prefix: None if no row matches.
        row: index in `ilax_prefixes`, None if no row matches.
    """

    of: str
    address: Address
    kind: str
    prefix: Prefix | None
    row: int | None


@dataclass(frozen=True, slots=True)
class Port:
    """A row of `ilax_ports`: what a device may send."""

    ifindex: int
    sir: Address
    any_source: bool
    slot: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that was looked for and is not there."""

    table: str
    key: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What was found; None where nothing was looked for.

    Attributes:
        limits: slots of the endpoint's limit and its parents, nearest first.
    """

    prefixes: tuple[PrefixUse, ...] = ()
    port: Port | Missing | None = None
    mapping: Mapping | Missing | None = None
    endpoint: Endpoint | Missing | None = None
    limits: tuple[int, ...] = ()


NO_ROWS = Rows()

_NOTHING_READ = (
    "pass_not_ipv6",
    "pass_malformed",
    "pass_many_tags",
    "pass_not_linear",
    "pass_other_host",
    "drop_malformed",
)


def met(instance: Instance, place: Hook, packet: Packet) -> Rows:
    """All rows that a packet can meet at a hook."""
    if packet.dst is None:
        return NO_ROWS
    if place.kind in (XDP_INGRESS, UPLINK_INGRESS):
        return _ingress(instance, packet, packet.dst)
    found = _towards(instance, packet.dst, local=place.kind is CONTAINER)
    if place.kind is not CONTAINER:
        return found
    port = _port(instance, place.ifindex)
    return Rows(found.prefixes, port, found.mapping, found.endpoint, found.limits)


def as_far_as(found: Rows, reason: str) -> Rows:
    """Only what the program had looked at when it came to its reason."""
    if reason in _NOTHING_READ:
        return NO_ROWS
    if reason in ("drop_unknown_port", "drop_spoofed_source"):
        return Rows(port=found.port)
    return found


def _ingress(instance: Instance, packet: Packet, dst: Address) -> Rows:
    prefixes: tuple[PrefixUse, ...] = ()
    mapping: Mapping | Missing | None = None
    endpoint = endpoints.get(instance, dst)
    if endpoint is None:
        found = _classify(instance, "destination", dst)
        prefixes = (found,)
        if found.kind == "sir":
            mapping = _mapping(instance, dst)
            if not isinstance(mapping, Missing) and mapping.action == "local":
                endpoint = endpoints.get(instance, mapping.wire)
    if packet.quoted is not None and packet.quoted.dst is not None:
        quoted = _classify(instance, "quoted destination", packet.quoted.dst)
        prefixes = (*prefixes, quoted)
        if quoted.kind in ("locator", "block"):
            mapping = _quoted(instance, packet.quoted.dst)
    absent = None
    if endpoint is None and prefixes and prefixes[0].kind == "locator":
        absent = Missing("ilax_endpoints", str(dst))
    slots = chain(instance, endpoint.limit) if endpoint else ()
    return Rows(prefixes, None, mapping, endpoint or absent, slots)


def _quoted(instance: Instance, wire: Address) -> Mapping | Missing | None:
    """The mapping that has to lead to the address that an ICMPv6 error quotes."""
    from ilax.frames import Translator

    sir = Translator.of(fabric.read(instance)).to_sir(wire)
    return None if sir is None else _mapping(instance, sir)


def _towards(instance: Instance, dst: Address, *, local: bool) -> Rows:
    prefix = _classify(instance, "destination", dst)
    if prefix.kind != "sir":
        return Rows((prefix,))
    mapping = _mapping(instance, dst)
    if isinstance(mapping, Missing) or mapping.action != "local" or not local:
        return Rows((prefix,), mapping=mapping)
    endpoint = endpoints.get(instance, mapping.wire)
    if endpoint is None:
        missing = Missing("ilax_endpoints", str(mapping.wire))
        return Rows((prefix,), mapping=mapping, endpoint=missing)
    slots = chain(instance, endpoint.limit)
    return Rows((prefix,), mapping=mapping, endpoint=endpoint, limits=slots)


def _mapping(instance: Instance, sir: Address) -> Mapping | Missing:
    return mappings.get(instance, sir) or Missing("ilax_mappings", str(sir))


def _port(instance: Instance, ifindex: int) -> Port | Missing:
    row: Any = instance.ports.get(index_key(ifindex))
    if row is None:
        return Missing("ilax_ports", f"interface {ifindex}")
    return Port(
        ifindex=ifindex,
        sir=Address(int(row["sir"]["prefix"]), int(row["sir"]["identifier"])),
        any_source=bool(row["flags"] & schema.enum("ilax_port_flag")["ILAX_PORT_ANY_SOURCE"]),
        slot=int(row["slot"]),
    )


def _classify(instance: Instance, of: str, address: Address) -> PrefixUse:
    for index, row in enumerate(prefix_rows.until_end(fabric.read_rows(instance))):
        if address.prefix & row.mask == row.prefix:
            return PrefixUse(of, address, _kind(row), _prefix(row), index)
    return PrefixUse(of, address, "none", None, None)


def _kind(row: Row) -> str:
    for name, value in schema.enum("ilax_prefix_kind").items():
        if value == row.kind:
            return name.removeprefix("ILAX_PREFIX_").lower()
    return str(row.kind)


def _prefix(row: Row) -> Prefix | None:
    try:
        return Prefix(row.prefix, row.mask.bit_count())
    except AddressError:
        return None
