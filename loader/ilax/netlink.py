# SPDX-License-Identifier: Apache-2.0
"""Interfaces, addresses, routes and neighbours, through pyroute2's IPRoute."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ilax import _libc
from ilax.errors import ConflictError, IlaxError, NotFoundError, SystemCallError

# Routes of ours carry this protocol, so that they can be told from others.
ROUTE_PROTOCOL = 105

_NUD_PERMANENT = 0x80
_IFA_F_NODAD = 0x02
_MAIN_TABLE = 254
_FAMILY = socket.AF_INET6


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface.

    Attributes:
        index: number in its namespace.
        mac: 6 bytes; zero for devices without.
        mtu: bytes.
        kind: such as "veth", or "".
        alias: free text of the interface.
        xdp_program: number of an attached XDP program, 0 for none.
        up: administratively up.
    """

    index: int
    name: str
    mac: bytes
    mtu: int
    kind: str
    alias: str
    xdp_program: int
    up: bool


@contextlib.contextmanager
def _errors(action: str) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise SystemCallError(action, error.code) from error


class Network:
    """The network namespace in which it was made; a context manager.

    A netlink socket stays in the namespace where it was opened, so two of them
    can be used side by side.
    """

    def __init__(self) -> None:
        self._ipr = IPRoute()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self._ipr.close()

    def interface(self, name: str) -> Interface:
        """Look an interface up by name.

        Raises:
            NotFoundError: there is none.
        """
        try:
            links = list(self._ipr.get_links(ifname=name))
        except NetlinkError:
            links = []
        if not links:
            raise NotFoundError(f"no interface {name} in this network namespace")
        return _interface(links[0])

    def interface_by_index(self, index: int) -> Interface | None:
        """Look an interface up by number; None if it is gone."""
        if index <= 0:
            return None  # netlink takes 0 for "all of them"
        try:
            links = list(self._ipr.get_links(index))
        except NetlinkError:
            return None
        return _interface(links[0]) if links else None

    def add_veth(self, name: str, peer: str, peer_namespace: int, mtu: int) -> Interface:
        """Make a veth pair whose peer is born in another namespace.

        Args:
            peer_namespace: descriptor of that namespace.
            mtu: bytes, of both ends.
        """
        with _errors(f"make interface {name} with peer {peer}"):
            self._ipr.link(
                "add",
                ifname=name,
                kind="veth",
                mtu=mtu,
                peer={"ifname": peer, "net_ns_fd": peer_namespace, "mtu": mtu},
            )
        return self.interface(name)

    def interfaces(self) -> list[Interface]:
        """All interfaces of the namespace."""
        with _errors("list interfaces"):
            return [_interface(link) for link in self._ipr.get_links()]

    def set_alias(self, index: int, alias: str) -> None:
        """Write an interface's alias: how we know our own."""
        with _errors(f"name interface {index} {alias}"):
            self._ipr.link("set", index=index, ifalias=alias)

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        with _errors(f"bring interface {index} up"):
            self._ipr.link("set", index=index, state="up")

    def delete_interface(self, index: int) -> None:
        """Remove an interface; what is gone already is fine."""
        with contextlib.suppress(NotFoundError), _errors(f"delete interface {index}"):
            if self.interface_by_index(index):
                self._ipr.link("del", index=index)

    def add_address(self, index: int, address: str, length: int) -> None:
        """Add an address, without duplicate detection: it is ours by decree."""
        with _errors(f"add address {address} to interface {index}"):
            self._ipr.addr(
                "replace", index=index, address=address, prefixlen=length, flags=_IFA_F_NODAD
            )

    def delete_address(self, index: int, address: str, length: int) -> None:
        """Remove an address; what is gone already is fine."""
        with contextlib.suppress(NetlinkError):
            self._ipr.addr("del", index=index, address=address, prefixlen=length)

    def add_route(
        self, destination: str, index: int, *, gateway: str | None = None, source: str | None = None
    ) -> None:
        """Add a route that carries our protocol number, or replace one of ours.

        Raises:
            ConflictError: somebody else's route to the same destination stands
                there; it was left alone.
        """
        arguments: dict[str, Any] = {
            "dst": destination, "oif": index, "family": _FAMILY, "proto": ROUTE_PROTOCOL
        }  # fmt: skip
        if gateway:
            arguments["gateway"] = gateway
        if source:
            arguments["prefsrc"] = source
        action = f"add route to {destination}"
        try:
            self._ipr.route("add", **arguments)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise SystemCallError(action, error.code) from error
            self._refuse_foreign_route(destination)
            with _errors(action):
                self._ipr.route("replace", **arguments)

    def _refuse_foreign_route(self, destination: str) -> None:
        target, _, length = destination.partition("/")
        with _errors(f"list routes to {destination}"):
            routes = list(self._ipr.get_routes(family=_FAMILY, table=_MAIN_TABLE))
        for route in routes:
            same = (route.get_attr("RTA_DST") or "::") == target and route["dst_len"] == int(length)
            if same and route["proto"] != ROUTE_PROTOCOL:
                raise ConflictError(
                    f"a route to {destination} exists already (protocol {route['proto']}); "
                    "it was left alone"
                )

    def delete_route(self, destination: str, index: int) -> None:
        """Remove a route of ours; what is gone already is fine."""
        with contextlib.suppress(NetlinkError):
            self._ipr.route("del", dst=destination, oif=index, family=_FAMILY, proto=ROUTE_PROTOCOL)

    def delete_routes_by(self, index: int) -> None:
        """Remove all routes of ours that leave by an interface."""
        with _errors(f"list routes of interface {index}"):
            routes = list(self._ipr.get_routes(family=_FAMILY, proto=ROUTE_PROTOCOL, oif=index))
        for route in routes:
            target = f"{route.get_attr('RTA_DST')}/{route['dst_len']}"
            self.delete_route(target, index)

    def add_neighbour(self, index: int, address: str, mac: bytes) -> None:
        """Add a permanent neighbour."""
        with _errors(f"add neighbour {address} to interface {index}"):
            self._ipr.neigh(
                "replace",
                dst=address,
                lladdr=mac.hex(":"),
                ifindex=index,
                family=_FAMILY,
                state=_NUD_PERMANENT,
            )

    def delete_neighbour(self, index: int, address: str) -> None:
        """Remove a neighbour; what is gone already is fine."""
        with contextlib.suppress(NetlinkError):
            self._ipr.neigh("del", dst=address, ifindex=index, family=_FAMILY)

    @property
    def ipr(self) -> IPRoute:
        """The IPRoute behind it, for tc filters."""
        return self._ipr


