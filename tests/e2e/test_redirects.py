# SPDX-License-Identifier: Apache-2.0
"""A machine on the link that has a host as its router to SIR addresses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import probes
from lab.netns import Namespace
from lab.topology import UPLINK, Host, Lab

ADDRESS, NETWORK = "2001:db8:77::2", "2001:db8:77::/64"


@pytest.fixture
def client(fabric: Lab) -> Iterator[Namespace]:
    """On the link between the first host and its router, and no router itself.

    Routers believe no redirects; this one does, as every machine by default.
    """
    host, sir_prefix = fabric.hosts[0], str(fabric.plan.sir_prefix)
    gateway = str(fabric.plan.link_local(host.number))
    made = Namespace(f"{fabric.tag}-client")
    made.create()
    try:
        fabric.router.ip(
            *("link", "add", "link", host.router_port, "name", "client0"),
            *("netns", made.name, "type", "macvlan", "mode", "bridge"),
        )
        made.sysctl("net.ipv6.conf.client0.accept_dad", 0)
        made.ip("address", "add", f"{ADDRESS}/64", "dev", "client0", "nodad")
        made.ip("link", "set", "client0", "up")
        made.ip("-6", "route", "add", sir_prefix, "via", gateway, "dev", "client0")
        host.ns.ip("-6", "route", "add", NETWORK, "dev", UPLINK)
        fabric.router.ip("-6", "route", "add", NETWORK, "via", gateway, "dev", host.router_port)
        yield made
    finally:
        made.remove()
        host.ns.ip("-6", "route", "del", NETWORK)
        fabric.router.ip("-6", "route", "del", NETWORK)


def dropped(host: Host) -> int:
    return host.ilax.counters().get(("uplink_egress", "drop_redirect"), 0)


def way(client: Namespace, address: str) -> tuple[str, str | None]:
    """Next hop and its hardware address."""
    (route,) = client.ip_json("-6", "route", "get", address)
    known = client.ip_json("-6", "neighbour", "show", route["gateway"])
    return route["gateway"], known[0].get("lladdr") if known else None


def test_a_client_keeps_its_way_to_sir_addresses(fabric: Lab, client: Namespace) -> None:
    """The host's stack would send it to the next hop of SIR routes, which does not exist.

    Its advice to go by the real router is none of ours.
    """
    host, task, router = fabric.hosts[0], fabric.hosts[1].containers[0], str(fabric.plan.router)
    gateway = str(fabric.plan.link_local(host.number))
    (uplink,) = host.ns.ip_json("link", "show", UPLINK)
    client.ip("-6", "route", "add", router, "via", gateway, "dev", "client0")
    before = dropped(host)
    probes.must_ping(client, router)
    assert way(client, router)[0] == str(fabric.plan.router_link_local)
    assert dropped(host) == before
    assert probes.ping(client, task.address, count=20, wait=5)
    assert way(client, task.address) == (gateway, uplink["address"])
    assert dropped(host) > before
