# SPDX-License-Identifier: Apache-2.0
"""A decoded packet as one line, as several lines, and as what JSON knows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ilax.frames import headers

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.frames.packet import Packet
    from ilax.frames.translator import Translator

_PROTOCOLS = {
    headers.TCP: "tcp",
    headers.UDP: "udp",
    headers.ICMPV6: "icmpv6",
    headers.NO_NEXT: "nothing",
    4: "ipv4",
    41: "ipv6",
    47: "gre",
    50: "esp",
    89: "ospf",
    132: "sctp",
}
_ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x88CC: "LLDP", 0x8847: "MPLS"}
_ECN = ("", "ECT(1)", "ECT(0)", "CE")

_ICMPV6 = {
    1: "destination unreachable",
    2: "packet too big",
    3: "time exceeded",
    4: "parameter problem",
    128: "echo request",
    129: "echo reply",
    130: "listener query",
    131: "listener report",
    132: "listener done",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    137: "redirect",
    143: "listener report",
}
_UNREACHABLE = (
    "no route",
    "prohibited",
    "beyond scope",
    "address unreachable",
    "port unreachable",
    "source address refused",
    "route rejected",
)
_EXCEEDED = ("hop limit", "reassembly time")


def protocol_name(packet: Packet) -> str:
    """Name of the upper protocol, its number, or that of what is no IPv6."""
    if packet.protocol is None:
        return _ETHERTYPES.get(packet.ethertype, f"ethertype {packet.ethertype:#06x}")
    return (
        _PROTOCOLS.get(packet.protocol)
        or headers.EXTENSIONS.get(packet.protocol)
        or f"protocol {packet.protocol}"
    )


def one_line(packet: Packet, translator: Translator | None = None) -> str:
    """The packet in one line, in the manner of tcpdump.

    Args:
        packet: decoded.
        translator: adds the SIR address behind each wire address.
    """
    tags = "".join(f"vlan {number}, " for number in packet.vlans)
    if packet.src is None or packet.dst is None:
        cut = f", cut in its {packet.ends_in} header" if packet.ends_in else ""
        return f"{tags}{protocol_name(packet)}, {packet.length} bytes{cut}"
    ends = " > ".join(
        _end(address, port, translator)
        for address, port in ((packet.src, packet.src_port), (packet.dst, packet.dst_port))
    )
    facts = ", ".join(_upper_facts(packet, translator))
    return f"{tags}{ends}: {protocol_name(packet)}{facts and ' ' + facts}"


def lines(packet: Packet, translator: Translator | None = None) -> list[str]:
    """The packet, one line for each header; those of a quoted packet are indented.

    Args:
        packet: decoded.
        translator: says what each address means.
    """
    found = []
    if packet.src_mac is not None:
        tags = "".join(f", VLAN {number}" for number in packet.vlans)
        kind = "" if packet.src is not None else f", {protocol_name(packet)}"
        found.append(f"Ethernet  {packet.src_mac} > {packet.dst_mac}{tags}{kind}")
    if packet.src is not None and packet.dst is not None:
        found += [
            f"IPv6      from {_explained(packet.src, translator)}",
            f"          to   {_explained(packet.dst, translator)}",
            "          " + ", ".join(_network_facts(packet)),
        ]
        ports = "" if packet.src_port is None else f"{packet.src_port} > {packet.dst_port}"
        facts = [ports] if ports else []
        facts += _upper_facts(packet, translator, quote=False)
        found.append(f"{_title(packet):10}{', '.join(facts)}".rstrip())
    if packet.ends_in:
        found.append(f"          (cut in the {packet.ends_in} header)")
    if packet.quoted is not None:
        found.append("          about this packet:")
        found += [f"    {line}" for line in lines(packet.quoted, translator)]
    return found


def as_dict(packet: Packet, translator: Translator | None = None) -> dict[str, Any]:
    """The fields that the packet has, of types that JSON knows.

    Args:
        packet: decoded.
        translator: adds `src_meaning`, `dst_meaning` and `target_meaning`.

    Returns:
        Field names of `Packet`; addresses as text; `protocol_name` and `summary`
        (the one line) besides.
    """
    result: dict[str, Any] = {}
    for item in dataclasses.fields(packet):
        value = getattr(packet, item.name)
        if value is None or value == ():
            continue
        if item.name == "quoted":
            value = as_dict(packet.quoted, translator) if packet.quoted else None
        elif item.name in ("src", "dst", "target"):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        result[item.name] = value
    if translator is not None:
        for name in ("src", "dst", "target"):
            address = getattr(packet, name)
            meaning = None if address is None else translator.meaning(address)
            if meaning is not None:
                known = {
                    "kind": meaning.kind,
                    "sir": meaning.sir and str(meaning.sir),
                    "locator": meaning.locator and str(meaning.locator),
                    "ours": meaning.ours,
                    "name": meaning.name,
                }
                result[f"{name}_meaning"] = known
    result["protocol_name"] = protocol_name(packet)
    result["summary"] = one_line(packet, translator)
    return result


def _title(packet: Packet) -> str:
    name = protocol_name(packet)
    return {"icmpv6": "ICMPv6"}.get(name, name.upper() if len(name) <= 4 else name)


def _end(address: Address, port: int | None, translator: Translator | None) -> str:
    text = str(address) if port is None else f"{address}.{port}"
    meaning = translator.meaning(address) if translator else None
    if meaning is None:
        return text
    names = [meaning.name] if meaning.name else []
    if meaning.kind == "wire":
        names.append(f"SIR {meaning.sir}")
    return f"{text} ({', '.join(names)})" if names else text


def _explained(address: Address, translator: Translator | None) -> str:
    meaning = translator.meaning(address) if translator else None
    return str(address) if meaning is None else f"{address}  ({meaning})"


def _network_facts(packet: Packet) -> list[str]:
    facts = [f"hop limit {packet.hop_limit}", f"payload {packet.payload_length} bytes"]
    traffic_class = packet.traffic_class or 0
    if traffic_class >> 2:
        facts.append(f"DSCP {traffic_class >> 2}")
    if traffic_class & 3:
        facts.append(_ECN[traffic_class & 3])
    if packet.flow_label:
        facts.append(f"flow {packet.flow_label:#07x}")
    facts += [f"{name} header" for name in packet.extensions if name != "fragment"]
    if packet.fragment is not None:
        facts.append(_fragment(packet.fragment))
    return facts


def _fragment(fragment: tuple[int, bool, int]) -> str:
    offset, more, number = fragment
    return f"fragment {number:#x} at {offset}{', more follow' if more else ', the last'}"


def _upper_facts(packet: Packet, translator: Translator | None, *, quote: bool = True) -> list[str]:
    facts = []
    if quote:
        facts += [f"{name} header" for name in packet.extensions if name != "fragment"]
        if packet.fragment is not None:
            facts.append(_fragment(packet.fragment))
        if (packet.traffic_class or 0) & 3 == 3:
            facts.append("CE")
    if packet.flags is not None:
        facts += [f"[{packet.flags or 'none'}]", f"seq {packet.seq}"]
        if "A" in packet.flags:
            facts.append(f"ack {packet.ack}")
        facts.append(f"win {packet.window}")
    if packet.upper_length is not None:
        facts.append(f"{packet.upper_length} bytes")
    if packet.icmp_type is not None:
        facts += _icmpv6(packet)
    if packet.target is not None:
        facts.append(f"target {_end(packet.target, None, translator)}")
    if quote and packet.quoted is not None and packet.quoted.src is not None:
        facts.append(f"about {{{one_line(packet.quoted, translator)}}}")
    if quote and packet.ends_in:
        facts.append(f"cut in the {packet.ends_in} header")
    return facts


def _icmpv6(packet: Packet) -> list[str]:
    kind, code, rest = packet.icmp_type, packet.icmp_code or 0, packet.icmp_rest or 0
    name = _ICMPV6.get(kind or 0, f"type {kind}")
    match kind:
        case 1:
            detail = _UNREACHABLE[code] if code < len(_UNREACHABLE) else f"code {code}"
            return [f"{name}: {detail}"]
        case 2:
            return [f"{name}: MTU {rest}"]
        case 3:
            detail = _EXCEEDED[code] if code < len(_EXCEEDED) else f"code {code}"
            return [f"{name}: {detail}"]
        case 4:
            return [f"{name}: code {code} at byte {rest}"]
        case 128 | 129:
            return [name, f"id {rest >> 16}", f"seq {rest & 0xFFFF}"]
    return [name] if code == 0 else [name, f"code {code}"]
