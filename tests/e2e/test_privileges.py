# SPDX-License-Identifier: Apache-2.0
"""Too few capabilities, and hooks that belong to somebody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from ilax.cli import cli
from lab import operator, probes, tcp
from lab.cgroups import own_cgroups
from lab.ilax import Ilax
from lab.netns import run
from lab.operator import Options
from lab.topology import UPLINK, Lab
from lab.traces import network_state

PRIVILEGE, CONFLICT = 5, 4


@pytest.mark.parametrize(
    ("dropped", "named"),
    [
        ("-bpf,-sys_admin", "CAP_BPF"),
        ("-net_admin", "CAP_NET_ADMIN"),
        ("-perfmon,-sys_admin", "CAP_PERFMON"),
    ],
)
def test_a_missing_capability_is_named(bare: Lab, dropped: str, named: str) -> None:
    host = bare.hosts[0]
    before = network_state(host.ns)
    weak = Ilax(host.ns, host.ilax.instance, ("setpriv", f"--bounding-set={dropped}"))
    done = weak.try_(*operator.up_arguments(bare, host))
    assert done.returncode == PRIVILEGE
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not host.ilax.pins.exists()
    assert network_state(host.ns) == before


def test_three_capabilities_are_enough(bare: Lab) -> None:
    """All but entering namespaces; what CAP_SYS_ADMIN alone may see is left out."""
    host = bare.hosts[0]
    few = ("setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon")
    weak = Ilax(host.ns, host.ilax.instance, few)
    sir, other = str(bare.plan.sir(9)), bare.hosts[1].locator
    for arguments in (
        operator.up_arguments(bare, host),
        ["endpoint", "add", sir, "--host"],
        ["mapping", "add", str(bare.plan.sir(8)), "--locator", other],
        ["mapping", "list"],
        ["endpoint", "list"],
        ["counters"],
        operator.up_arguments(bare, host),
        ["endpoint", "del", sir],
    ):
        done = weak.try_(*arguments)
        assert done.returncode == 0, done
    status = weak.try_("status")
    assert status.returncode == 0
    assert "uplink_ingress" in status.stdout and "number" in status.stdout
    assert "cannot be compared one by one" in status.stderr
    task = bare.containers[0]
    add = weak.try_("endpoint", "add", task.address, "--netns", task.ns.name)
    assert add.returncode == PRIVILEGE
    assert "CAP_SYS_ADMIN" in add.stderr
    assert weak.try_("down").returncode == 0
    assert not host.ilax.pins.exists()


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))
        else:
            yield " ".join((*words, name))


def test_every_command_needs_no_more_than_three(bare: Lab, tmp_path: Path) -> None:
    """As a daemon or an operator would run it; none may be forgotten here."""
    host = bare.hosts[0]
    few = ("setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon")
    weak = Ilax(host.ns, host.ilax.instance, few)
    sir, other, far = bare.plan.sir(9), bare.hosts[1].locator, bare.plan.sir(8)
    rows, declared = tmp_path / "rows.csv", tmp_path / "host.toml"
    packets, made = tmp_path / "in.pcap", tmp_path / "out.pcap"
    # The header of an empty capture.
    packets.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    up = operator.up_arguments(bare, host)
    prefixes = ("--sir-prefix", bare.plan.sir_prefix, "--block", bare.plan.block)
    with own_cgroups(bare.tag) as own:
        lines: Mapping[str, tuple[object, ...]] = {
            "up": tuple(up[1:]),
            "status": (),
            "endpoint add": (sir, "--host"),
            "endpoint list": (),
            "endpoint show": (sir,),
            "mapping add": (far, "--locator", other),
            "mapping list": (),
            "mapping export": (rows,),
            "mapping import": (rows,),
            "mapping del": (far,),
            "limit set": (own.name, "--rate", "1gbit"),
            "endpoint set": (sir, "--cgroup", own.name),
            "limit list": (),
            "limit show": (own.name,),
            "limit watch": (own.name, "--interval", "100ms", "--count", 1),
            "limit gc": (),
            "check": ("--fail-on", "never"),
            "counters": (),
            "monitor": ("--duration", "0.1"),
            "top": ("--once", "--interval", "0.1"),
            "explain": ("--in", "uplink", "--src", bare.plan.router, "--dst", sir),
            "exporter": ("--once",),
            "export": (),
            "plan": ("--prune", declared),
            "apply": ("--prune", declared),
            "address encode": (sir, "--locator", other),
            "address decode": (sir, "--sir-prefix", bare.plan.sir_prefix),
            "capture to-wire": (packets, made),
            "capture to-sir": (packets, made, *prefixes),
            "selftest": (),
            "upgrade": ("--soak", "0", "--before", "0"),
            "rollback": (),
            "limit del": (own.name,),
            "endpoint del": (sir,),
            "version": (),
            "completion": ("bash",),
            "down": (),
        }
        # `trace` needs bcc, which needs more: docs/trace.md says what.
        assert sorted(_commands(cli)) == sorted([*lines, "trace"])
        refused = {}
        for name, arguments in lines.items():
            done = weak.try_(*name.split(), *arguments)
            if done.returncode:
                refused[name] = done.stderr
            if name == "export":
                declared.write_text(done.stdout)
        assert refused == {}
    assert not host.ilax.pins.exists()


def test_what_enters_a_container_names_the_capability(pair: Lab) -> None:
    host = pair.hosts[0]
    few = ("setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon")
    weak = Ilax(host.ns, host.ilax.instance, few)
    task = host.containers[0].ns.name
    for arguments in (("export",), ("explain", "--in", task, "--dst", str(pair.plan.sir(8)))):
        done = weak.try_(*arguments)
        assert done.returncode == PRIVILEGE, done
        assert "missing CAP_SYS_ADMIN" in done.stderr


def test_nobody_may_do_nothing(pair: Lab) -> None:
    host, task = pair.hosts[0], pair.containers[0]
    before = network_state(host.ns)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    weak = Ilax(host.ns, host.ilax.instance, nobody)
    if weak.try_("version").returncode:
        pytest.skip("the environment cannot be read by others")
    for arguments in (
        operator.up_arguments(pair, host),
        ["down"],
        ["endpoint", "del", task.address],
        ["mapping", "add", pair.plan.sir(9), "--locator", pair.hosts[1].locator],
        ["status"],
        ["counters"],
    ):
        done = weak.try_(*arguments)
        assert done.returncode == PRIVILEGE, done
        # Whichever comes first: opening a pin, or using it.
        assert "CAP_BPF" in done.stderr or "readable by their owner only" in done.stderr
        assert "Traceback" not in done.stderr
    assert network_state(host.ns) == before
    probes.must_ping(task.ns, pair.containers[2].address)


def test_pins_are_for_their_owner_only(pair: Lab) -> None:
    pins = pair.hosts[0].ilax.pins
    for folder in (pins, pins / "v1", *(pins / "v1").iterdir()):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Programs that are not ours and let everything pass."""
    source = tmp_path / "foreign.bpf.c"
    source.write_text(
        "#include <linux/bpf.h>\n"
        "#include <bpf/bpf_helpers.h>\n"
        'SEC("xdp.frags") int foreign_xdp(struct xdp_md *ctx) { return XDP_PASS; }\n'
        'SEC("tc") int foreign_tc(struct __sk_buff *ctx) { return -1; }\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    target = tmp_path / "foreign.bpf.o"
    machine = run("gcc", "-dumpmachine").stdout.strip()
    run(
        *("clang-19", "-target", "bpf", "-g", "-O2", f"-I/usr/include/{machine}"),
        *("-c", source, "-o", target),
    )
    return target


def _xdp_program(lab: Lab) -> str:
    (row,) = lab.hosts[0].ns.ip_json("-d", "link", "show", "dev", UPLINK)
    return str(row.get("xdp", {}).get("prog", {}).get("name", ""))


@pytest.mark.parametrize("kind", ["xdpdrv", "xdpgeneric"])
def test_a_foreign_xdp_program_keeps_its_hook(bare: Lab, foreign: Path, kind: str) -> None:
    host = bare.hosts[0]
    host.ns.ip("link", "set", "dev", UPLINK, kind, "obj", str(foreign), "sec", "xdp.frags")
    assert _xdp_program(bare) == "foreign_xdp"

    refused = host.ilax.try_(*operator.up_arguments(bare, host, Options(xdp="native")))
    assert refused.returncode == CONFLICT
    assert "foreign_xdp" in refused.stderr
    assert not host.ilax.pins.exists()
    assert _xdp_program(bare) == "foreign_xdp"

    operator.bring_up(bare, Options(xdp="auto"))
    assert _xdp_program(bare) == "foreign_xdp"
    a, same, b, _ = bare.containers
    for target in (same, b):
        probes.must_ping(a.ns, target.address, count=3, size=4000)
    # In both directions, as the foreign program sees what arrives.
    assert tcp.transfer(a.ns, b.ns, b.address, 8 << 20).same_content
    assert tcp.transfer(b.ns, a.ns, a.address, 8 << 20).same_content
    assert host.ilax.count("send_peer") > 0

    operator.take_down(bare)
    assert _xdp_program(bare) == "foreign_xdp"


def test_a_foreign_tc_filter_stays(bare: Lab, foreign: Path) -> None:
    """And sees what we leave to the stack, as we are one program of a chain."""
    host = bare.hosts[0]
    host.ns.run("tc", "qdisc", "add", "dev", UPLINK, "clsact")
    host.ns.run(
        *("tc", "filter", "add", "dev", UPLINK, "ingress", "pref", "9", "bpf"),
        *("direct-action", "obj", foreign, "sec", "tc"),
    )
    before = network_state(host.ns)
    for tc in ("tcx", "clsact"):
        operator.bring_up(bare, Options(xdp="off", tc=tc))
        probes.must_ping(bare.containers[0].ns, bare.containers[2].address)
        operator.take_down(bare)
        assert network_state(host.ns) == before


def test_the_tools_of_these_tests_are_there() -> None:
    """A missing tool must fail a test and not weaken one."""
    for tool in ("setpriv", "bpftool", "ethtool", "iperf3", "traceroute", "tc"):
        assert shutil.which(tool), tool
