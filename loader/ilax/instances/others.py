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

from ilax.address import Prefix
from ilax.bpf import Link, Map
from ilax.contract.layout_check import check_abi_row, map_differences
from ilax.contract.tables import Table, index_key
from ilax.errors import ConflictError, LayoutError, NotFoundError
from ilax.hooks.modes import TcMode
from ilax.hooks.places import UPLINK_INGRESS
from ilax.instances.instance import own_netns
from ilax.instances.pins import PinFolder, instances
from ilax.translation import fabric
from ilax.translation.fabric import Fabric

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


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is beside an instance.

    Attributes:
        at_work: live instances of this namespace.
        unread: names of those that may be, too: what they serve cannot be read.
    """

    at_work: tuple[Other, ...]
    unread: tuple[str, ...]


def at_work(own: str) -> tuple[Other, ...]:
    """All live instances of this namespace but `own`, as far as they can be read."""
    return survey(own).at_work


def survey(own: str) -> Survey:
    """Look at all instances but `own`.

    One with another contract, or that lacks maps, cannot be read; the former with
    a warning, as it is no accident.
    """
    found, unread = [], []
    for name in instances():
        if name == own:
            continue
        try:
            other = _read(name)
        except NotFoundError:
            pins = PinFolder(name)
            if pins.maps.is_dir() or pins.other_versions():
                unread.append(name)
            continue  # or not up yet, or not any more
        except LayoutError as error:
            _log.warning("%s; whether it shares anything with %s is not known", error, own)
            unread.append(name)
            continue
        if other is not None:
            found.append(other)
    return Survey(tuple(found), tuple(unread))


def _read(name: str) -> Other | None:
    pins = PinFolder(name)
    with Map.open_pinned(pins.maps / "ilax_config") as config:
        if map_differences("ilax_config", config, newer=True):
            _check_contract(pins)
        row = Table(config).get(index_key(0))
    # Before all else: what lacks maps elsewhere concerns nobody here.
    if row is None or int(row["netns"]) != own_netns():
        return None
    _check_contract(pins)
    uplink = int(row["uplink_ifindex"])
    tc = _tc_mode(pins, uplink)
    if not uplink or tc is None:
        return None
    with Map.open_pinned(pins.maps / "ilax_prefixes") as prefixes:
        rows = fabric.rows_of(Table(prefixes))
    # Also behind the end: what a killed `up` was about to serve.
    sir, locators = frozenset(fabric.sir_prefixes(rows)), frozenset(fabric.locators(rows))
    return Other(name, uplink, tc, sir, locators)


def _check_contract(pins: PinFolder) -> None:
    with Map.open_pinned(pins.maps / "ilax_abi") as abi:
        check_abi_row(abi, pins.instance, older=True)


def _tc_mode(pins: PinFolder, uplink: int) -> TcMode | None:
    """How it is attached; None if its device is gone.

    The kernel gives numbers of namespaces and of interfaces to new ones soon, so
    an instance whose namespace was deleted may seem to be of this one. Its links
    know better.
    """
    try:
        with Link.open_pinned(pins.links / UPLINK_INGRESS.link) as link:
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
