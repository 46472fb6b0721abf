# SPDX-License-Identifier: Apache-2.0
"""What killed commands leave of endpoints: devices, rows and links that none names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from shlex import quote

from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.view import View
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.hooks.places import CONTAINER
from ilax.system.netlink import Interface

DEVICE = kind(
    "device.orphan", Severity.WARNING,
    "a device that `endpoint add` made, of an endpoint that is not there", Remedy.STEP,
)  # fmt: skip
PORT = kind(
    "port.orphan", Severity.WARNING, "a row or link of a port that no endpoint names", Remedy.STEP
)
DEVMAP = kind(
    "devmap.orphan", Severity.WARNING, "an entry of ilax_devices that no endpoint names",
    Remedy.STEP,
)  # fmt: skip


def _is_ours(view: View, link: Interface) -> bool:
    alias = endpoints.link_alias(view.name, "")
    return link.alias.startswith(alias) or endpoints.is_unfinished(link)


@check(Needs.HOME)
def devices(view: View) -> Iterator[Finding]:
    """Devices of ours that no endpoint names."""
    used = {endpoint.ifindex for endpoint in view.endpoints}
    for index, link in view.here.links.items():
        if index in used or not _is_ours(view, link):
            continue
        yield DEVICE.found(
            link.name,
            seen=f"interface {index}, alias {link.alias or 'none'}",
            expected="an endpoint, or no device",
            command=f"ip link del dev {quote(link.name)} && {view.command('check --fix')}",
            step=partial(_remove, view, index),
        )


def _remove(view: View, index: int) -> None:
    # The device before its program: a container is never without checks.
    view.network.delete_interface(index)
    endpoints.forget_port(view.instance, index)


@check(Needs.HOME)
def rows(view: View) -> Iterator[Finding]:
    """Rows and links of ports that no endpoint names."""
    used = {endpoint.ifindex for endpoint in view.endpoints}
    pinned = {index for name in view.links if (index := CONTAINER.number_of(name)) is not None}
    for index in sorted((view.ports.keys() | pinned) - used):
        link = view.here.links.get(index)
        if link is not None and _is_ours(view, link):
            continue  # goes with its device
        where = "ilax_ports" if index in view.ports else "links"
        fix = view.command("check --fix")
        # While its device is there, it keeps the program: or it would send unchecked.
        yield PORT.found(
            view.here.name(index),
            seen=f"an entry of {where}; {'its device is there' if link else 'no such device'}",
            expected="an endpoint, or no entry",
            command=f"ip link del dev {quote(link.name)} && {fix}" if link else fix,
            step=None if link else partial(endpoints.forget_port, view.instance, index),
        )
    for index in sorted(view.devices - used - view.ports.keys()):
        yield DEVMAP.found(
            view.here.name(index),
            seen="an entry of ilax_devices",
            expected="an endpoint, or no entry",
            command=view.command("check --fix"),
            step=partial(view.instance.devices.delete, index_key(index)),
        )
