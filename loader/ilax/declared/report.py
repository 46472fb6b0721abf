# SPDX-License-Identifier: Apache-2.0
"""A difference in words and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ilax import address_bulk
from ilax.declared.difference import Difference, Fields

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Halves = NDArray[np.uint64]


def lines(found: Difference, show: int) -> list[str]:
    """One line for each change: `+` new, `~` changed, `-` removed, `?` not declared.

    Notes on what was left out come last.

    Args:
        show: mappings of each kind that are named; the others are counted.
    """
    told = []
    if found.up:
        told.append(f"{'+' if found.fresh else '~'} up{_fields(found.up)}")
    for limit in found.limits.changes:
        told.append(f"{'+' if limit.fresh else '~'} limit {limit.cgroup}{_fields(limit.fields)}")
    for endpoint in found.endpoints:
        sign = "+" if endpoint.row is None else "~"
        anew = " (made anew)" if endpoint.anew else ""
        told.append(f"{sign} endpoint {endpoint.wish.sir}{_fields(endpoint.fields)}{anew}")
    told += _mappings(found, show)
    told += [f"~ repair {text}" for text in found.repairs]
    sign = "-" if found.prune else "?"
    told += [f"{sign} limit {name}" for name in found.limits.surplus.values()]
    told += [f"{sign} endpoint {row.sir}" for row in found.surplus_endpoints]
    told += [f"{sign} device {d.name} ({d.alias or 'unfinished'})" for d in found.devices]
    told += _some(sign, found.mappings.surplus, show)
    if found.surplus and not found.prune:
        told.append(f"{found.surplus} not declared (?), left alone: --prune would remove them")
    if found.empty:
        told.append("nothing to do")
    return told + [f"note: {one.text}" for one in found.skipped]


def as_json(found: Difference, show: int) -> dict[str, Any]:
    """The same for programs; `mappings` counts all and names some."""
    rows = found.mappings
    return {
        "changes": not found.empty,
        "prune": found.prune,
        "fresh": found.fresh,
        "up": _pairs(found.up),
        "limits": [
            {"cgroup": one.cgroup, "new": one.fresh, "fields": _pairs(one.fields)}
            for one in found.limits.changes
        ],
        "endpoints": [
            {
                "sir": str(one.wish.sir),
                "new": one.row is None,
                "anew": one.anew,
                "fields": _pairs(one.fields),
            }
            for one in found.endpoints
        ],
        "mappings": {
            "declared": len(rows.wanted.sir),
            "added": len(rows.added),
            "changed": len(rows.changed),
            "surplus": len(rows.surplus),
            "some_added": _texts(rows.added, rows.added_wire, show),
            "some_changed": [
                {**new, "old_wire": old["wire"]}
                for new, old in zip(
                    _texts(rows.changed, rows.new_wire, show),
                    _texts(rows.changed, rows.old_wire, show),
                    strict=True,
                )
            ],
            "some_surplus": address_bulk.format_texts(rows.surplus[:show]),
        },
        "repairs": found.repairs,
        "skipped": [
            {"kind": one.kind, "name": one.name, "line": one.line, "missing": list(one.missing)}
            for one in found.skipped
        ],
        "surplus": {
            "limits": list(found.limits.surplus.values()),
            "endpoints": [str(row.sir) for row in found.surplus_endpoints],
            "devices": [device.name for device in found.devices],
        },
    }


def _fields(fields: Fields) -> str:
    told = [f"{key} {_value(old)} -> {_value(new)}" for key, (old, new) in fields.items()]
    return f": {', '.join(told)}" if told else ""


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def _pairs(fields: Fields) -> dict[str, dict[str, Any]]:
    return {key: {"old": old, "new": new} for key, (old, new) in fields.items()}


def _texts(sir: Halves, wire: Halves, show: int) -> list[dict[str, str]]:
    pairs = zip(
        address_bulk.format_texts(sir[:show]), address_bulk.format_texts(wire[:show]), strict=True
    )
    return [{"sir": one, "wire": other} for one, other in pairs]


def _mappings(found: Difference, show: int) -> list[str]:
    rows = found.mappings
    told = [
        f"+ mapping {one['sir']} -> {one['wire']}"
        for one in _texts(rows.added, rows.added_wire, show)
    ]
    told += _rest("+", len(rows.added), show)
    olds = _texts(rows.changed, rows.old_wire, show)
    for new, old in zip(_texts(rows.changed, rows.new_wire, show), olds, strict=True):
        told.append(f"~ mapping {new['sir']}: {old['wire']} -> {new['wire']}")
    return told + _rest("~", len(rows.changed), show)


def _some(sign: str, sir: Halves, show: int) -> list[str]:
    told = [f"{sign} mapping {text}" for text in address_bulk.format_texts(sir[:show])]
    return told + _rest(sign, len(sir), show)


def _rest(sign: str, count: int, show: int) -> list[str]:
    return [f"{sign} mapping: {count - show} more"] if count > show else []
