# SPDX-License-Identifier: Apache-2.0
"""`ilax check` of endpoints: each part of them is broken for real, found, and mended."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path

import pytest

from ilax import address
from ilax.bpf import Link
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from lab import findings, operator, probes, scenarios
from lab.damage import device, fixed, index, links, sir_prefix
from lab.findings import check, obey
from lab.operator import Options
from lab.topology import UPLINK, Container, Host, Lab, Plan
from lab.wait import until


def test_what_endpoint_add_made_is_taken_away(host: Host) -> None:
    one, two = host.containers
    first, second = device(one), device(two)
    ns = host.ns
    ns.ip("-6", "neigh", "del", one.address, "dev", first)
    ns.ip("-6", "route", "del", f"{one.address}/128", "dev", first)
    ns.ip("-6", "address", "del", "fe80::1/64", "dev", first)
    ns.ip("link", "set", first, "mtu", "1400")
    one.ns.ip("link", "set", "eth0", "mtu", "1300")
    one.ns.ip("-6", "neigh", "del", "fe80::1", "dev", "eth0")
    one.ns.ip("-6", "route", "del", "default")
    one.ns.ip("-6", "address", "del", f"{one.address}/128", "dev", "eth0")
    ns.ip("link", "set", second, "address", "02:00:00:00:aa:01")
    two.ns.ip("link", "set", "eth0", "address", "02:00:00:00:aa:02")
    lost = "02:00:00:00:aa:03"
    ns.ip("-6", "neigh", "replace", two.address, "lladdr", lost, "dev", second)
    two.ns.ip("-6", "neigh", "replace", "fe80::1", "lladdr", lost, "dev", "eth0")
    with Instance.open(host.ilax.instance) as instance:
        instance.ports.delete(index_key(index(one)))
        instance.mappings.delete(address.parse(one.address).packed)
        endpoints.put_port(instance, index(two), address.parse(one.address), 0, any_source=False)
    (links(host) / f"port_{index(one)}").unlink()
    with Link.open_pinned(links(host) / f"port_{index(two)}") as link:
        link.detach()
    answer = check(host.ilax)
    assert answer.ids == {
        "endpoint.no-neighbour",
        "endpoint.no-route",
        "endpoint.no-gateway",
        "endpoint.mtu",
        "endpoint.inner-mtu",
        "endpoint.no-inner-neighbour",
        "endpoint.no-inner-route",
        "endpoint.no-address",
        "endpoint.host-mac",
        "endpoint.inner-mac",
        "endpoint.wrong-neighbour",
        "endpoint.wrong-inner-neighbour",
        "endpoint.no-port",
        "endpoint.no-mapping",
        "endpoint.wrong-port",
        "endpoint.no-program",
    }
    assert answer.one("endpoint.no-neighbour")["object"] == one.address
    assert answer.one("endpoint.wrong-neighbour")["object"] == two.address
    assert "1400" in answer.one("endpoint.mtu")["seen"]
    seen = [found["seen"] for found in answer.findings if found["id"] == "endpoint.no-program"]
    assert ["lost its device" in text for text in seen].count(True) == 1
    fixed(host)


def test_the_commands_do_what_fix_does(host: Host) -> None:
    """The same by hand: each command is run as it is printed."""
    one, two = host.containers
    first, second = device(one), device(two)
    ns = host.ns
    ns.ip("-6", "neigh", "del", one.address, "dev", first)
    ns.ip("-6", "route", "del", f"{one.address}/128", "dev", first)
    ns.ip("link", "set", second, "mtu", "1400")
    two.ns.ip("-6", "route", "del", "default")
    one.ns.ip("-6", "neigh", "del", "fe80::1", "dev", "eth0")
    ns.ip("-6", "route", "del", str(sir_prefix(host)), "dev", UPLINK)
    ns.ip("-6", "neigh", "del", "fe80::11a", "dev", UPLINK)
    answer = check(host.ilax)
    assert answer.ids == {
        "endpoint.no-neighbour",
        "endpoint.no-route",
        "endpoint.mtu",
        "endpoint.no-inner-route",
        "endpoint.no-inner-neighbour",
        "route.sir-missing",
        "route.sir-neighbour",
    }
    obey(ns, answer.findings)
    assert check(host.ilax).findings == []


def test_other_ways_than_ours_are_taken(host: Host) -> None:
    """By rules, and by better routes, at both ends; what is not ours stays until it is told."""
    one, two = host.containers
    inside, outside = "endpoint.inner-other-route", "endpoint.other-route"
    one.ns.ip("-6", "route", "add", "unreachable", "default", "metric", "1")
    host.ns.ip("-6", "route", "add", f"{two.address}/128", "dev", "lo", "table", "77")
    host.ns.ip("-6", "rule", "add", "to", two.address, "lookup", "77", "pref", "5")
    found = check(host.ilax, "--fix")
    assert found.ids == {inside, outside}
    assert (found.one(inside)["object"], found.one(outside)["object"]) == (one.address, two.address)
    assert not found.mended
    host.ns.ip("-6", "rule", "del", "pref", "5")
    obey(host.ns, check(host.ilax).findings)
    assert check(host.ilax).findings == []
    # A task that reaches tasks otherwise than by a default route is well.
    one.ns.ip("-6", "route", "add", str(sir_prefix(host)), "via", "fe80::1", "dev", "eth0")
    one.ns.ip("-6", "route", "del", "default")
    assert check(host.ilax).findings == []
    one.ns.ip("-6", "route", "del", str(sir_prefix(host)))
    one.ns.ip("-6", "route", "add", "2001:db8:99::/48", "via", "fe80::1", "dev", "eth0")
    assert check(host.ilax).ids == {"endpoint.no-inner-route"}
    fixed(host)
    one.ns.ip("-6", "route", "del", "2001:db8:99::/48")


def test_devices_are_switched_off(host: Host) -> None:
    one, two = host.containers
    host.ns.ip("link", "set", device(one), "down")
    two.ns.ip("link", "set", "eth0", "down")
    down = {"endpoint.down", "endpoint.no-route", "endpoint.inner-down", "endpoint.no-address"}
    assert down <= check(host.ilax).ids
    fixed(host)
    host.ns.sysctl(f"net.ipv6.conf.{device(one)}.disable_ipv6", 1)
    two.ns.sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)
    assert {"endpoint.disable-ipv6", "endpoint.inner-disable-ipv6"} <= check(host.ilax).ids
    fixed(host)


def test_the_host_listens_to_a_task_as_to_a_router(host: Host) -> None:
    """Found where it would, and where it has; what it learned goes as well."""
    one, two = host.containers
    first, second = device(one), device(two)
    listens = "endpoint.accept-ra"
    forwarding = f"net.ipv6.conf.{second}.forwarding"
    host.ns.sysctl(f"net.ipv6.conf.{second}.accept_ra", 1)
    # A router listens only if it is told to all the same.
    assert check(host.ilax).findings == []
    host.ns.sysctl(forwarding, 0)
    assert check(host.ilax).one(listens)["object"] == two.address
    fixed(host)
    host.ns.sysctl(forwarding, 1)

    def learned() -> list[dict[str, object]]:
        return host.ns.ip_json("-6", "route", "show", "dev", first, "proto", "ra")

    for by_hand in (False, True):
        host.ns.sysctl(f"net.ipv6.conf.{first}.accept_ra", 2)
        scenarios.advertise_router(one)
        until(learned, "the host takes the task for a router")
        answer = check(host.ilax)
        assert answer.ids == {listens}
        assert "route ::/0 was learned so" in answer.one(listens)["seen"]
        if by_hand:
            obey(host.ns, answer.findings)
        else:
            fixed(host)
        assert check(host.ilax).findings == []
        assert learned() == []
        scenarios.advertise_router(one)
        probes.must_ping(one.ns, "fe80::1%eth0")
        assert learned() == []


_SIOCSIFNAME = 0x8923


def rename(task: Container, old: bytes, new: bytes) -> None:
    """As its owner may; `ip` refuses names that are no text."""
    with task.ns.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFNAME, struct.pack("16s16s8x", old, new))


@pytest.mark.parametrize("name", [b";>pwned", b"-all", b"\xff\x1b[31m", b"up", b"$(reboot)"])
def test_a_container_chooses_what_its_device_is_called(
    host: Host, name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root runs the commands, as they are printed on a terminal."""
    task = host.containers[0]
    monkeypatch.chdir(tmp_path)
    task.ns.ip("link", "set", "eth0", "down")
    rename(task, b"eth0", name)
    text = host.ilax.try_("check").stdout
    assert "endpoint.inner-down" in text
    assert "\x1b" not in text
    broken = check(host.ilax).findings
    assert {"endpoint.inner-down", "endpoint.no-address"} <= {found["id"] for found in broken}
    obey(host.ns, broken)
    assert check(host.ilax).findings == []
    task.ns.sysctl(f"net.ipv6.conf.{os.fsdecode(name)}.disable_ipv6", 1)
    obey(host.ns, check(host.ilax).findings)
    assert check(host.ilax).findings == []
    assert list(tmp_path.iterdir()) == []
    exported = host.ilax("export")
    assert ("no UTF-8" in exported) == (b"\xff" in name)
    assert host.containers[1].address in exported
    host.ilax("endpoint", "del", task.address)
    host.ilax(*operator.add_arguments(task))


