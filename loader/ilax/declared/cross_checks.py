# SPDX-License-Identifier: Apache-2.0
"""What no key can tell by itself: contradictions inside of one file."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ilax.address import Address
from ilax.declared.document import EndpointWish, LimitWish, Raw, Up
from ilax.declared.positions import Path
from ilax.declared.problems import Problems
from ilax.errors import UsageError
from ilax.hooks.modes import TcMode, XdpMode
from ilax.limiting import limit_rules
from ilax.limiting.limit_rules import Rules, Wish
from ilax.translation import fabric as fabric_module
from ilax.translation.fabric import Fabric

# Of the frame that rules are tried with before the uplink is known: MTU 1500.
_FRAME_BYTES = 1538

_PREFIX_KEYS = {("up", key) for key in ("sir-prefix", "locator", "block", "cbit", "typed")}


def check(found: Raw, problems: Problems) -> Fabric | None:
    """Check what belongs together.

    Returns:
        The prefixes as one, or None if they contradict each other.
    """
    fabric = None if found.up is None else _fabric(found.up, problems)
    _endpoints(found, fabric, problems)
    _limits(found.limits, problems)
    return fabric


def _fabric(up: Up, problems: Problems) -> Fabric | None:
    _prefixes(up, problems)
    if up.tc_order is not None and up.tc == TcMode.CLSACT:
        problems.add(("up", "tc-order"), "needs tcx: filters of clsact have preferences instead")
    if up.xdp_chain is not None and up.xdp != XdpMode.AUTO:
        problems.add(("up", "xdp-chain"), f'goes with xdp = "{XdpMode.AUTO}" only')
    if up.gateway is not None and not up.gateway.is_unicast:
        problems.add(("up", "gateway"), f"{up.gateway} cannot be a next hop")
    if any(problem.path[:2] in _PREFIX_KEYS for problem in problems.found):
        return None  # or all addresses would be outside of what is missing
    fabric = problems.attempt(
        ("up",), Fabric, up.sir_prefixes, up.locators, up.blocks, cbit=up.cbit, typed=up.typed
    )
    if fabric is None:
        return None
    for number, locator in enumerate(up.locators):
        doubt = fabric.doubt(locator)
        if doubt:
            problems.note(("up", "locator", number), doubt)
    if up.host_address is not None:
        problems.attempt(("up", "host-address"), fabric.check_sir, up.host_address)
    return fabric


def _prefixes(up: Up, problems: Problems) -> None:
    """Each prefix by itself, and pairs of them."""
    lists = (("sir-prefix", up.sir_prefixes), ("locator", up.locators), ("block", up.blocks))
    for key, prefixes in lists:
        for number, prefix in enumerate(prefixes):
            path = ("up", key, number)
            problems.attempt(path, fabric_module.check_global, prefix)
            if prefix in prefixes[:number]:
                problems.add(path, f"{prefix} stands there twice")
    for number, sir in enumerate(up.sir_prefixes):
        for other in (*up.locators, *up.blocks):
            if sir in other or other in sir:
                problems.add(("up", "sir-prefix", number), f"{sir} and {other} overlap")


# --- endpoints -----------------------------------------------------------------


def _twice(
    wishes: Iterable[Any], key: Callable[[Any], object], what: str, field: str, problems: Problems
) -> None:
    first: dict[object, Path] = {}
    for wish in wishes:
        value = key(wish)
        if value is None:
            continue
        if value in first:
            line = problems.line((*first[value], field))
            problems.add((*wish.path, field), f"{what.format(value)} (line {line})")
        else:
            first[value] = wish.path


def _endpoints(found: Raw, fabric: Fabric | None, problems: Problems) -> None:
    _twice(found.endpoints, lambda e: e.sir, "{} is an endpoint already", "sir", problems)
    _twice(
        found.endpoints,
        # It has one default route.
        lambda endpoint: endpoint.netns,
        "network namespace {} has an endpoint already",
        "netns",
        problems,
    )
    limit_most = found.up.max_endpoints if found.up is not None else 0
    if limit_most and len(found.endpoints) > limit_most:
        problems.add(("up", "max-endpoints"), f"there are {len(found.endpoints)} endpoints")
    for wish in found.endpoints:
        problems.attempt((*wish.path, "device"), _device, wish)
        problems.attempt((*wish.path, "delivery"), _delivery, wish)
        host_address = found.up.host_address if found.up is not None else None
        if wish.sir == host_address and wish.netns is not None:
            problems.add((*wish.path, "sir"), f"{wish.sir} is the host's address, see [up]")
        if fabric is not None:
            problems.attempt((*wish.path, "sir"), fabric.check_sir, wish.sir)
    if fabric is not None:
        _wires(found.endpoints, fabric, problems)


def _device(wish: EndpointWish) -> None:
    from ilax.endpoint.containers import check_device_name

    check_device_name(wish.device)


def _delivery(wish: EndpointWish) -> None:
    from ilax.endpoint.containers import check_delivery

    check_delivery(wish.delivery, wish.link)


def _wires(endpoints: list[EndpointWish], fabric: Fabric, problems: Problems) -> None:
    """Two SIR prefixes may give two tasks one wire address."""
    owners: dict[Address, Address] = {}
    for wish in endpoints:
        try:
            wire = fabric.to_wire(wish.sir)
        except UsageError:
            continue  # told already
        other = owners.setdefault(wire, wish.sir)
        if other != wish.sir:
            problems.add((*wish.path, "sir"), f"{wish.sir} has the wire address of {other}")


# --- limits ----------------------------------------------------------------------


def wish_of(limit: LimitWish) -> Wish:
    """What a new limit is asked for."""
    return Wish(
        rate=limit.rate,
        packets=limit.pps,
        burst=limit.burst,
        mark=limit.mark_at,
        drop=limit.drop_at,
        small=limit.small_extra,
        action=limit.action,
        tag_mark=limit.tag_mark,
        tag_priority=limit.tag_priority,
    )


def rules_of(limit: LimitWish, frame: int) -> Rules:
    """The rules that a limit gets.

    Raises:
        UsageError: what was asked makes no sense.
    """
    return limit_rules.decide(wish_of(limit), None, frame)


def same_cgroup(text: str) -> str:
    """How a cgroup is written, without what makes no difference."""
    return posixpath.normpath(text)


def _limits(limits: list[LimitWish], problems: Problems) -> None:
    _twice(
        [replace(limit, cgroup=same_cgroup(limit.cgroup)) for limit in limits],
        lambda limit: limit.cgroup,
        "cgroup {} has a limit already",
        "cgroup",
        problems,
    )
    known = {same_cgroup(limit.cgroup): limit for limit in limits}
    above: dict[str, str] = {}
    wrong = {problem.path[:2] for problem in problems.found}
    for name, limit in known.items():
        if limit.path not in wrong:
            problems.attempt(limit.path, rules_of, limit, _FRAME_BYTES)
        parent = same_cgroup(limit.parent)
        if parent in ("auto", "none"):
            continue
        above[name] = parent
        if parent not in known:
            problems.add(
                (*limit.path, "parent"),
                f"{limit.parent} has no [[limit]] in this file; write it as its own table does",
            )
    for name in _circles(above):
        problems.add((*known[name].path, "parent"), f"the limit of {name} would be its own parent")


def _circles(above: dict[str, str]) -> list[str]:
    """Names that lead back to themselves. Each step is taken once, however long chains are."""
    found: set[str] = set()
    done: set[str] = set()
    for start in above:
        walk: dict[str, None] = {}
        at = start
        while at in above and at not in done and at not in walk:
            walk[at] = None
            at = above[at]
        if at in walk:
            steps = list(walk)
            found.update(steps[steps.index(at) :])
        done.update(walk)
    return [name for name in above if name in found]
