# SPDX-License-Identifier: Apache-2.0
"""`ilax check` of hooks, routes and the host: all of it is broken for real, and mended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ilax import address
from ilax.bpf import Link, Map, Program
from ilax.bpf.link import BEFORE, TCX_EGRESS, TCX_INGRESS
from ilax.hooks import clsact, tc_attach
from ilax.hooks.modes import TcMode
from ilax.hooks.places import uplink_hooks
from ilax.instances.instance import Instance
from ilax.instances.transaction import Transaction
from ilax.system.netlink import Network
from ilax.translation import mappings
from lab import findings, foreign, operator
from lab.damage import device, fixed, links, programs, sir_prefix
from lab.findings import check, obey
from lab.ilax import Ilax
from lab.operator import Options
from lab.topology import UPLINK, Host, Lab, Plan


def test_a_healthy_host_gives_no_finding(fabric: Lab, mode: str) -> None:
    for host in fabric.hosts[:2]:
        assert check(host.ilax).findings == [], (mode, host.name)


def test_what_up_made_is_taken_away(host: Host) -> None:
    ns = host.ns
    ns.ip("link", "set", UPLINK, "mtu", "1400")
    ns.ip("-6", "route", "del", str(sir_prefix(host)), "dev", UPLINK)
    ns.ip("-6", "neigh", "del", "fe80::11a", "dev", UPLINK)
    ns.ip(
        *("-6", "route", "add", "2001:db8:dead::/64", "via", "fe80::11a"),
        *("dev", UPLINK, "proto", "105"),
    )
    (links(host) / "uplink_egress").unlink()
    with Link.open_pinned(links(host) / "xdp_ingress") as link:
        link.detach()
    host.ilax.pins.chmod(0o755)
    with Program.open_pinned(programs(host) / "ilax_from_task") as program:
        program.pin(programs(host) / "ilax_from_task_new")
    (programs(host) / "ilax_cgroup_in").unlink()
    answer = check(host.ilax)
    assert answer.ids == {
        "uplink.mtu-small",
        "route.sir-missing",
        "route.sir-neighbour",
        "route.leftover",
        "hook.not-attached",
        "pin.mode",
        "pin.leftover",
        "program.not-pinned",
    }
    objects = {f["object"] for f in answer.findings if f["id"] == "hook.not-attached"}
    assert objects == {f"{UPLINK} egress", f"{UPLINK} XDP"}
    try:
        fixed(host)
    finally:
        ns.ip("link", "set", UPLINK, "mtu", "1500")
    assert check(host.ilax).ids == {"uplink.mtu"}  # as `up` has read the small one
    obey(ns, check(host.ilax).findings)
    assert check(host.ilax).findings == []


def test_an_up_was_killed_on_its_way(host: Host) -> None:
    """Links beside links, filters beside links, another program in a link."""
    ns = host.ns
    ns.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    hook = uplink_hooks(ns.ifindex(UPLINK))[0]
    with (
        ns.entered(),
        Program.open_pinned(programs(host) / "ilax_uplink_in") as into,
        Program.open_pinned(programs(host) / "ilax_uplink_out") as out,
    ):
        with Link.tcx(into, ns.ifindex("other0"), TCX_INGRESS) as beside:
            beside.pin(links(host) / "uplink_ingress_new")
        with Network() as network:
            # Its end, where the link would go, does not come.
            tc_attach.attach(network, links(host), hook, into, TcMode.CLSACT, Transaction())
        with Link.open_pinned(links(host) / "uplink_ingress") as link:
            link.update(out)
    ns.ip("-6", "neigh", "add", "fe80::11a", "lladdr", "02:00:00:00:01:1a", "dev", "other0")
    answer = check(host.ilax)
    assert answer.ids == {
        "hook.beside", "hook.twice", "hook.other-program", "route.leftover"
    }  # fmt: skip
    assert "ilax_uplink_out" in answer.one("hook.other-program")["seen"]
    fixed(host)
    ns.ip("link", "del", "other0")


def test_programs_and_commands_at_different_maps(host: Host, bare: Lab) -> None:
    """What such rows say is neither told nor mended: here they are another instance's."""
    other = bare.hosts[0]
    operator.bring_up(bare)
    pin = host.ilax.pins / "v1/maps/ilax_ports"
    pin.unlink()
    with Map.open_pinned(other.ilax.pins / "v1/maps/ilax_ports") as ports:
        ports.pin(pin)
    found = check(host.ilax, "--fix")
    assert found.ids == {"program.other-map"}
    assert not found.mended
    assert str(pin) == found.one("program.other-map")["object"]
    obey(host.ns, found.findings)
    for one in (host, other):
        assert check(one.ilax).findings == []


