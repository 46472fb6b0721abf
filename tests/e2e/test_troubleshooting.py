# SPDX-License-Identifier: Apache-2.0
"""docs/troubleshooting.md: each thing is broken, asked for and mended as the page says."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from ilax.check import KINDS
from lab import operator, probes
from lab.cgroups import own_cgroups
from lab.cleanup import PREFIX
from lab.ilax import Ilax
from lab.topology import UPLINK, Host, Lab, Plan
from lab.wait import until

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text()
HOST_SIR = "2001:db8:5a5a:1:2000::f1"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts with two tasks each; every test leaves it as it was."""
    with Lab.make(f"{PREFIX}trbl", Plan(hosts=2)) as made:
        operator.bring_up(made)
        yield made


@pytest.fixture
def host(lab: Lab) -> Host:
    return lab.hosts[0]


def said(symptom: str, *words: str) -> None:
    """The page has these words below the heading of a symptom."""
    _, _, rest = PAGE.partition(f"### {symptom}\n")
    entry = rest.partition("\n### ")[0]
    for word in words:
        assert word in entry, f"{symptom}: {word}"


def findings(ilax: Ilax) -> set[str]:
    """What `ilax check` finds; it ends with 10 or 11 where it finds something."""
    text = ilax.try_("check").stdout
    return set(re.findall(r"^(?:error|warning) +(\S+)", text, re.MULTILINE))


def outcome(ilax: Ilax, source: str, destination: str, *more: str) -> str:
    """The last line of `ilax explain`, and the reasons of its steps."""
    text = ilax("explain", "--in", source, "--dst", destination, *more)
    return "\n".join([text.splitlines()[-1], *re.findall(r"-  (\w+)$", text, re.MULTILINE)])


@contextlib.contextmanager
def counting(ilax: Ilax) -> Iterator[dict[str, int]]:
    """Packets by reason while the context lasts; complete when it has ended."""
    before = ilax.counters()
    found: dict[str, int] = {}
    yield found
    for (hook, reason), packets in ilax.counters().items():
        if hook in ("xdp_ingress", "uplink_ingress") and packets > before.get((hook, reason), 0):
            found[reason] = found.get(reason, 0) + packets


def test_every_finding_on_the_page_is_one_of_check() -> None:
    subjects = "|".join({name.partition(".")[0] for name in KINDS})
    named = re.findall(rf"`((?:{subjects})\.[a-z-]+)`", PAGE)
    assert named
    assert set(named) <= set(KINDS)


def test_every_link_of_the_pages_leads_somewhere() -> None:
    pages = {page.name: page.read_text() for page in DOCS.glob("*.md")}
    for name, text in pages.items():
        for target, anchor in re.findall(r"\]\(([\w-]+\.md)?(?:#([\w-]+))?\)", text):
            if not target and not anchor:
                continue
            assert not target or target in pages, f"{name}: {target}"
            headings = re.findall(r"^#+ (.*)$", pages[target or name], re.MULTILINE)
            assert not anchor or anchor in map(_anchor, headings), f"{name}: {target}#{anchor}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# --- a container reaches nothing ------------------------------------------------------


def test_a_container_that_was_made_anew(lab: Lab, host: Host) -> None:
    task, other = host.containers[0], lab.containers[2]
    task.ns.ip("link", "del", "eth0")
    assert not probes.ping(task.ns, other.address)
    assert "endpoint.no-device" in findings(host.ilax)
    host.ilax("endpoint", "del", task.address)
    host.ilax(*operator.add_arguments(task))
    probes.must_ping(task.ns, other.address)
    said("A container reaches nothing", "endpoint.no-device", "`ilax endpoint del` and `add`")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (("-6", "route", "del", "default"), "endpoint.no-inner-route"),
        (("link", "set", "eth0", "down"), "endpoint.inner-down"),
        (("-6", "address", "flush", "dev", "eth0", "scope", "global"), "endpoint.no-address"),
    ],
)
def test_a_network_that_was_changed_inside(
    lab: Lab, host: Host, change: tuple[str, ...], finding: str
) -> None:
    task, other = host.containers[0], lab.containers[2]
    task.ns.ip(*change)
    assert not probes.ping(task.ns, other.address, wait=0.5)
    assert finding in findings(host.ilax)
    host.ilax("check", "--fix")
    probes.must_ping(task.ns, other.address)
    said("A container reaches nothing", finding, "check --fix")