def test_what_killed_commands_leave_of_endpoints(host: Host) -> None:
    one = host.containers[0]
    sir = str(Plan().sir(50))
    host.ns.ip(
        *("link", "add", "iltask99", "type", "veth"),
        *("peer", "name", "old0", "netns", one.ns.name),
    )
    host.ns.ip("link", "set", "iltask99", "alias", f"ilax:{host.ilax.instance}:{sir}")
    with Instance.open(host.ilax.instance) as instance:
        endpoints.put_port(instance, 9999, address.parse(sir), 0, any_source=False)
        uplink = index_key(host.ns.ifindex(UPLINK))
        with host.ns.entered():
            instance.devices.update(uplink, uplink)
    answer = check(host.ilax)
    assert answer.ids == {"device.orphan", "port.orphan", "devmap.orphan"}
    fixed(host)
    assert "iltask99" not in host.ns.devices()


def test_endpoints_that_are_beyond_mending(host: Host) -> None:
    """Deleting and adding is left: the commands delete."""
    one, two = host.containers
    ns, ilax = host.ns, host.ilax
    third = operator.add_arguments(one)
    ns.ip("link", "del", device(one))
    ns.ip("link", "set", device(two), "alias", "mine")
    stranger = device(two)
    found = check(ilax, "--fix")
    assert found.ids == {"endpoint.no-device", "endpoint.wrong-device"}
    assert found.one("endpoint.no-device")["object"] == one.address
    obey(ns, found.findings)
    assert check(ilax).findings == []
    # Whatever it is called: with our program on it, it was a container's.
    assert stranger not in ns.devices()
    ilax(*third)
    ilax(*operator.add_arguments(two))
    # The task moves on; and a row of a writer that does not know the rules.
    ilax("mapping", "add", one.address, "--locator", Plan().locator(2))
    with Instance.open(ilax.instance) as instance:
        endpoint = endpoints.find(instance, address.parse(two.address))
        row = instance.endpoints.get(endpoint.wire.packed)
        assert row is not None
        row = row.copy()
        row["wire"]["identifier"] = endpoint.wire.identifier ^ 0x10
        instance.endpoints.delete(endpoint.wire.packed)
        wrong = address.Address(endpoint.wire.prefix, endpoint.wire.identifier ^ 0x10)
        instance.endpoints.put(wrong.packed, row)
    found = check(ilax)
    assert found.ids == {
        *("endpoint.elsewhere", "endpoint.outside", "endpoint.no-mapping"),
        "mapping.dangling",
    }
    obey(ns, [found.one("endpoint.elsewhere"), found.one("endpoint.outside")])
    found = check(ilax)
    assert found.ids <= {"mapping.dangling"}
    obey(ns, found.findings)
    assert check(ilax).findings == []
    for task in (one, two):
        ilax(*operator.add_arguments(task))
    assert check(ilax).findings == []


