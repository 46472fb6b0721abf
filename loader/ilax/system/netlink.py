# SPDX-License-Identifier: Apache-2.0
"""Interfaces, addresses, routes and neighbours, through pyroute2's IPRoute.

pyroute2 is imported where it is first used: that takes a tenth of a second, and
commands that only read maps have no need of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilax.errors import ConflictError, NotFoundError, SystemCallError
from ilax.system import _libc

# Routes of ours carry this protocol, so that they can be told from others.
ROUTE_PROTOCOL = 105

# Number of the loopback interface in every namespace.
LOOPBACK = 1

_NUD_PERMANENT = 0x80
_IFA_F_NODAD = 0x02
_MAIN_TABLE = 254
# <linux/if_arp.h>
_ARPHRD_ETHER = 1
_FAMILY = socket.AF_INET6
# Of the first byte of an Ethernet address.
_MULTICAST, _LOCAL = 1, 2
_MAC_BYTES = 6
# Where `ip netns` keeps the names of network namespaces.
NAMED = Path("/run/netns")
# <linux/nsfs.h>, <linux/sched.h>
_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface.

    Attributes:
        index: number in its namespace.
        mac: 6 bytes; zero for devices without.
        mtu: bytes.
        ethernet: its frames have an Ethernet header; not those of a tun, for instance.
        kind: such as "veth", or "".
        alias: free text of the interface.
        xdp_program: number of an attached XDP program, 0 for none.
        up: administratively up.
        peer: number of the other end of a pair, in its own namespace; else 0.
        peer_namespace: number by which our namespace knows that of the other
            end; None if it is our own.
    """

    index: int
    name: str
    mac: bytes
    mtu: int
    ethernet: bool
    kind: str
    alias: str
    xdp_program: int
    up: bool
    peer: int
    peer_namespace: int | None = None


# What the kernel answers where there is nothing to remove.
_GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL)
# What it answers to a name that no interface has, or could have.
_NO_SUCH_NAME = (errno.ENODEV, errno.ERANGE, errno.EINVAL)