def test_who_may_enter_the_folders_of_pins(host: Host) -> None:
    """Also those that come and go, and by being their owner."""
    maps, previous = (host.ilax.pins / "v1" / name for name in ("maps", "previous"))
    host.ilax(*("upgrade", "--before", "0s", "--soak", "0s"))
    previous.chmod(0o711)
    os.chown(maps, 65534, -1)
    found = check(host.ilax)
    assert [one["object"] for one in found.findings] == [str(maps), str(previous)]
    assert found.ids == {"pin.mode"}
    obey(host.ns, found.findings)
    assert check(host.ilax).findings == []
    os.chown(maps, 65534, -1)
    maps.chmod(0o770)
    fixed(host)
    assert (maps.stat().st_uid, maps.stat().st_mode & 0o777) == (0, 0o700)


def test_an_upgrade_is_the_operators_choice(host: Host) -> None:
    """Other programs than those installed are found, and left alone by --fix."""
    pin = programs(host) / "ilax_uplink_out"
    with Program.open_pinned(programs(host) / "ilax_uplink_in") as other:
        pin.unlink()
        other.pin(pin)
        with Link.open_pinned(links(host) / "uplink_egress") as link:
            link.update(other)
    (links(host) / "uplink_ingress").unlink()
    found = check(host.ilax, "--fix")
    assert found.ids == {"program.differs", "hook.not-attached"}
    assert not found.mended
    assert found.one("program.differs")["object"] == "ilax_uplink_out"
    obey(host.ns, found.findings)
    assert check(host.ilax).findings == []


def test_what_only_the_operator_mends(host: Host) -> None:
    """Nothing of it is ours: --fix leaves all as it is, the commands mend it."""
    ns, one = host.ns, host.containers[0]
    prefix, far = str(sir_prefix(host)), str(Plan().sir(60))
    ns.ip("-6", "route", "add", prefix, "dev", "lo", "metric", "10")
    ns.ip("-6", "route", "del", "unreachable", str(host.locator), "dev", "lo", "metric", "4096")
    ns.ip("-6", "address", "add", f"{host.locator.network_address + (0x2000 << 48) + 9}/128",
          "dev", "lo")  # fmt: skip
    ns.ip("-6", "address", "add", f"{far}/128", "dev", "lo")
    ns.ip("-6", "route", "add", f"{one.address}/128", "dev", "lo", "metric", "5")
    ns.ip(
        *("-6", "route", "add", "2001:db8:ad::/64", "via", str(Plan().router_link_local)),
        *("dev", UPLINK, "proto", "ra"),
    )
    with Instance.open(host.ilax.instance) as instance:
        row = instance.mappings.new()[0]
        row["wire"] = (1, 2)
        row["action"] = 2
        instance.mappings.put(address.parse(str(Plan().sir(61))).packed, row)
        local = address.parse(str(Plan().sir(62)))
        with host.ns.entered():
            mappings.add(instance, local, locator=address.parse_prefix(str(host.locator)))
    wanted = {
        "route.sir-shadowed",
        "route.locator-loops",
        "address.in-locator",
        "address.no-row",
        "endpoint.other-route",
        "sysctl.accept-ra",
        "mapping.bad",
        "mapping.dangling",
    }
    found = check(host.ilax, "--fix")
    assert found.ids == wanted
    assert not found.mended
    obey(ns, found.findings)
    assert check(host.ilax).findings == []
    # The host has an address now.
    ns.ip("-6", "address", "del", f"{far}/128", "dev", "lo")
    assert check(host.ilax).ids == {"endpoint.no-host-address", "route.sir-source"}
    fixed(host)
    for row in ns.ip_json("-6", "route", "show", str(sir_prefix(host))):
        assert row["prefsrc"] == str(far)
    host.ilax("endpoint", "del", far)
    ns.ip("-6", "route", "del", "2001:db8:ad::/64", "dev", UPLINK)
    ns.sysctl(f"net.ipv6.conf.{UPLINK}.accept_ra", 0)