def test_a_namespace_goes_away(host: Host) -> None:
    """First its name, while its device lives on; then all of it."""
    task = host.containers[0]
    with task.ns.path.open():
        task.ns.remove()
        found = check(host.ilax)
        assert found.ids == {"endpoint.unseen"}
        assert found.one("endpoint.unseen")["severity"] == "info"
        # A container that is out of sight is checked where it can be.
        host.ns.ip("-6", "neigh", "del", task.address, "dev", device(task))
        assert check(host.ilax).ids == {"endpoint.unseen", "endpoint.no-neighbour"}
        assert check(host.ilax, "--fix").ids == {"endpoint.unseen"}
    until(lambda: "endpoint.no-device" in check(host.ilax).ids, "end of the namespace")
    obey(host.ns, check(host.ilax).findings)
    assert check(host.ilax).findings == []
    task.ns.create()
    host.ilax(*operator.add_arguments(task))


def test_xdp_delivery_and_a_silent_next_hop(bare: Lab) -> None:
    """What only counts where packets are delivered by XDP, or leave by one router."""
    host = bare.hosts[0]
    operator.bring_up(
        bare, Options(xdp="native", delivery="xdp", extra=("--gateway", "fe80::dead"))
    )
    task = host.containers[0]
    task.ns.run("ethtool", "-K", "eth0", "gro", "off")
    with Instance.open(host.ilax.instance) as instance:
        instance.devices.delete(index_key(index(task)))
    host.ns.sysctl(f"net.ipv6.neigh.{UPLINK}.retrans_time_ms", 20)

    def is_silent() -> bool:
        # Asked each time: the kernel soon forgets a neighbour that does not answer.
        probes.ping(task.ns, bare.containers[2].address, wait=0.1)
        return "uplink.gateway-silent" in check(host.ilax).ids

    until(is_silent, "end of asking")
    found = check(host.ilax)
    assert found.ids == {"endpoint.no-gro", "endpoint.no-devmap", "uplink.gateway-silent"}
    assert check(host.ilax, "--fix").ids == {"uplink.gateway-silent"}
    command = found.one("uplink.gateway-silent")["command"]
    findings.shell(host.ns, command.replace("ADDRESS", str(Plan().router_link_local)))
    assert check(host.ilax).findings == []
