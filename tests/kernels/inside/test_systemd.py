# SPDX-License-Identifier: Apache-2.0
"""The units as the package ships them, started by the systemd that booted this machine.

The tests are a story, each goes on where the one before it has ended. What was there at
boot lies in tests/kernels/systemd/etc: two uplinks, and a file for each of two instances.
"""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from kernels.wall_clock import may_be_set
from lab import probes
from lab.ilax import Ilax, quick_commands
from lab.netns import Namespace, run
from lab.wait import until

pytestmark = pytest.mark.skipif(not may_be_set(), reason="sets up a machine of its own")

ROOT = Path(__file__).resolve().parents[3]
FILE = Path("/etc/ilax/host.toml")
SIR = "2001:db8:5a5a:1:2000::"
HOST, WEB1, WEB2, FAR = (f"{SIR}{number}" for number in (1, 5, 6, 9))
TWO_WEB, TWO_FAR = "2001:db8:5a5a:2:2000::5", "2001:db8:5a5a:2:2000::9"
PORT, TWO_PORT = 9119, 9120
# Of an emulated CPU.
PATIENCE = 300.0
_READ_SEARCH = 1 << 2
# Where systemd takes dynamic users from.
_DYNAMIC = range(61184, 65520)
_MAC_IS_SET = "3"


def systemctl(*arguments: str, check: bool = True) -> str:
    done = run("systemctl", *arguments, check=check, timeout=PATIENCE)
    return done.stdout.strip()


def show(unit: str, name: str) -> str:
    return systemctl("show", "--property", name, "--value", unit)


def journal(unit: str) -> str:
    """What the last run of a unit said."""
    run("journalctl", "--sync")
    by = f"_SYSTEMD_INVOCATION_ID={show(unit, 'InvocationID')}"
    return run("journalctl", "--no-pager", "--output=cat", by).stdout


def start(unit: str) -> None:
    """Run a unit that ends."""
    systemctl("start", unit)
    assert show(unit, "Result") == "success"


def endpoints(of: Ilax) -> set[str]:
    return {one["sir"] for one in of.json("endpoint", "list")}


def metrics(port: int = PORT) -> dict[str, Metric]:
    with urllib.request.urlopen(f"http://[::1]:{port}/metrics", timeout=PATIENCE) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {family.name: family for family in families}


def value(family: Metric, **labels: str) -> float:
    (found,) = (one.value for one in family.samples if labels.items() <= one.labels.items())
    return float(found)


def wait_for_exporter(unit: str, port: int) -> None:
    def listens() -> bool:
        with socket.socket(socket.AF_INET6) as asking:
            return not asking.connect_ex(("::1", port))

    until(listens, f"{unit} at {port}: {systemctl('status', unit, check=False)}", timeout=PATIENCE)


def ping_from_host(address: str) -> None:
    run("ping", "-6", "-n", "-c", "1", "-W", "20", address)


def peer(uplink: int) -> Namespace:
    """The host at the other end of an uplink, as an instance in a namespace of its own."""
    sir, high = f"2001:db8:5a5a:{uplink + 1}", uplink or ""
    locator, ours = f"2001:db8:42:{high}8::/64", f"2001:db8:42:{high}7::/64"
    far, there = f"far{uplink}", Namespace(f"peer{uplink}")
    there.create()
    run("ip", "link", "set", far, "netns", there.name)
    there.ip("address", "add", "fe80::2/64", "dev", far, "nodad")
    there.ip("link", "set", far, "up")
    there.ip("-6", "route", "add", ours, "via", "fe80::1", "dev", far)
    ilax = Ilax(there, there.name)
    ilax(
        *("up", "--uplink", far, "--sir-prefix", f"{sir}::/64", "--locator", locator),
        *("--block", "2001:db8:42::/48", "--host-address", f"{sir}:2000::9"),
        *("--max-endpoints", "64", "--max-mappings", "64", "--max-limits", "64"),
    )
    for number in (1, 5):
        ilax("mapping", "add", f"{sir}:2000::{number}", "--locator", ours)
    return there


@pytest.fixture(scope="module")
def ilax() -> Iterator[Ilax]:
    """The default instance; the units alone run the command that is installed."""
    host = Namespace("host")
    run("ip", "netns", "attach", host.name, "1")
    try:
        with quick_commands():
            yield Ilax(host, "default")
    finally:
        run("ip", "netns", "del", host.name)


@pytest.fixture(scope="module")
def two(ilax: Ilax) -> Ilax:
    """The instance with a name."""
    return Ilax(ilax.ns, "two")


@pytest.fixture
def file() -> Iterator[Path]:
    """The host's file; a test may write it, and it is as before afterwards."""
    before = FILE.read_text()
    try:
        yield FILE
    finally:
        FILE.write_text(before)


