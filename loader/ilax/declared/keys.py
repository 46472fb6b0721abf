# SPDX-License-Identifier: Apache-2.0
"""Which keys each table of a file has, and what their values may be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ilax import units
from ilax.address import Prefix, parse, parse_prefix
from ilax.errors import UsageError
from ilax.hooks import tc_order, xdp_slot
from ilax.hooks.modes import TcMode, XdpMode
from ilax.limiting import limit_rules

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table.

    Attributes:
        field: of the dataclass that the table becomes.
        read: a value of TOML to a value of the field; raises UsageError.
        required: must be there.
        many: one value, or an array of them.
    """

    field: str
    read: Read
    required: bool = False
    many: bool = False


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string"}
    names |= {list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")


def text(value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise UsageError(f"must be a string, not {_kind(value)}")
    if not value.strip() or "\0" in value:
        raise UsageError("must not be empty" if "\0" not in value else "must not contain NUL")
    return value


def _number_or_text(value: Any) -> str:
    """A name, or a number that stands for one (a process, a cgroup)."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return _digits(value)
    return text(value)


def _digits(value: int) -> str:
    if value.bit_length() > 128:
        raise UsageError("is too large a number")
    return str(value)


def boolean(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise UsageError(f"must be true or false, not {_kind(value)}")
    return value


def integer(least: int, most: int) -> Read:
    """An integer inside of a range."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"must be an integer, not {_kind(value)}")
        if not least <= value <= most:
            raise UsageError(f"must be in {least}..{most}")
        return value

    return read


def choice(*among: str) -> Read:
    """One of some words."""

    def read(value: Any) -> str:
        word = text(value)
        if word not in among:
            raise UsageError(f"{word!r} is none of {', '.join(among)}")
        return word

    return read


def measure(parse_text: Callable[[str], Any]) -> Read:
    """A number with a unit, as on the command line."""

    def read(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value = _digits(value)
        return parse_text(text(value))

    return read


def _tag(value: Any) -> int:
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise UsageError(f"{value!r} is no number; write it like 16 or 0x10") from None
    return int(integer(0, 0xFFFFFFFF)(value))


def _address(value: Any) -> Any:
    return parse(text(value))


def _prefix(value: Any) -> Any:
    return parse_prefix(text(value))


def _prefix_64(value: Any) -> Any:
    return _locator(text(value))


# All mappings of a file name a few of them.
@functools.lru_cache(maxsize=1024)
def _locator(written: str) -> Prefix:
    return parse_prefix(written, length=64)


def _slot(value: Any) -> Any:
    return xdp_slot.parse(text(value))


def _place(value: Any) -> Any:
    return tc_order.parse(text(value))


UP = {
    "uplink": Key("uplink", text, required=True),
    "sir-prefix": Key("sir_prefixes", _prefix_64, required=True, many=True),
    "locator": Key("locators", _prefix_64, required=True, many=True),
    "block": Key("blocks", _prefix, many=True),
    "cbit": Key("cbit", boolean),
    "typed": Key("typed", boolean),
    "host-address": Key("host_address", _address),
    "gateway": Key("gateway", _address),
    "xdp": Key("xdp", choice(XdpMode.AUTO, XdpMode.NATIVE, XdpMode.OFF)),
    "xdp-chain": Key("xdp_chain", _slot),
    "tc": Key("tc", choice(*TcMode)),
    "tc-order": Key("tc_order", _place),
    "max-endpoints": Key("max_endpoints", integer(1, 1 << 24)),
    "max-mappings": Key("max_mappings", integer(1, 1 << 26)),
    "max-limits": Key("max_limits", integer(2, 1 << 22)),
}

ENDPOINT = {
    "sir": Key("sir", _address, required=True),
    "netns": Key("netns", _number_or_text),
    "host": Key("host", boolean),
    "device": Key("device", text),
    "delivery": Key("delivery", choice("stack", "xdp")),
    "link": Key("link", choice("veth", "netkit")),
    "mtu": Key("mtu", integer(1280, 65535)),
    "any-source": Key("any_source", boolean),
    "cgroup": Key("cgroup", _number_or_text),
}

MAPPING = {
    "sir": Key("sir", _address),
    "wire": Key("wire", _address),
    "locator": Key("locator", _prefix_64),
    "file": Key("file", text),
    "format": Key("format", choice("csv", "jsonl")),
}


@functools.cache
def limit() -> dict[str, Key]:
    """Keys of `[[limit]]`."""
    return {
        "cgroup": Key("cgroup", _number_or_text, required=True),
        "rate": Key("rate", measure(units.parse_rate)),
        "pps": Key("pps", measure(units.parse_packets)),
        "burst": Key("burst", measure(units.parse_time)),
        "mark-at": Key("mark_at", measure(units.parse_time)),
        "drop-at": Key("drop_at", measure(units.parse_time)),
        "small-extra": Key("small_extra", measure(units.parse_time)),
        "parent": Key("parent", _number_or_text),
        "action": Key("action", choice(*limit_rules.actions())),
        "tag-mark": Key("tag_mark", _tag),
        "tag-priority": Key("tag_priority", _tag),
    }
