# SPDX-License-Identifier: Apache-2.0
"""What a document names of the host: interfaces, network namespaces, cgroups."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from ilax.declared.document import Document
from ilax.declared.left_out import LeftOut
from ilax.declared.positions import Path
from ilax.declared.problems import Problems
from ilax.errors import IlaxError, NotFoundError
from ilax.hooks import tc_order
from ilax.instances.instance import own_netns
from ilax.instances.up_checks import why_no_uplink
from ilax.system import netlink
from ilax.system.cgroups import Cgroup, Tree
from ilax.system.namespaces import each as each_namespace
from ilax.system.namespaces import name_of
from ilax.system.netlink import Interface, Network

_SIOCGIFHWADDR = 0x8927


@dataclass
class Names:
    """What the names of a document stand for.

    Attributes:
        uplink: None if there is no such interface.
        cgroups: by the text of the document.
        tree: all cgroups; None if the document names none.
        left_out: what was taken out of the document, since a name of it stands for nothing.
    """

    uplink: Interface | None = None
    cgroups: dict[str, Cgroup] = field(default_factory=dict)
    tree: Tree | None = None
    left_out: LeftOut = field(default_factory=LeftOut)


def resolve(document: Document, network: Network, problems: Problems) -> Names:
    """Look up what a document names.

    Args:
        problems: gets what is wrong, and apart from it which network namespaces and
            cgroups are not there: these come and go.
    """
    names = Names()
    try:
        names.uplink = network.interface(document.up.uplink)
        if why := why_no_uplink(names.uplink):
            problems.add(("up", "uplink"), why)
    except IlaxError as error:
        problems.add(("up", "uplink"), error)
    if names.uplink is not None:
        _check_order(document, names.uplink, problems)
    owners = {own_netns(): "the host"}
    for endpoint in document.endpoints:
        if endpoint.netns is not None:
            _check_namespace(endpoint.netns, (*endpoint.path, "netns"), owners, problems)
    _check_links(document, network, problems)
    wanted: list[tuple[str, Path]] = [
        (limit.cgroup, (*limit.path, "cgroup")) for limit in document.limits
    ]
    wanted += [(e.cgroup, (*e.path, "cgroup")) for e in document.endpoints if e.cgroup is not None]
    if wanted:
        _find_cgroups(names, wanted, problems)
    return names


def _check_order(document: Document, uplink: Interface, problems: Problems) -> None:
    place = document.up.tc_order
    if place is not None and not tc_order.is_there(place, uplink.index):
        problems.lack(("up", "tc-order"), f"no tcx program {place.program} is on {uplink.name}")


def _check_namespace(name: str, path: Path, owners: dict[int, str], problems: Problems) -> None:
    try:
        number = netlink.namespace_path(name).stat().st_ino
    except (NotFoundError, FileNotFoundError) as error:
        # Also for a plain file: `ip netns add` makes one first and mounts over it.
        problems.lack(path, error)
        return
    except OSError as error:
        problems.add(path, error)
        return
    # Each has one default route, so there is no second endpoint in it.
    owner = owners.setdefault(number, f"the endpoint in {name}")
    if owner != f"the endpoint in {name}":
        problems.add(path, f"network namespace {name} is that of {owner}")


def _check_links(document: Document, network: Network, problems: Problems) -> None:
    wanted = [endpoint for endpoint in document.endpoints if endpoint.link == "netkit"]
    if wanted:
        from ilax.system import netkit

        if not netkit.is_known(network.ipr):
            for endpoint in wanted:
                problems.add(
                    (*endpoint.path, "link"),
                    "this kernel has no netkit: it needs Linux 6.7, built with CONFIG_NETKIT",
                )


def _find_cgroups(names: Names, wanted: list[tuple[str, Path]], problems: Problems) -> None:
    try:
        names.tree = Tree.read()
    except IlaxError as error:
        problems.add(wanted[0][1], error)
        return
    owners: dict[int, str] = {}
    for text, path in wanted:
        try:
            cgroup = names.cgroups[text] = names.tree.find(text)
        except NotFoundError as error:
            problems.lack(path, error)
            continue
        except (IlaxError, OSError) as error:
            problems.add(path, error)
            continue
        if path[0] == "limit" and owners.setdefault(cgroup.id, text) != text:
            problems.add(path, f"{text} and {owners[cgroup.id]} are the same cgroup")


# --- devices inside of namespaces ------------------------------------------------


def device_mac(namespace: FilePath, device: str) -> bytes | None:
    """Hardware address of a device in a network namespace; None if there is none.

    One call of the kernel: opening netlink in each of a thousand namespaces takes
    seconds.
    """
    with _inside(namespace) as probe:
        return _mac(probe, device)


def devices_by_mac(namespace: FilePath) -> dict[bytes, str]:
    """Names of the devices of a namespace by hardware address."""
    with _inside(namespace) as probe:
        found = {_mac(probe, name): name for _, name in socket.if_nameindex()}
    return {mac: name for mac, name in found.items() if mac is not None}


@contextmanager
def _inside(namespace: FilePath) -> Iterator[socket.socket]:
    """A socket of another namespace, in which this thread is meanwhile."""
    fd = os.open(namespace, os.O_RDONLY)
    try:
        with netlink.inside(fd), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            yield probe
    finally:
        os.close(fd)


def _mac(probe: socket.socket, device: str) -> bytes | None:
    request = struct.pack("16s24x", os.fsencode(device))
    try:
        answer = fcntl.ioctl(probe, _SIOCGIFHWADDR, request)
    except OSError:
        return None
    return bytes(answer[18:24])


def namespaces() -> Iterator[tuple[str, FilePath]]:
    """Network namespaces by the name that `endpoint add` takes: names, then processes."""
    own = own_netns()
    for number, path in each_namespace():
        if number != own:
            yield name_of(path), path