def test_the_machine_is_up(ilax: Ilax) -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert systemctl("list-units", "--failed", "--plain", "--no-legend") == ""
    assert show("ilax.service", "ActiveState") == "active"
    assert ilax.json("status")["uplink_ifindex"] == socket.if_nametoindex("eth0")


def test_it_has_waited_for_the_network() -> None:
    """Its uplink is made by systemd-networkd."""
    online = int(show("network-online.target", "ActiveEnterTimestampMonotonic"))
    assert 0 < online <= int(show("ilax.service", "ExecMainStartTimestampMonotonic"))


def test_pins_are_in_the_bpffs_that_systemd_has_mounted() -> None:
    (mounted,) = json.loads(run("findmnt", "--json", "--types", "bpf").stdout)["filesystems"]
    assert mounted["target"] == "/sys/fs/bpf"
    assert {"nosuid", "nodev", "noexec", "mode=700"} <= set(mounted["options"].split(","))
    assert Path("/sys/fs/bpf/ilax/default").is_dir()


def test_containers_that_are_not_there_are_left_out_with_a_line_each(ilax: Ilax) -> None:
    assert endpoints(ilax) == {HOST}
    told = journal("ilax.service")
    for sir, netns in ((WEB1, "web1"), (WEB2, "web2")):
        (line,) = (line for line in told.splitlines() if sir in line)
        assert netns in line


def test_reload_completes_them(ilax: Ilax) -> None:
    for name in ("web1", "web2"):
        Namespace(name).create()
    systemctl("reload", "ilax")
    assert endpoints(ilax) == {HOST, WEB1, WEB2}
    probes.must_ping(Namespace("web1"), WEB2)
    ping_from_host(WEB1)


def test_udev_leaves_their_addresses_alone() -> None:
    """It gives those of a device that nobody has set, by MACAddressPolicy=persistent."""
    run("ip", "link", "add", "plain0", "type", "veth", "peer", "name", "plain1")
    run("udevadm", "settle", timeout=PATIENCE)
    kinds = {}
    for device in Path("/sys/class/net").iterdir():
        told = run("udevadm", "info", "--query=property", device).stdout.splitlines()
        if device.name.startswith(("iltask", "plain")):
            assert "ID_NET_LINK_FILE=/usr/lib/systemd/network/99-default.link" in told
            kinds[device.name] = (device / "addr_assign_type").read_text().strip()
    assert len(kinds) == 4
    # udev is at work here, or this would show nothing.
    assert kinds.pop("plain0") == kinds.pop("plain1") == _MAC_IS_SET
    assert set(kinds.values()) == {_MAC_IS_SET}
    run("ip", "link", "del", "plain0")
    probes.must_ping(Namespace("web2"), WEB1)


def test_packets_pass_the_uplink() -> None:
    there = peer(0)
    probes.must_ping(there, WEB1)
    probes.must_ping(Namespace("web1"), FAR)
    ping_from_host(FAR)


def test_the_exporter_may_read_and_nothing_else() -> None:
    wait_for_exporter("ilax-exporter.service", PORT)
    process = show("ilax-exporter.service", "MainPID")
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    assert {int(user) for user in status["Uid"].split()} <= set(_DYNAMIC)
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == _READ_SEARCH
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    told = metrics()
    assert value(told["ilax_up"]) == 1
    rates = told["ilax_limit_rate_bytes_per_second"]
    assert value(rates, cgroup="system.slice") == 2e9 / 8
    assert value(told["ilax_endpoints"]) == 3
    # Without tcx (before Linux 6.6) the uplink has no link that could be asked.
    by_link = Path("/sys/fs/bpf/ilax/default/v1/links/uplink_ingress").exists()
    assert value(told["ilax_links_asked"]) == (0 if by_link else 1)
    assert value(told["ilax_endpoint_transmit_packets"], endpoint=WEB1) > 0
    assert {one.value for one in told["ilax_scrape_success"].samples} == {1}


def test_a_check_is_left_for_the_exporter(ilax: Ilax) -> None:
    start("ilax-check.service")
    report = Path("/run/ilax/check-default.json")
    assert report.stat().st_mode & 0o077 == 0
    checks = metrics()["ilax_check_checks"]
    assert value(checks, result="failed") == 0
    assert value(checks, result="made") > 0
    assert ilax.json("check", "--fail-on", "never")["findings"] == []


def test_limits_without_a_cgroup_go(ilax: Ilax) -> None:
    cgroup = Path("/sys/fs/cgroup/gone.slice")
    cgroup.mkdir()
    ilax("limit", "set", "gone.slice", "--rate", "1mbit")
    before = len(ilax.json("limit", "list"))
    cgroup.rmdir()
    start("ilax-limit-gc.service")
    assert len(ilax.json("limit", "list")) == before - 1


