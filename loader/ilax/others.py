# SPDX-License-Identifier: Apache-2.0
"""The other instances of this network namespace, and what must not be shared.

Two instances may serve two SIR domains of one host, also over one uplink: tcx
runs the programs of both, and each passes on what is not its own. A route leads
to one instance only, and so does the single place among the filters of clsact. A
packet for a locator is the first instance's, which drops it if it does not know the
identifier.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ilax import fabric
from ilax.address import Prefix
from ilax.attach import TcMode
from ilax.bpf import Link, Map
from ilax.errors import ConflictError, LayoutError, NotFoundError
from ilax.fabric import Fabric
from ilax.instance import own_netns
from ilax.layout_check import check_abi_row
from ilax.pins import PinFolder, instances
from ilax.tables import Table, index_key

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Other:
    """Another instance that is at work in this namespace.

    Attributes:
        uplink: number of its interface.
        tc: TCX or CLSACT.
    """

    name: str
    uplink: int
    tc: TcMode
    sir_prefixes: frozenset[Prefix]
    locators: frozenset[Prefix]


def at_work(own: str) -> list[Other]:
    """All live instances of this namespace but `own`.

    One with another contract cannot be read; it is left out, with a warning.
    """
    found = []
    for name in instances():
        if name == own:
            continue
        try:
            other = _read(name)
        except NotFoundError:
            continue  # half of an instance: not up yet, or not any more
        except LayoutError as error:
            _log.warning("%s; whether it shares anything with %s is not known", error, own)
            continue
        if other is not None:
            found.append(other)
    return found


def _read(name: str) -> Other | None:
    pins = PinFolder(name)
    with (
        Map.open_pinned(pins.maps / "ilax_abi") as abi,
        Map.open_pinned(pins.maps / "ilax_config") as config,
        Map.open_pinned(pins.maps / "ilax_prefixes") as prefixes,
    ):
        check_abi_row(abi, name, older=True)
        row = Table(config).get(index_key(0))
        if row is None or int(row["netns"]) != own_netns():
            return None
        rows = fabric.rows_of(Table(prefixes))
    uplink = int(row["uplink_ifindex"])
    tc = _tc_mode(pins, uplink)
    if not uplink or tc is None:
        return None
    # Also behind the end: what a killed `up` was about to serve.
    sir, locators = frozenset(fabric.sir_prefixes(rows)), frozenset(fabric.locators(rows))
    return Other(name, uplink, tc, sir, locators)


def _tc_mode(pins: PinFolder, uplink: int) -> TcMode | None:
    """How it is attached; None if its device is gone.

    The kernel gives numbers of namespaces and of interfaces to new ones soon, so
    an instance whose namespace was deleted may seem to be of this one. Its links
    know better.
    """
    try:
        with Link.open_pinned(pins.links / "uplink_ingress") as link:
            return TcMode.TCX if link.info().ifindex == uplink else None
    except NotFoundError:
        return TcMode.CLSACT


def shared_prefixes(other: Other, own: Fabric) -> Iterator[tuple[str, Prefix]]:
    """Prefixes that only one of two instances can serve, each with what it is."""
    for what, theirs, ours in (
        ("SIR prefix", other.sir_prefixes, own.sir_prefixes),
        ("locator", other.locators, own.locators),
    ):
        for prefix in sorted(theirs & set(ours), key=str):
            yield what, prefix


def refuse_shared(others: Iterable[Other], uplink: int, own: Fabric, tc: TcMode) -> None:
    """Raise if an instance would take what another one lives on.

    Raises:
        ConflictError: names the other instance; nothing was changed.
    """
    for other in others:
        for what, prefix in shared_prefixes(other, own):
            raise ConflictError(
                f"instance {other.name} serves {what} {prefix} in this network namespace; "
                "nothing was changed",
                hint=f"`ilax --instance {other.name} down` first, or name that --instance",
            )
        if other.uplink == uplink and TcMode.CLSACT in (other.tc, tc):
            raise ConflictError(
                f"instance {other.name} serves this uplink, and clsact has room for one "
                "instance only; nothing was changed",
                hint=f"`ilax --instance {other.name} down` first, or use tcx for both",
            )
