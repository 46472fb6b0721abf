# SPDX-License-Identifier: Apache-2.0
"""The live state as a file that declares it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ilax import __version__, address_bulk
from ilax.declared import host, live
from ilax.declared.difference_limits import as_options
from ilax.declared.document import VERSION
from ilax.declared.live import Live, LiveEndpoint
from ilax.endpoint.endpoints import deliveries
from ilax.errors import NotFoundError, UsageError
from ilax.hooks import tc_order
from ilax.instances.instance import Instance
from ilax.limiting.limit_rules import actions
from ilax.system import cgroups
from ilax.system.netlink import Network, interface_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ilax.address import Address
    from ilax.limiting.limit_book import Book
    from ilax.translation.fabric import Fabric

# Where the device of an endpoint is: name of its namespace, and its own inside.
Places = dict[bytes, tuple[str, str]]


@dataclass
class Exported:
    """A file in two parts.

    Attributes:
        lines: without mappings.
        sir, rows: the mappings that belong into it, as `mappings.read_all` gives them.
    """

    sir: NDArray[np.uint64]
    rows: NDArray[np.void]
    lines: list[str] = field(default_factory=list)

    def inline(self) -> Iterator[str]:
        """The mappings as tables of the file."""
        import numpy as np

        wire = np.stack([self.rows["wire"]["prefix"], self.rows["wire"]["identifier"]], axis=1)
        texts = zip(
            address_bulk.format_texts(self.sir), address_bulk.format_texts(wire), strict=True
        )
        for sir, target in texts:
            yield from ("", "[[mapping]]", f'sir = "{sir}"', f'wire = "{target}"')

    def beside(self, file: str) -> list[str]:
        """A table that names another file of mappings."""
        return ["", "[[mapping]]", f"file = {_value(file)}"]


def export(instance: str) -> Exported:
    """Read the live state. What no file can declare is left out, and a comment says so.

    Raises:
        NotFoundError: the instance is not up, or its uplink is gone.
    """
    with Instance.open(instance) as opened, Network() as network:
        opened.require_own_netns("export it")
        now = live.read(opened, network, with_limits=False)
    if now.fabric is None:
        raise NotFoundError(f"instance {instance} has no prefixes", hint="run `ilax up` again")
    names = interface_names()
    if now.uplink not in names:
        raise NotFoundError(f"the uplink of instance {instance} is gone; nothing was exported")
    left_out: list[str] = []
    ours = _declarable(now.fabric, now)
    found = Exported(now.sir[ours], now.mappings[ours])
    strange = len(now.sir) - int(ours.sum()) - sum(one.mapped for one in now.endpoints.values())
    if strange > 0:
        left_out.append(f"{strange} mappings that are not neutral or outside of the SIR prefixes")
    left_out += [
        f"row {bad.index} of ilax_prefixes ({bad.text}): {bad.problem}" for bad in now.bad_prefixes
    ]
    if now.chained:
        left_out.append("the slot of a foreign program's array in which XDP is (xdp-chain)")
    up = _table("[up]", _up(now, now.fabric, names[now.uplink], left_out))
    tables = [*_endpoints(now, left_out), *_limits(now.book, left_out)]
    found.lines = [
        f"# Written by ilax {__version__} from instance {instance}.",
        *(f"# Left out: {what}." for what in left_out),
        f"version = {VERSION}",
        *up,
        *tables,
    ]
    return found


def _declarable(fabric: Fabric, now: Live) -> NDArray[np.bool_]:
    """Mappings that a file may say, but those that endpoints make."""
    import numpy as np

    wire = np.stack([now.mappings["wire"]["prefix"], now.mappings["wire"]["identifier"]], axis=1)
    wire = wire.astype(np.uint64)
    right = np.isin(now.sir[:, 0], np.array([p.upper for p in fabric.sir_prefixes], np.uint64))
    right[address_bulk.refused_rows(now.sir, cbit=fabric.cbit, typed=fabric.typed)] = False
    right &= ~np.isin(wire[:, 0], np.array([p.upper for p in fabric.sir_prefixes], np.uint64))
    neutral = address_bulk.to_wire(
        now.sir[right], wire[right, 0], cbit=fabric.cbit, typed=fabric.typed
    )
    right[right] = (neutral == wire[right]).all(axis=1)
    own = np.array([(s.prefix, s.identifier) for s in now.endpoints], np.uint64).reshape(-1, 2)
    suspects = np.flatnonzero(np.isin(now.sir[:, 1], own[:, 1]))
    pairs = set(map(tuple, own.tolist()))
    for at in suspects.tolist():
        right[at] &= tuple(now.sir[at].tolist()) not in pairs
    return right


def _up(now: Live, fabric: Fabric, uplink: str, left_out: list[str]) -> dict[str, Any]:
    return {
        "uplink": uplink,
        "sir-prefix": list(map(str, fabric.sir_prefixes)),
        "locator": list(map(str, fabric.locators)),
        "block": list(map(str, fabric.blocks)),
        "cbit": fabric.cbit,
        "typed": fabric.typed,
        "host-address": _host_address(now),
        "gateway": str(now.gateway) if now.gateway is not None else None,
        "xdp": "auto" if now.chained else "native" if now.xdp else "off",
        "tc": now.tc,
        "tc-order": _order(now, left_out),
        "max-endpoints": now.capacities["ilax_endpoints"],
        "max-mappings": now.capacities["ilax_mappings"],
        "max-limits": now.capacities["ilax_limits"],
    }


def _order(now: Live, left_out: list[str]) -> str | None:
    """Our place among the tcx programs of others, where it is another than `up` would take."""
    try:
        place = tc_order.as_place(list(now.places.values()))
    except NotFoundError:
        left_out.append(
            "the place among the tcx programs of others (tc-order), another on each hook"
        )
        return None
    return None if place is None else str(place)


def _host_address(now: Live) -> str | None:
    there = now.endpoints.get(now.source) if now.source is not None else None
    return str(now.source) if there is not None and there.row.delivery == "host" else None


# --- endpoints -----------------------------------------------------------------


def _endpoints(now: Live, left_out: list[str]) -> Iterator[str]:
    macs = {one.row.mac for one in now.endpoints.values() if one.row.delivery != "host"}
    places = _places(macs)
    for sir, one in now.endpoints.items():
        strange = _strange(now, one)
        if strange:
            left_out.append(f"endpoint {sir}: {strange}")
            continue
        cgroup = None
        if one.cgroup and now.book is not None:
            cgroup = _cgroup(now.book, one.cgroup)
            if cgroup is None:
                left_out.append(f"the cgroup of endpoint {sir}, which is gone")
        if one.row.delivery == "host":
            if cgroup is not None or str(sir) != _host_address(now):
                yield from _table("[[endpoint]]", {"sir": str(sir), "host": True, "cgroup": cgroup})
        elif one.present and one.row.mac in places:
            if not _is_text(places[one.row.mac][1]):
                left_out.append(f"endpoint {sir}, whose device has a name that is no UTF-8")
                continue
            yield from _table(
                "[[endpoint]]", _container(sir, one, places[one.row.mac], now.mtu, cgroup)
            )
        else:
            left_out.append(f"endpoint {sir}, whose device or network namespace is not found")


def _strange(now: Live, one: LiveEndpoint) -> str:
    """Why no file can declare a row, which another daemon has written; "" if one can."""
    if one.row.delivery not in deliveries():
        return f"delivery {one.row.delivery}"
    try:
        assert now.fabric is not None
        now.fabric.check_sir(one.row.sir)
    except UsageError as error:
        return str(error).partition(";")[0]
    return ""


def _container(
    sir: Address, one: LiveEndpoint, place: tuple[str, str], mtu: int, cgroup: str | int | None
) -> dict[str, Any]:
    return {
        "sir": str(sir),
        "netns": place[0],
        "device": place[1],
        "delivery": one.row.delivery,
        # Left out where it is the default: an older ilax can read that.
        "link": one.link if one.link != "veth" else None,
        # 0 stands for one that the contract cannot hold.
        "mtu": one.row.mtu if one.row.mtu not in (0, mtu) else None,
        "any-source": one.any_source,
        "cgroup": cgroup,
    }


def _places(wanted: set[bytes]) -> Places:
    found: Places = {}
    for name, path in host.namespaces():
        if wanted <= found.keys():
            break
        try:
            devices = host.devices_by_mac(path)
        except OSError:
            continue  # gone meanwhile, or no namespace at all
        for mac in devices.keys() & wanted:
            found.setdefault(mac, (name, devices[mac]))
    return found


# --- limits --------------------------------------------------------------------


def _limits(book: Book | None, left_out: list[str]) -> Iterator[str]:
    if book is None:
        return
    for cgroup in sorted(book.tree.limited, key=book.cgroups.name):
        name = _cgroup(book, cgroup)
        if name is None:
            left_out.append(f"the limit of cgroup {cgroup}, which is gone")
            continue
        rules = book.rules(book.slots[cgroup])
        if rules.action not in actions():
            left_out.append(f"the limit of cgroup {name}, whose action is {rules.action}")
            continue
        above = book.tree.parents[cgroup]
        parent: str | int | None = None
        if above != book.tree.nearest(cgroup):
            parent = "none" if not above else _cgroup(book, above)
        options = as_options(rules)
        yield from _table("[[limit]]", {"cgroup": name, **options, "parent": parent})


def _cgroup(book: Book, number: int) -> str | int | None:
    """How a file names a cgroup; None if it is gone."""
    living = book.cgroups.by_id.get(number)
    if living is None:
        return None
    name = living.name
    if not _is_text(name):
        return number
    # A word that means something else gets a path around it.
    plain = name.isdecimal() or name in ("auto", "none") or name != name.strip()
    return str(cgroups.root() / name) if plain else name


def _is_text(name: str) -> bool:
    """Whether a name of the kernel's, which may be any bytes, can stand in TOML."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- TOML ------------------------------------------------------------------------


def _table(header: str, values: dict[str, Any]) -> list[str]:
    """A table; keys without a value are left out."""
    said = {key: value for key, value in values.items() if value not in (None, [])}
    return ["", header, *(f"{key} = {_value(value)}" for key, value in said.items())]


def _value(value: str | int | bool | list[str]) -> str:
    # The escapes of JSON are those of TOML, which wants more of them.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