def _interface(link: Any) -> Interface:
    xdp = link.get_attr("IFLA_XDP")
    mac = link.get_attr("IFLA_ADDRESS") or "00:00:00:00:00:00"
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    return Interface(
        index=int(link["index"]),
        name=str(link.get_attr("IFLA_IFNAME")),
        mac=bytes.fromhex(mac.replace(":", "")),
        mtu=int(link.get_attr("IFLA_MTU")),
        kind=str(kind),
        alias=str(link.get_attr("IFLA_IFALIAS") or ""),
        xdp_program=int(xdp.get_attr("IFLA_XDP_PROG_ID") or 0) if xdp else 0,
        up=bool(link["flags"] & 1),
    )


def turn_gro_on(name: str) -> None:
    """Switch GRO on for an interface of this thread's namespace.

    On a veth this starts NAPI: without it the kernel drops what XDP redirects
    into the device, silently.

    Raises:
        IlaxError: the device does not keep the setting.
    """
    from pyroute2.ethtool import Ethtool
    from pyroute2.ethtool.ioctl import EthtoolError

    try:
        with Ethtool() as ethtool:
            features = ethtool.get_features(name)
            if not features.features["rx-gro"].enable:
                features.features["rx-gro"].enable = True
                ethtool.set_features(name, features)
                features = ethtool.get_features(name)
            on = bool(features.features["rx-gro"].enable)
    except (EthtoolError, NetlinkError, OSError) as error:
        raise IlaxError(f"cannot switch GRO on for interface {name}: {error}") from error
    if not on:
        raise IlaxError(f"cannot switch GRO on for interface {name}: it does not stay on")


def namespace_path(name: str) -> Path:
    """Path of a network namespace given as a name, a process number or a path.

    Raises:
        NotFoundError: there is no such namespace.
    """
    if name.isdigit():
        path = Path("/proc") / name / "ns/net"
    elif "/" in name:
        path = Path(name)
    else:
        path = Path("/run/netns") / name
    if not path.exists():
        raise NotFoundError(f"no network namespace {name} ({path})")
    return path


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Run a block in another network namespace (of this thread).

    Args:
        namespace: descriptor of the namespace.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _libc.enter_network_namespace(namespace)
        try:
            yield
        finally:
            _libc.enter_network_namespace(home)
    finally:
        os.close(home)