def test_a_destination_that_nobody_published(lab: Lab, host: Host) -> None:
    task, other = host.containers[0], lab.containers[2]
    host.ilax("mapping", "del", other.address)
    assert "drop_no_mapping" in outcome(host.ilax, task.address, other.address)
    assert not probes.ping(task.ns, other.address, wait=0.5)
    host.ilax("mapping", "add", other.address, "--locator", other.host.locator)
    assert "FORWARDED" in outcome(host.ilax, task.address, other.address)
    probes.must_ping(task.ns, other.address)
    for symptom in ("A container reaches nothing", "Only one host does not reach a container"):
        said(symptom, "drop_no_mapping", "`ilax mapping add")


# --- it is not reached ----------------------------------------------------------------


def test_a_fabric_that_does_not_lead_here(lab: Lab, host: Host) -> None:
    task, far = host.containers[0], lab.containers[2]
    lab.router.ip("-6", "route", "del", str(host.locator))
    try:
        with counting(host.ilax) as found:
            assert not probes.ping(far.ns, task.address, wait=0.5)
        assert not found
        assert findings(host.ilax) == set()
        assert "FORWARDED" in outcome(lab.hosts[1].ilax, far.address, task.address)
    finally:
        lab.lead_to(host, host.router_port)
    probes.must_ping(far.ns, task.address)
    said("A container is not reached from other hosts", "nothing rises", "the routers")


def test_a_mapping_that_leads_to_the_host_of_before(lab: Lab, host: Host) -> None:
    """Seen from the old host, and from the one that was left out."""
    far, left_out = lab.containers[2], lab.hosts[1]
    moved = f"{HOST_SIR[:-2]}e1"
    left_out.ilax("mapping", "add", moved, "--locator", host.locator)
    with counting(host.ilax) as found:
        assert not probes.ping(far.ns, moved, wait=0.5)
    assert set(found) == {"drop_unknown_identifier"}
    shown = left_out.ilax("explain", "--in", far.address, "--dst", moved)
    assert f"{moved} at {host.locator}" in re.sub(r"\s+", " ", shown)
    left_out.ilax("mapping", "del", moved)
    said("After a task has moved", "drop_unknown_identifier", "--locator NEW")
    said("Only one host does not reach a container", "stale mapping")
    said("A container is not reached from other hosts", "drop_unknown_identifier")


def test_a_locator_that_up_was_not_given(lab: Lab, host: Host) -> None:
    foreign = IPv6Address(int(lab.plan.block.network_address) + (99 << 64) + (0x3000 << 48) + 5)
    lab.router.ip("-6", "route", "add", f"{foreign}/128", "via", "fe80::1", "dev", host.router_port)
    try:
        with counting(host.ilax) as found:
            probes.ping(lab.router, str(foreign), wait=0.5)
    finally:
        lab.router.ip("-6", "route", "del", f"{foreign}/128")
    assert "pass_not_ours" in found
    assert str(host.locator) in host.ilax("status")
    said("A container is not reached from other hosts", "pass_not_ours", "`ilax status`")


# --- the host itself ------------------------------------------------------------------


def test_a_host_without_an_address_of_its_own(lab: Lab, host: Host) -> None:
    far = lab.containers[2]
    before = far.host.ilax.count("drop_locator_refused")
    assert not probes.ping(host.ns, far.address, wait=0.5)
    assert far.host.ilax.count("drop_locator_refused") > before
    assert "host" not in {one["delivery"] for one in host.ilax.json("endpoint", "list")}
    host.ilax("endpoint", "add", HOST_SIR, "--host")
    # As long as nobody else knows of it:
    assert not probes.ping(host.ns, far.address, wait=0.5)
    assert findings(host.ilax) == set()
    assert "drop_no_mapping" in outcome(far.host.ilax, far.address, HOST_SIR)
    far.host.ilax("mapping", "add", HOST_SIR, "--locator", host.locator)
    probes.must_ping(host.ns, far.address)
    _the_network_is_restarted(lab, host)
    far.host.ilax("mapping", "del", HOST_SIR)
    host.ilax("endpoint", "del", HOST_SIR)
    said(
        "The host's own processes do not reach tasks",
        "drop_locator_refused", "`ilax endpoint add SIR --host`", "drop_no_mapping",
    )  # fmt: skip


