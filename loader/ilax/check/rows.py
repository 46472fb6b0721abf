# SPDX-License-Identifier: Apache-2.0
"""Rows of endpoints, ports, devices and mappings: whether they fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ilax.address import Address
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.view import View
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.errors import IlaxError
from ilax.translation import mappings

if TYPE_CHECKING:
    import numpy as np

    from ilax.endpoint.endpoints import Endpoint

OUTSIDE = kind(
    "endpoint.outside", Severity.ERROR,
    "the wire address does not lead to this host, or not to this SIR address",
)  # fmt: skip
NO_MAPPING = kind(
    "endpoint.no-mapping", Severity.ERROR,
    "tasks of this host cannot reach the endpoint: its local mapping is missing", Remedy.STEP,
)  # fmt: skip
BAD_ROW = kind(
    "endpoint.bad-row", Severity.ERROR,
    "a row that the datapath cannot go by, or not wholly; whoever wrote it does not keep the "
    "contract",
)  # fmt: skip
ELSEWHERE = kind(
    "endpoint.elsewhere", Severity.WARNING,
    "a mapping says that the task lives on another host; packets that come are delivered here",
)  # fmt: skip
NO_PORT = kind(
    "endpoint.no-port", Severity.ERROR,
    "what the task sends is dropped (drop_unknown_port): its device has no row", Remedy.STEP,
)  # fmt: skip
WRONG_PORT = kind(
    "endpoint.wrong-port", Severity.ERROR,
    "what the task sends is dropped or counted elsewhere: its device's row is another's",
    Remedy.STEP,
)  # fmt: skip
NO_DEVMAP = kind(
    "endpoint.no-devmap", Severity.ERROR,
    "XDP drops what it would redirect (drop_no_device): ilax_devices lacks the device",
    Remedy.STEP,
)  # fmt: skip
DANGLING = kind(
    "mapping.dangling", Severity.WARNING,
    "a local mapping without an endpoint: tasks of this host send into the void",
)  # fmt: skip
BAD_MAPPING = kind(
    "mapping.bad", Severity.ERROR,
    "a row that leads nowhere or breaks checksums; whoever writes it does not keep the contract",
)  # fmt: skip

FULL = kind(
    "map.nearly-full", Severity.WARNING,
    "a table has little room left, or none: new rows will be refused",
)  # fmt: skip

# The share of rows in use from which on it is told, as by the alert.
_NEARLY_FULL = 0.9

# Findings of one kind that mappings may give; a broken daemon writes many.
_MOST = 16


@check(Needs.MAPS)
def room(view: View) -> Iterator[Finding]:
    """Tables have room for more."""
    instance = view.instance
    for table, used, most, option in (
        ("ilax_endpoints", len(view.endpoints), instance.endpoints.map.max_entries, "endpoints"),
        ("ilax_mappings", len(view.mappings[0]), instance.mappings.map.max_entries, "mappings"),
        # Row 0 is unused.
        ("ilax_limits", instance.cgroups.count(), instance.limits.map.max_entries - 1, "limits"),
    ):
        if used > most * _NEARLY_FULL:
            yield FULL.found(
                table,
                seen=f"{used} of {most} rows are in use",
                expected=f"at most {_NEARLY_FULL:.0%}",
                command=f"{view.command('export')} > FILE  # then a larger max-{option} in it, "
                f"{view.command('down')}, {view.command('apply FILE')}",
            )


@check(Needs.HOME)
def of_endpoints(view: View) -> Iterator[Finding]:
    """Each endpoint has all the rows by which it lives."""
    for endpoint in view.endpoints:
        yield from _address(view, endpoint)
        yield from _mapping(view, endpoint)
        if endpoint.delivery != "host" and endpoint.ifindex in view.here.links:
            yield from _port(view, endpoint)
            yield from _devmap(view, endpoint)


@check(Needs.HOME)
def endpoint_rows(view: View) -> Iterator[Finding]:
    """Each row stands under its own key, and names what there is."""
    import numpy as np

    keys, rows = view.instance.endpoints.rows()
    misplaced = (keys["prefix"] != rows["wire"]["prefix"]) | (
        keys["identifier"] != rows["wire"]["identifier"]
    )
    known = list(endpoints.deliveries().values())
    strange = ~np.isin(rows["delivery"], known) & (not view.instance.newer)
    uncounted = rows["slot"] >= view.instance.traffic.map.max_entries
    for index in np.flatnonzero(misplaced | strange | uncounted).tolist():
        row, sir = rows[index], _address_of(rows[index]["sir"])
        if misplaced[index]:
            key = _address_of(keys[index])
            seen = f"key {key}: what comes for it is dropped (drop_row_changed)"
        elif strange[index]:
            seen = f"delivery {int(row['delivery'])}"
        else:
            seen = f"slot {int(row['slot'])}, which ilax_traffic does not have"
        yield BAD_ROW.found(
            sir,
            seen=seen,
            expected=f"key {_address_of(row['wire'])}, a known way of delivery and a slot that "
            "there is",
            command=view.command(f"endpoint del {sir}"),
        )


def _address_of(halves: Any) -> Address:
    return Address(int(halves["prefix"]), int(halves["identifier"]))


def _address(view: View, endpoint: Endpoint) -> Iterator[Finding]:
    known, wanted = view.fabric, []
    try:
        known.check_sir(endpoint.sir)
        wanted = [known.to_wire(endpoint.sir, locator) for locator in known.locators]
    except IlaxError:
        pass
    if endpoint.wire not in wanted:
        yield OUTSIDE.found(
            endpoint.sir,
            seen=f"wire address {endpoint.wire}",
            expected=" or ".join(map(str, wanted)) or "an address below a SIR prefix",
            command=view.command(f"endpoint del {endpoint.sir}"),
        )


def _mapping(view: View, endpoint: Endpoint) -> Iterator[Finding]:
    row = mappings.get(view.instance, endpoint.sir)
    if row is None or (row.action != "forward" and row.wire != endpoint.wire):
        yield NO_MAPPING.found(
            endpoint.sir,
            seen=f"{row.action} {row.wire}" if row else "no mapping",
            expected=f"local {endpoint.wire}",
            command=view.command(f"mapping add {endpoint.sir} --wire {endpoint.wire}"),
            step=partial(mappings.put_local, view.instance, endpoint.sir, endpoint.wire),
        )
    elif row.action == "forward":
        yield ELSEWHERE.found(
            endpoint.sir,
            seen=f"forward to {row.wire}",
            expected=f"local {endpoint.wire}, or no endpoint here",
            command=view.command(f"endpoint del {endpoint.sir}"),
        )


def _port(view: View, endpoint: Endpoint) -> Iterator[Finding]:
    row = view.ports.get(endpoint.ifindex)
    flag = schema.enum("ilax_port_flag")["ILAX_PORT_ANY_SOURCE"]
    step = partial(
        endpoints.put_port, view.instance, endpoint.ifindex, endpoint.sir, endpoint.slot,
        any_source=bool(row is not None and int(row["flags"]) & flag),
    )  # fmt: skip
    fix = view.command("check --fix")
    if row is None:
        yield NO_PORT.found(
            endpoint.sir,
            seen=f"no row for interface {endpoint.ifindex}",
            expected="a row (--fix makes it with source checks: add a router's endpoint anew)",
            command=fix,
            step=step,
        )
        return
    sir = int(row["sir"]["prefix"]), int(row["sir"]["identifier"])
    if (*sir, int(row["slot"])) != (endpoint.sir.prefix, endpoint.sir.identifier, endpoint.slot):
        seen = f"{Address(*sir)}, slot {int(row['slot'])}"
        yield WRONG_PORT.found(
            endpoint.sir,
            seen=f"the row of interface {endpoint.ifindex} has {seen}",
            expected=f"{endpoint.sir}, slot {endpoint.slot}",
            command=fix,
            step=step,
        )


def _devmap(view: View, endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.delivery == "xdp" and endpoint.ifindex not in view.devices:
        key = index_key(endpoint.ifindex)
        yield NO_DEVMAP.found(
            endpoint.sir,
            seen=f"no entry for interface {endpoint.ifindex}",
            expected="an entry",
            command=view.command("check --fix"),
            step=partial(view.instance.devices.update, key, key),
        )


@check(Needs.HOME)
def of_mappings(view: View) -> Iterator[Finding]:
    """Mappings that are local have an endpoint; all of them keep the contract."""
    import numpy as np

    keys, rows = view.mappings
    actions = schema.enum("ilax_action")
    wires = {e.wire for e in view.endpoints}
    local = np.flatnonzero(rows["action"] == actions["ILAX_ACTION_LOCAL"])
    for index in local.tolist():
        wire = _address_of(rows[index]["wire"])
        if wire in wires:
            continue
        sir = _address_of(keys[index])
        yield DANGLING.found(
            sir,
            seen=f"local {wire}",
            expected="an endpoint, or no such row",
            command=view.command(f"mapping del {sir}"),
        )
    legal = np.isin(rows["action"], [actions["ILAX_ACTION_LOCAL"], actions["ILAX_ACTION_FORWARD"]])
    asked = np.zeros(len(keys), bool)
    for prefix in view.fabric.sir_prefixes:
        asked |= keys["prefix"] & np.uint64(prefix.mask) == prefix.upper
    bad = np.flatnonzero(~(legal & asked & (_sums(keys) == _sums(rows["wire"]))))
    prefixes = view.fabric.sir_prefixes
    # An endpoint outside of them is told as such, and its mapping goes with it.
    going = {e.sir: e.wire for e in view.endpoints if not any(e.sir in p for p in prefixes)}
    if going:
        own = [going.get(_address_of(keys[i])) == _address_of(rows[i]["wire"]) for i in bad]
        bad = bad[~np.array(own, bool)]
    for index in bad[:_MOST].tolist():
        sir, row = _address_of(keys[index]), rows[index]
        yield BAD_MAPPING.found(
            sir,
            seen=f"action {int(row['action'])}, wire address {_address_of(row['wire'])}"
            + ("" if asked[index] else ", outside of the SIR prefixes")
            + (f" ({len(bad)} rows are bad)" if len(bad) > _MOST else ""),
            expected="a SIR address, a known action and a checksum-neutral wire address",
            command=view.command(f"mapping del {sir}"),
        )


def _sums(addresses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """One's complement sums of the words of addresses, shape (n,): what checksums see."""
    import numpy as np

    total = np.zeros(len(addresses), np.uint64)
    for half in ("prefix", "identifier"):
        value = addresses[half].astype(np.uint64)
        for shift in (0, 16, 32, 48):
            total += value >> np.uint64(shift) & np.uint64(0xFFFF)
    for _ in range(2):
        total = (total & np.uint64(0xFFFF)) + (total >> np.uint64(16))
    # 0 and 0xffff are one number there.
    return total % np.uint64(0xFFFF)