def test_the_source_of_the_hosts_own_packets(host: Host) -> None:
    """Routes name an address of the host's as long as it has one, whatever is done to either."""
    ns, prefix = host.ns, str(sir_prefix(host))
    first, second = (str(Plan().sir(number)) for number in (60, 61))

    def source() -> str | None:
        (row,) = ns.ip_json("-6", "route", "show", prefix)
        return row.get("prefsrc")

    assert source() is None
    host.ilax("endpoint", "add", second, "--host")
    assert source() == second
    host.ilax("endpoint", "add", first, "--host")
    assert source() == second  # it stays
    host.ilax(
        *("up", "--uplink", UPLINK, "--sir-prefix", prefix, "--locator", host.locator),
        *("--block", Plan().block, "--xdp", "native"),
    )
    assert source() == second
    assert check(host.ilax).findings == []
    # Taken away, and the address put back: the kernel does not put it into routes again.
    for by_hand in (True, False):
        for address_of_host in (first, second):
            ns.ip("-6", "address", "del", f"{address_of_host}/128", "dev", "lo")
            ns.ip("-6", "address", "add", f"{address_of_host}/128", "dev", "lo", "nodad")
        found = check(host.ilax)
        assert found.ids == {"route.sir-source"}
        assert found.one("route.sir-source")["seen"] == "a route without source"
        if by_hand:
            obey(ns, found.findings)
            assert check(host.ilax).findings == []
        else:
            fixed(host)
        assert source() == first
    # Of somebody else.
    own = str(host.address)
    ns.ip("-6", "route", "replace", prefix, "via", "fe80::11a", "dev", UPLINK, "proto", "105",
          "src", own)  # fmt: skip
    assert check(host.ilax).one("route.sir-source")["seen"] == f"source {own}"
    fixed(host)
    host.ilax("endpoint", "del", first)
    assert source() == second
    host.ilax("endpoint", "del", second)
    assert source() is None
    assert check(host.ilax).findings == []


def test_the_way_out_is_gone(host: Host) -> None:
    ns = host.ns
    ns.ip("-6", "route", "del", "default")
    ns.sysctl("net.ipv6.conf.all.forwarding", 0)
    found = check(host.ilax)
    assert found.ids == {"route.locator-unreachable", "sysctl.forwarding"}
    for one in found.findings:
        findings.shell(ns, one["command"].replace("ROUTER", str(Plan().router_link_local)))
    assert check(host.ilax).findings == []
    ns.ip("link", "set", UPLINK, "down")
    assert {"uplink.down", "route.sir-missing"} <= check(host.ilax).ids
    findings.shell(ns, check(host.ilax).one("uplink.down")["command"])
    ns.ip("-6", "address", "replace", f"{Plan().link_local(host.number)}/64", "dev", UPLINK)
    ns.ip("-6", "route", "add", "default", "via", str(Plan().router_link_local), "dev", UPLINK)
    fixed(host)
    ns.sysctl(f"net.ipv6.conf.{UPLINK}.disable_ipv6", 1)
    found = check(host.ilax)
    assert "sysctl.disable-ipv6" in found.ids
    findings.shell(ns, found.one("sysctl.disable-ipv6")["command"])
    ns.ip("-6", "address", "replace", f"{Plan().link_local(host.number)}/64", "dev", UPLINK)
    ns.ip("-6", "route", "add", "default", "via", str(Plan().router_link_local), "dev", UPLINK)
    assert check(host.ilax).findings == []


