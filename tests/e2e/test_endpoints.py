# SPDX-License-Identifier: Apache-2.0
"""Ways to connect a task: by name, path or process, with another device or MTU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import operator, probes, scenarios, tcp
from lab.capture import mac_of
from lab.cleanup import PREFIX
from lab.operator import Options
from lab.topology import Lab, Plan
from lab.traces import network_state


def test_by_path_and_by_process(pair: Lab) -> None:
    task, peer = pair.containers[0], pair.containers[2]
    ilax = task.host.ilax
    with task.ns.running("sleep", "600") as process:
        for name in (task.ns.path, process.pid, f"/proc/{process.pid}/ns/net"):
            ilax("endpoint", "del", task.address)
            ilax("endpoint", "add", task.address, "--netns", name)
            probes.must_ping(peer.ns, task.address)


def test_its_devices_have_addresses_that_udev_leaves_alone(pair: Lab) -> None:
    """Others get one of udev's after the other end was told (MACAddressPolicy=persistent)."""
    task = pair.containers[0]
    (name,) = (
        row["ifname"]
        for row in task.host.ns.ip_json("link")
        if task.address in row.get("ifalias", "")
    )
    for namespace, device in ((task.host.ns, name), (task.ns, "eth0")):
        assert namespace.keeps_its_mac(device)
        first = int(mac_of(namespace, device).split(":")[0], 16)
        assert first & 3 == 2  # unicast, locally administered


def test_ipv6_is_switched_on_for_its_devices(pair: Lab) -> None:
    """Container runtimes switch it off by default; hosts may do so as well."""
    task, peer = pair.containers[0], pair.containers[2]
    ilax = task.host.ilax
    ilax("endpoint", "del", task.address)
    try:
        for namespace in (task.ns, task.host.ns):
            namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        ilax(*operator.add_arguments(task))
        probes.must_ping(peer.ns, task.address)
    finally:
        for namespace in (task.ns, task.host.ns):
            namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 0)


def test_a_device_of_another_name(pair: Lab) -> None:
    task, peer = pair.containers[0], pair.containers[2]
    ilax = task.host.ilax
    ilax("endpoint", "del", task.address)
    ilax("endpoint", "add", task.address, "--netns", task.ns.name, "--device", "sir0")
    assert task.ns.devices() == ["sir0"]
    probes.must_ping(peer.ns, task.address)


def test_a_taken_device_name_is_refused(pair: Lab) -> None:
    task = pair.containers[0]
    ilax = task.host.ilax
    ilax("endpoint", "del", task.address)
    task.ns.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth9")
    before = network_state(task.host.ns), network_state(task.ns)
    done = ilax.try_(*operator.add_arguments(task))
    assert done.returncode not in (0, 1)
    assert "Traceback" not in done.stderr
    assert "eth0" in done.stderr
    assert (network_state(task.host.ns), network_state(task.ns)) == before
    task.ns.ip("link", "del", "eth0")
    ilax(*operator.add_arguments(task))
    probes.must_ping(pair.containers[2].ns, task.address)


def test_a_namespace_that_is_not_there(pair: Lab, tmp_path: Path) -> None:
    task = pair.containers[0]
    ilax = task.host.ilax
    ilax("endpoint", "del", task.address)
    before = network_state(task.host.ns)
    plain_file = tmp_path / "file"
    plain_file.touch()
    for name in ("no-such-namespace", "/no/such/path", str(plain_file), "4194304"):
        done = ilax.try_("endpoint", "add", task.address, "--netns", name)
        assert done.returncode not in (0, 1), (name, done)
        assert "Traceback" not in done.stderr
        assert network_state(task.host.ns) == before


@pytest.mark.parametrize(
    "options",
    [Options(), Options(delivery="xdp"), Options(xdp="off")],
    ids=["stack", "xdp", "tc-only"],
)
def test_a_task_with_a_small_mtu(bare: Lab, options: Options) -> None:
    """Its host says Packet Too Big, and the sender learns it for the SIR address."""
    operator.bring_up(bare, options)
    source, same, task = bare.containers[:3]
    task.host.ilax("endpoint", "del", task.address)
    task.host.ilax(*operator.add_arguments(task, options), "--mtu", "1300")
    for sender in (source, bare.containers[3]):
        assert not probes.ping(sender.ns, task.address, size=1400, options=("-M", "do"), wait=1)
        assert scenarios.path_mtu(sender.ns, task.address) == 1300
        sender.ns.ip("-6", "route", "flush", "cache")
        report = tcp.transfer(sender.ns, task.ns, task.address, 4 << 20)
        assert report.same_content
        # TCP tells its own limit when it connects; UDP has to find out.
        assert report.pmtu <= 1500
        # The first one is told, the next one comes in smaller fragments.
        probes.ping(sender.ns, task.address, size=4000, wait=1)
        probes.must_ping(sender.ns, task.address, size=4000)
    probes.must_ping(source.ns, same.address, size=1452, options=("-M", "do"))


def test_many_are_added_at_once() -> None:
    """Loaders side by side: each task gets a link and counters of its own."""
    with Lab.make(f"{PREFIX}many", Plan(hosts=1, containers=12)) as lab:
        (host,) = lab.hosts
        host.ilax(*operator.up_arguments(lab, host))
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda task: host.ilax(*operator.add_arguments(task)), lab.containers))
        rows = host.ilax.json("endpoint", "list")
        assert len(rows) == len({row["ifindex"] for row in rows}) == 12
        assert {row["slot"] for row in rows} == set(range(1, 13))
        first = lab.containers[0]
        assert all(probes.ping_pairs([(first.ns, c.address) for c in lab.containers[1:]]))
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda c: host.ilax("endpoint", "del", c.address), lab.containers))
        assert host.ilax.json("endpoint", "list") == []
        assert host.ns.devices() == ["up0"]