@contextlib.contextmanager
def errors(action: str, *, fine: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn errors of netlink into ours.

    Args:
        action: what is tried, in words.
        fine: errno values that are no error.
    """
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code not in fine:
            raise SystemCallError(action, error.code) from error
    except OSError as error:
        raise SystemCallError(action, error.errno or errno.EIO) from error
    except struct.error as error:
        # Rows of any daemon may have a number that the kernel gives to no interface.
        if errno.ENODEV not in fine:
            raise SystemCallError(action, errno.ENODEV) from error


class Network:
    """The network namespace in which it was made; a context manager.

    A netlink socket stays in the namespace where it was opened, so two of them
    can be used side by side.
    """

    def __init__(self) -> None:
        from pyroute2 import IPRoute

        with errors("open a netlink socket"):
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
        links: list[Any] = []
        with errors(f"look interface {name} up", fine=_NO_SUCH_NAME):
            # One of a thousand: a dump would take a second.
            links = self._ipr.link("get", ifname=name)
        # By an alternative name the kernel finds it, too.
        if not links or links[0].get_attr("IFLA_IFNAME") != name:
            raise NotFoundError(
                f"no interface {name} in this network namespace; nothing was changed"
            )
        return _interface(links[0])

    def interface_by_index(self, index: int) -> Interface | None:
        """Look an interface up by number; None if it is gone."""
        if index <= 0:
            return None  # netlink takes 0 for "all of them"
        links: list[Any] = []
        with errors(f"look interface {index} up", fine=_GONE):
            links = list(self._ipr.get_links(index))
        return _interface(links[0]) if links else None

    def add_pair(self, kind: str, template: str, peer: str, peer_namespace: int, mtu: int) -> None:
        """Make a pair of devices whose peer is born in another namespace.

        Args:
            kind: "veth" or "netkit".
            template: name with `%d`, where the kernel puts a number that is free.
            peer: name of the peer, which also tells the number of this end.
            peer_namespace: descriptor of that namespace.
            mtu: bytes, of both ends.
        """
        # udev gives an address of its own to a device that was made without one
        # (MACAddressPolicy=persistent), at some time after we have told the other end.
        arguments: dict[str, Any] = {
            "kind": "veth",
            "address": random_mac().hex(":"),
            "peer": {
                "ifname": peer,
                "net_ns_fd": peer_namespace,
                "mtu": mtu,
                "address": random_mac().hex(":"),
            },
        }
        if kind == "netkit":
            from ilax.system import netkit

            # The kernel makes none with an address: see `set_mac`.
            arguments = netkit.arguments(peer, peer_namespace, mtu)
        with errors(f"make a {kind} pair with {peer} at its other end"):
            self._ipr.link("add", ifname=template, mtu=mtu, **arguments)

    def interfaces(self) -> list[Interface]:
        """All interfaces of the namespace."""
        with errors("list interfaces"):
            return [_interface(link) for link in self._ipr.get_links()]

    def set_alias(self, index: int, alias: str) -> None:
        """Write an interface's alias: how we know our own."""
        with errors(f"name interface {index} {alias}"):
            self._ipr.link("set", index=index, ifalias=alias)

    def set_mtu(self, index: int, mtu: int) -> None:
        """Set an interface's MTU, in bytes."""
        with errors(f"set the MTU of interface {index} to {mtu}"):
            self._ipr.link("set", index=index, mtu=mtu)

    def set_mac(self, index: int, mac: bytes) -> None:
        """Set an interface's hardware address, 6 bytes."""
        with errors(f"set the hardware address of interface {index} to {mac.hex(':')}"):
            self._ipr.link("set", index=index, address=mac.hex(":"))

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        with errors(f"bring interface {index} up"):
            self._ipr.link("set", index=index, state="up")

    def delete_interface(self, index: int) -> None:
        """Remove an interface; what is gone already is fine."""
        with errors(f"delete interface {index}", fine=_GONE):
            self._ipr.link("del", index=index)

    def add_address(self, index: int, address: str, length: int) -> bool:
        """Add an address, without duplicate detection: it is ours by decree.

        Returns:
            False if it was there already.
        """
        arguments: dict[str, Any] = {
            "index": index, "address": address, "prefixlen": length, "flags": _IFA_F_NODAD
        }  # fmt: skip
        action = f"add address {address} to interface {index}"
        added = False
        with errors(action, fine=(errno.EEXIST,)):
            self._ipr.addr("add", **arguments)
            added = True
        if not added:
            with errors(action):
                self._ipr.addr("replace", **arguments)
        return added

    def addresses_of(self, index: int) -> list[str]:
        """IPv6 addresses of an interface."""
        with errors(f"list addresses of interface {index}"):
            rows = list(self._ipr.get_addr(family=_FAMILY, index=index))
        return [str(row.get_attr("IFA_ADDRESS")) for row in rows]

    def delete_address(self, index: int, address: str, length: int) -> None:
        """Remove an address; what is gone already is fine."""
        with errors(f"delete address {address} of interface {index}", fine=_GONE):
            self._ipr.addr("del", index=index, address=address, prefixlen=length)

    def add_route(
        self,
        destination: str,
        index: int,
        *,
        gateway: str | None = None,
        source: str | None = None,
        move: bool = False,
    ) -> None:
        """Add a route that carries our protocol number, or renew ours.

        Args:
            move: also replace a route of ours that leaves by another interface.

        Raises:
            ConflictError: another route to the same destination stands there, of
                somebody else or of another endpoint; it was left alone.
        """
        arguments: dict[str, Any] = {
            "dst": destination, "oif": index, "family": _FAMILY, "proto": ROUTE_PROTOCOL
        }  # fmt: skip
        if gateway:
            arguments["gateway"] = gateway
        if source:
            arguments["prefsrc"] = source
        action = f"add route to {destination}"
        added = False
        with errors(action, fine=(errno.EEXIST,)):
            self._ipr.route("add", **arguments)
            added = True
        if added:
            return
        self._refuse_other_route(destination, None if move else index)
        with errors(action):
            self._ipr.route("replace", **arguments)

    def _refuse_other_route(self, destination: str, own: int | None) -> None:
        target, _, length = destination.partition("/")
        with errors(f"list routes to {destination}"):
            routes = list(self._ipr.get_routes(family=_FAMILY, table=_MAIN_TABLE))
        for route in routes:
            same = (route.get_attr("RTA_DST") or "::") == target and route["dst_len"] == int(length)
            if not same:
                continue
            oif = route.get_attr("RTA_OIF")
            if route["proto"] != ROUTE_PROTOCOL or own not in (oif, None):
                device = interface_names().get(oif)
                where = f"device {device}" if device else "no device"
                raise ConflictError(
                    f"a route to {destination} exists already (protocol {route['proto']}, "
                    f"{where}); it was left alone"
                )

    def delete_route(self, destination: str, index: int, *, protocol: int = ROUTE_PROTOCOL) -> None:
        """Remove a route of a protocol: ours. What is gone already is fine."""
        with errors(f"delete route to {destination}", fine=_GONE):
            self._ipr.route("del", dst=destination, oif=index, family=_FAMILY, proto=protocol)

    def routes_via(self, gateway: str) -> dict[tuple[str, int], str | None]:
        """Source address of each route of ours by way of a next hop.

        Returns:
            By destination and number of the interface.
        """
        with errors(f"list routes by way of {gateway}"):
            routes = list(self._ipr.get_routes(family=_FAMILY, proto=ROUTE_PROTOCOL))
        return {
            (
                f"{route.get_attr('RTA_DST') or '::'}/{route['dst_len']}",
                int(route.get_attr("RTA_OIF")),
            ): route.get_attr("RTA_PREFSRC")
            for route in routes
            if route.get_attr("RTA_GATEWAY") == gateway
        }

    def add_neighbour(self, index: int, address: str, mac: bytes) -> None:
        """Add a permanent neighbour."""
        with errors(f"add neighbour {address} to interface {index}"):
            self._ipr.neigh(
                "replace",
                dst=address,
                lladdr=mac.hex(":"),
                ifindex=index,
                family=_FAMILY,
                state=_NUD_PERMANENT,
            )

    def interfaces_with_neighbour(self, address: str, mac: bytes) -> list[int]:
        """Numbers of the interfaces that have this permanent neighbour."""
        with errors(f"list neighbours {address}"):
            found = list(self._ipr.get_neighbours(family=_FAMILY, dst=address))
        return [
            int(neighbour["ifindex"])
            for neighbour in found
            if neighbour["state"] & _NUD_PERMANENT
            and neighbour.get_attr("NDA_LLADDR") == mac.hex(":")
        ]

    def delete_neighbour(self, index: int, address: str) -> None:
        """Remove a neighbour; what is gone already is fine."""
        with errors(f"delete neighbour {address} of interface {index}", fine=_GONE):
            self._ipr.neigh("del", dst=address, ifindex=index, family=_FAMILY)

    @property
    def ipr(self) -> Any:
        """The IPRoute behind it, for tc filters."""
        return self._ipr


def _interface(link: Any) -> Interface:
    xdp = link.get_attr("IFLA_XDP")
    mac = link.get_attr("IFLA_ADDRESS") or "00:00:00:00:00:00"
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    namespace = link.get_attr("IFLA_LINK_NETNSID")
    name = link.get_attr("IFLA_IFNAME")
    return Interface(
        index=int(link["index"]),
        # Bytes where it is no UTF-8: a container may call its devices what it likes.
        name=os.fsdecode(name) if isinstance(name, bytes) else str(name),
        mac=bytes.fromhex(mac.replace(":", "")),
        mtu=int(link.get_attr("IFLA_MTU")),
        ethernet=link["ifi_type"] == _ARPHRD_ETHER,
        kind=str(kind),
        alias=str(link.get_attr("IFLA_IFALIAS") or ""),
        xdp_program=int(xdp.get_attr("IFLA_XDP_PROG_ID") or 0) if xdp else 0,
        up=bool(link["flags"] & 1),
        peer=int(link.get_attr("IFLA_LINK") or 0),
        peer_namespace=None if namespace is None else int(namespace),
    )


def random_mac() -> bytes:
    """A hardware address of nobody: unicast, locally administered (RFC 7042, 2.1)."""
    mac = bytearray(os.urandom(_MAC_BYTES))
    mac[0] = mac[0] & ~_MULTICAST | _LOCAL
    return bytes(mac)


def interface_names() -> dict[int, str]:
    """Name of each interface of this thread's namespace, by number: one quick call."""
    return dict(socket.if_nameindex())


def namespace_path(name: str) -> Path:
    """Path of a network namespace given as a name, a process number or a path.

    Raises:
        NotFoundError: there is no such namespace, or it is none.
    """
    if name.isdigit():
        path = Path("/proc") / name / "ns/net"
    elif "/" in name:
        path = Path(name)
    else:
        path = NAMED / name
    try:
        if not is_namespace(path):
            raise NotFoundError(f"{path} is no network namespace; nothing was changed")
    except FileNotFoundError:
        raise NotFoundError(f"no network namespace {name} ({path}); nothing was changed") from None
    return path


def is_namespace(path: Path) -> bool:
    """Whether a file is a network namespace.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it may not be opened.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return fcntl.ioctl(file, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except (FileNotFoundError, PermissionError):
        raise
    except OSError:
        return False  # a folder, or not a namespace


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