def test_foreign_programs_are_named_and_left_alone(bare: Lab, tmp_path: Path) -> None:
    host, ns = bare.hosts[0], bare.hosts[0].ns
    built = foreign.build(tmp_path)
    ns.ip("link", "set", "dev", UPLINK, "xdpdrv", "obj", str(built), "sec", "xdp.frags")
    operator.bring_up(bare, Options(xdp="auto"))
    assert check(host.ilax).ids == {"hook.xdp-foreign"}
    ns.run("tc", "qdisc", "add", "dev", UPLINK, "clsact")
    ns.run(
        *("tc", "filter", "add", "dev", UPLINK, "ingress", "pref", "9", "bpf"),
        *("direct-action", "obj", built, "sec", "tc"),
    )
    with (
        foreign.tc_program(built) as program,
        foreign.tcx(ns, UPLINK, program, TCX_INGRESS, BEFORE),
        foreign.tcx(ns, UPLINK, program, TCX_EGRESS),
        foreign.tcx(ns, device(host.containers[0]), program, TCX_INGRESS),
    ):
        found = check(host.ilax, "--fix")
        assert not found.mended
        assert sorted(f["id"] for f in found.findings) == [
            "hook.foreign-after",
            "hook.foreign-after",
            "hook.foreign-after",
            "hook.foreign-before",
            "hook.xdp-foreign",
        ]
        before = found.one("hook.foreign-before")
        assert before["object"] == f"{UPLINK} ingress"
        assert f"foreign_tc (number {program.id})" in before["seen"]
        behind = found.one("hook.xdp-foreign")
        assert "foreign_xdp" in behind["seen"]
        # It says what could be done, and no command that takes away what is not ours.
        assert "--xdp native" in behind["expected"]
        assert "--xdp-chain" in behind["expected"]
        assert behind["command"] == f"bpftool net show dev {UPLINK}"
        # Accepted, where they are meant to be there.
        done = host.ilax.try_("check", "--ignore", "hook.foreign-before")
        assert done.returncode == 0 and "foreign-before" not in done.stdout
        assert host.ilax.try_("check", "--fail-on", "error").returncode == 0
        assert host.ilax.try_("check", "--fail-on", "info").returncode == findings.WARNINGS
    # A clsact filter in front of ours, where ours is one as well.
    operator.take_down(bare)
    operator.bring_up(bare, Options(xdp="off", tc="clsact"))
    assert check(host.ilax).ids == {"hook.xdp-foreign", "hook.foreign-before"}
    # Another program of ours in our filter.
    hook = uplink_hooks(ns.ifindex(UPLINK))[0]
    with (
        ns.entered(),
        Network() as network,
        Program.open_pinned(programs(host) / "ilax_uplink_out") as out,
    ):
        assert clsact.swap_filter(network, hook, out, None, Transaction())
    found = check(host.ilax)
    assert found.one("hook.other-program")["object"] == f"filter of {UPLINK} ingress"
    assert check(host.ilax, "--fix").ids == {"hook.xdp-foreign", "hook.foreign-before"}
    ns.ip("link", "set", "dev", UPLINK, "xdp", "off")


@pytest.mark.parametrize("dropped", ["-net_admin", "-sys_admin", "-bpf,-sys_admin"])
def test_without_all_capabilities_it_says_what_it_could_not_see(host: Host, dropped: str) -> None:
    weak = Ilax(host.ns, host.ilax.instance, ("setpriv", f"--bounding-set={dropped}"))
    found = check(weak)
    more = {
        "-net_admin": set(),
        "-sys_admin": set(),
        "-bpf,-sys_admin": {"check.failed"},
    }[dropped]
    assert found.ids == {"host.capability"} | more
    assert check(host.ilax).findings == []


def test_somebody_who_may_not_read_the_pins_is_told(host: Host) -> None:
    nobody = ("setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all")
    done = Ilax(host.ns, host.ilax.instance, nobody).try_("check")
    assert done.returncode == 5
    assert "pins are readable by their owner only: run as root" in done.stderr


def test_what_an_upgrade_keeps_is_no_finding(host: Host) -> None:
    host.ilax("upgrade", "--before", "0s", "--soak", "0s")
    assert check(host.ilax).findings == []
    host.ilax("rollback")
    assert check(host.ilax).findings == []


def test_the_machine_is_not_fit(host: Host) -> None:
    old = Ilax(host.ns, host.ilax.instance, ("setarch", "--uname-2.6"))
    assert check(old).ids == {"host.kernel"}
    # All of them: one may be mounted over another.
    script = 'while umount -l /sys/fs/bpf 2>&-; do :; done; exec "$@"'
    blind = Ilax(host.ns, host.ilax.instance, ("unshare", "-m", "sh", "-c", script, "sh"))
    # It is up, and so nobody is told to start it.
    assert check(blind).ids == {"host.no-bpffs"}
