# SPDX-License-Identifier: Apache-2.0
"""Tasks behind a netkit device instead of a veth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernels import exchanges
from lab import findings, operator, probes, scenarios
from lab.cleanup import PREFIX
from lab.ilax import quick_commands
from lab.operator import Options
from lab.topology import Container, Lab, Plan

_LINK = ("--link", "netkit")
MODES = {
    "XDP and tcx": (Options(endpoint_extra=_LINK), "send_handover"),
    "tcx": (Options(xdp="off", tc="tcx", endpoint_extra=_LINK), "send_peer"),
    "clsact": (Options(xdp="off", tc="clsact", endpoint_extra=_LINK), "send_peer"),
}


@pytest.fixture(scope="module", params=list(MODES))
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lab(mode: str) -> Iterator[Lab]:
    tag = f"{PREFIX}{os.getpid():x}k"
    with quick_commands(), Lab.make(tag, Plan(hosts=2)) as built:
        operator.bring_up(built, MODES[mode][0])
        yield built


def _kinds(tasks: list[Container]) -> set[str]:
    found = set()
    for task in tasks:
        (link,) = task.ns.ip_json("-details", "link", "show", "dev", "eth0")
        found.add(link["linkinfo"]["info_kind"])
    return found


def test_the_devices_are_netkit(lab: Lab) -> None:
    assert _kinds(lab.containers) == {"netkit"}
    assert all(task.ns.keeps_its_mac("eth0") for task in lab.containers)


def test_everybody_reaches_everybody(lab: Lab) -> None:
    tasks = lab.containers
    pairs = [(a.ns, b.address) for a in tasks for b in tasks if a is not b]
    assert all(probes.ping_pairs(pairs))


def test_packets_are_handed_over(lab: Lab, mode: str) -> None:
    source, target = lab.containers[0], lab.containers[2]
    before = Counter(target.host.ilax.counters())
    probes.must_ping(source.ns, target.address, count=5)
    counted = Counter(target.host.ilax.counters()) - before
    assert counted["uplink_ingress", MODES[mode][1]] == 5


@pytest.mark.parametrize("extended", [False, True], ids=["plain", "extension headers"])
@pytest.mark.parametrize("kind", exchanges.KINDS)
def test_exchange(lab: Lab, kind: str, extended: bool) -> None:
    for target in (lab.containers[1], lab.containers[2]):
        exchanges.KINDS[kind](lab.containers[0].ns, target.ns, target.address, extended)


def test_a_task_cannot_lie_about_its_address(lab: Lab) -> None:
    cheat, claimed, target = lab.containers[0], lab.containers[1], lab.containers[2]
    before = cheat.host.ilax.count("drop_spoofed_source")
    assert not scenarios.spoof(lab, cheat, claimed, target)
    assert cheat.host.ilax.count("drop_spoofed_source") > before


def test_nothing_is_wrong_with_them(lab: Lab) -> None:
    for host in lab.hosts:
        assert findings.check(host.ilax).findings == []


def test_a_file_can_ask_for_them(lab: Lab, tmp_path: Path) -> None:
    """What is there is declared by its export; a veth instead, and back, is made anew."""
    host, peer = lab.hosts[0], lab.hosts[1].containers[0]
    file = tmp_path / "host.toml"
    text = host.ilax("export")
    assert text.count('\nlink = "netkit"\n') == len(host.containers)
    file.write_text(text)
    assert host.ilax("plan", "--prune", "--exit-code", file).startswith("nothing to do")
    for kind, other in (("veth", "netkit"), ("netkit", "veth")):
        file.write_text(text.replace('link = "netkit"', f'link = "{kind}"'))
        planned = host.ilax("plan", "--prune", file)
        assert planned.count(f": link {other} -> {kind} (made anew)") == len(host.containers)
        host.ilax("apply", "--prune", file)
        assert host.ilax("plan", "--prune", "--exit-code", file).startswith("nothing to do")
        assert _kinds(host.containers) == {kind}
        probes.must_ping(peer.ns, host.containers[0].address)


def test_xdp_does_not_deliver_there(lab: Lab) -> None:
    host = lab.hosts[0]
    task = host.containers[0]
    host.ilax("endpoint", "del", task.address)
    arguments = operator.add_arguments(task, Options(delivery="xdp", endpoint_extra=_LINK))
    done = host.ilax.try_(*arguments)
    assert done.returncode != 0
    assert "netkit" in done.stderr
    host.ilax(*operator.add_arguments(task, Options(endpoint_extra=_LINK)))
    probes.must_ping(task.ns, lab.containers[2].address)