def test_the_timer_completes_what_is_missing(ilax: Ilax) -> None:
    ilax("endpoint", "del", WEB2)
    # Its first time is one minute after boot, so at once.
    systemctl("enable", "--now", "ilax-apply.timer")
    until(lambda: WEB2 in endpoints(ilax), "an endpoint of the timer", timeout=PATIENCE, interval=1)
    systemctl("disable", "--now", "ilax-apply.timer")
    for timer in ("ilax-check.timer", "ilax-limit-gc.timer"):
        systemctl("enable", "--now", timer)
        assert show(timer, "ActiveState") == "active"
        systemctl("disable", "--now", timer)
    until(lambda: not systemctl("list-jobs", "--no-legend"), "an end of jobs", timeout=PATIENCE)
    probes.must_ping(Namespace("web1"), WEB2)


def test_packets_pass_while_the_unit_is_stopped_and_started_anew(ilax: Ilax) -> None:
    for verb in ("stop", "start", "restart"):
        systemctl(verb, "ilax")
        probes.must_ping(Namespace("web1"), FAR)
        assert endpoints(ilax) == {HOST, WEB1, WEB2}
    assert show("ilax.service", "ActiveState") == "active"
    # The exporter is none of its parts.
    assert value(metrics()["ilax_up"]) == 1


def test_what_networkd_takes_is_put_back_by_the_check(ilax: Ilax) -> None:
    """When it starts it removes routes and neighbours that no file of its own names."""

    def missing() -> set[str]:
        found = ilax.json("check", "--fail-on", "never")["findings"]
        return {one["id"] for one in found} & {"route.sir-missing", "route.sir-neighbour"}

    systemctl("restart", "systemd-networkd", "systemd-networkd-wait-online")
    until(lambda: len(missing()) == 2, "work of networkd", timeout=PATIENCE)
    Path("/etc/default/ilax-check").write_text("ILAX_CHECK_OPTIONS=--fix\n")
    start("ilax-check.service")
    assert not missing()
    ping_from_host(FAR)


def test_a_wrong_file_fails_the_unit_and_changes_nothing(file: Path) -> None:
    file.write_text(file.read_text().replace("sir-prefix", "sir_prefix"))
    done = run("systemctl", "reload", "ilax", check=False, timeout=PATIENCE)
    assert done.returncode
    # It had come up, so it is up.
    assert show("ilax.service", "ActiveState") == "active"
    done = run("systemctl", "restart", "ilax", check=False, timeout=PATIENCE)
    assert done.returncode
    assert show("ilax.service", "ActiveState") == "failed"
    told = journal("ilax.service")
    assert f"{file}:6: up.sir_prefix: unknown key; did you mean 'sir-prefix'?" in told
    assert "nothing was changed" in told
    probes.must_ping(Namespace("web1"), FAR)


def test_it_recovers_when_the_file_is_right() -> None:
    systemctl("restart", "ilax")
    assert show("ilax.service", "ActiveState") == "active"


def test_an_instance_with_a_name(two: Ilax) -> None:
    """And the default one does not notice."""
    Namespace("two-web").create()
    systemctl("enable", "--now", "ilax@two.service", "ilax-exporter@two.service")
    assert two.json("status")["uplink_ifindex"] == socket.if_nametoindex("eth1")
    assert TWO_WEB in endpoints(two)
    there = peer(1)
    probes.must_ping(there, TWO_WEB)
    probes.must_ping(Namespace("two-web"), TWO_FAR)
    start("ilax-check@two.service")
    start("ilax-limit-gc@two.service")
    two("endpoint", "del", TWO_WEB)
    start("ilax-apply@two.service")
    assert TWO_WEB in endpoints(two)
    wait_for_exporter("ilax-exporter@two.service", TWO_PORT)
    told = metrics(TWO_PORT)
    assert value(told["ilax_up"]) == 1
    assert value(told["ilax_check_checks"], result="failed") == 0
    assert value(told["ilax_endpoint_transmit_packets"], endpoint=TWO_WEB) >= 0
    systemctl("reload", "ilax@*.service")
    probes.must_ping(Namespace("web1"), FAR)


def test_down_is_not_undone(two: Ilax) -> None:
    two("down")
    for unit in ("ilax-apply@two.service", "ilax-limit-gc@two.service"):
        systemctl("start", unit)
        assert show(unit, "ConditionResult") == "no"
    assert not Path("/sys/fs/bpf/ilax/two").exists()
    assert value(metrics(TWO_PORT)["ilax_up"]) == 0
    probes.must_ping(Namespace("web1"), FAR)


def test_the_package_goes_and_packets_pass() -> None:
    systemctl("enable", "--now", "ilax-check@two.timer")
    run("sh", ROOT / "packaging/debian/prerm", "remove", timeout=PATIENCE)
    wanted = Path("/etc/systemd/system").glob("*.wants/ilax*")
    assert list(wanted) == []
    left = systemctl("list-units", "--plain", "--no-legend", "--state=active", "ilax*")
    assert {line.split()[0] for line in left.splitlines()} <= {"ilax.service", "ilax@two.service"}
    probes.must_ping(Namespace("web1"), FAR)