def _the_network_is_restarted(lab: Lab, host: Host) -> None:
    """Down and up; what a network manager puts back is there again."""
    plan, task, far = lab.plan, host.containers[0], lab.containers[2]
    host.ns.ip("link", "set", UPLINK, "down")
    host.ns.ip("link", "set", UPLINK, "up")
    address = f"{plan.link_local(host.number)}/64"
    host.ns.ip("address", "replace", address, "dev", UPLINK, "nodad")
    way = ("via", str(plan.router_link_local), "dev", UPLINK)
    host.ns.ip("-6", "route", "replace", str(plan.block), *way)
    until(lambda: probes.ping(task.ns, far.address), "tasks reach each other")
    assert not probes.ping(host.ns, far.address, wait=0.5)
    # A default route out of the uplink does as well.
    host.ns.ip("-6", "route", "replace", "default", *way)
    probes.must_ping(host.ns, far.address)
    host.ns.ip("-6", "route", "del", str(plan.block))
    assert {"route.sir-missing", "route.sir-neighbour"} <= findings(host.ilax)
    host.ilax("check", "--fix")
    probes.must_ping(host.ns, far.address)
    for symptom in (
        "The host's own processes do not reach tasks",
        "After a reboot, or a restart of the network",
    ):
        said(symptom, "route.sir-missing", "route.sir-neighbour", "`ilax check --fix`")


# --- large packets, limits --------------------------------------------------------------


def test_an_mtu_that_was_changed(lab: Lab, host: Host) -> None:
    task, far = host.containers[0], lab.containers[2]
    symptom = "Connections hang on large packets, or are slow"
    task.ns.ip("link", "set", "eth0", "mtu", "1300")
    assert "endpoint.inner-mtu" in findings(host.ilax)
    host.ilax("check", "--fix")
    _cable(lab, host, "1400")
    assert not probes.ping(task.ns, far.address, size=1400, wait=0.5)
    probes.must_ping(task.ns, far.address)
    assert "uplink.mtu-small" in findings(host.ilax)
    host.ilax(*operator.up_arguments(lab, host))
    # The sender is told now, and sends what fits.
    until(lambda: probes.ping(task.ns, far.address, size=1400), "packets in pieces")
    _cable(lab, host, str(lab.plan.mtu))
    assert "uplink.mtu" in findings(host.ilax)
    host.ilax(*operator.up_arguments(lab, host))
    said(symptom, "endpoint.inner-mtu", "uplink.mtu-small", "uplink.mtu`", "the same `ilax up`")


def _cable(lab: Lab, host: Host, mtu: str) -> None:
    host.ns.ip("link", "set", UPLINK, "mtu", mtu)
    lab.router.ip("link", "set", host.router_port, "mtu", mtu)


def test_a_limit_that_an_endpoint_does_not_name(lab: Lab, host: Host) -> None:
    task, far = host.containers[0], lab.containers[2]
    symptom = "Neighbours suffer although there is a limit"
    with own_cgroups(f"{PREFIX}trbl") as made, far.ns.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        group = made.make("web")
        host.ilax("limit", "set", group, "--pps", "10")
        assert re.search(r"^cgroup +None$", host.ilax("endpoint", "show", task.address), re.M)
        assert re.search(
            r"^charged at +the cgroup itself$", host.ilax("limit", "show", group), re.M
        )
        host.ilax("endpoint", "set", task.address, "--cgroup", group)
        assert f"charged at   {task.address}, the cgroup itself" in host.ilax(
            "limit", "show", group
        )
        with sender, counting(host.ilax) as found:
            for _ in range(100):
                sender.sendto(b"x", (task.address, 4242))
        assert "drop_limit" in found
        host.ilax("endpoint", "set", task.address, "--cgroup", "none")
        host.ilax("limit", "del", group)
    said(symptom, "`cgroup` is `None`", "`ilax endpoint set SIR --cgroup PATH`", "`charged at`")
    said("A container is not reached from other hosts", "drop_limit")


# --- commands that refuse -----------------------------------------------------------------


def test_what_commands_say_that_refuse(lab: Lab, host: Host) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    stranger = Ilax(lab.hosts[1].ns, host.ilax.instance)
    task = host.containers[0]
    for refused, message, code in (
        (Ilax(host.ns, "default").try_("status"), "instance default is not up", 3),
        (stranger.try_("endpoint", "del", task.address), "serves another network namespace", 4),
        (
            Ilax(host.ns, host.ilax.instance, nobody).try_("status"),
            "pins are readable by their owner only",
            5,
        ),
    ):
        assert message in refused.stderr
        assert refused.returncode == code
        said("A command refuses", message)
    with host.ilax.monitoring():
        refused = host.ilax.try_("monitor")
    assert "another `ilax monitor` reads the events" in refused.stderr
    said("A command refuses", "another `ilax monitor` reads the events")
