# SPDX-License-Identifier: Apache-2.0
"""`apply --prune` with other prefixes: endpoints go with them, or nothing does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from ilax.bpf import Link, Object
from ilax.bpf.link import XDP_NATIVE
from ilax.endpoint import containers
from ilax.system.netlink import Network, interface_names
from lab import foreign
from lab.netns import run

from .conftest import BLOCK, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, TAG, UPLINK, Lab, ip, sir
from .declared_host import UP, Host, task
from .test_check import check

CONFLICT, SYSTEM = 4, 7
DIED = 42
OTHER_SIR = "2001:db8:5a5a:2::/64"
# Nothing of the uplink is different but the prefix.
MOVED = UP.replace(SIR_PREFIX, OTHER_SIR)


@pytest.fixture
def host(lab: Lab, tmp_path: Path) -> Host:
    return Host.with_tasks(lab, tmp_path, 1)


class Hindrance(Protocol):
    """Makes `up` impossible for a while; tells what the file asks for besides."""

    def __call__(self, host: Host, folder: Path) -> AbstractContextManager[str]: ...


@contextlib.contextmanager
def _uplink_down(host: Host, folder: Path) -> Iterator[str]:
    ip("link", "set", UPLINK, "down")
    yield ""
    ip("link", "set", UPLINK, "up")


@contextlib.contextmanager
def _foreign_xdp(host: Host, folder: Path) -> Iterator[str]:
    with Object.open(foreign.build(folder)) as built, Network() as network:
        built.load()
        with built.programs["foreign_xdp"].open() as program:
            link = Link.xdp(program, network.interface(UPLINK).index, XDP_NATIVE)
            with link:
                yield 'xdp = "native"\n'


@contextlib.contextmanager
def _foreign_filter(host: Host, folder: Path) -> Iterator[str]:
    run("tc", "qdisc", "add", "dev", UPLINK, "clsact")
    program = ("bpf", "da", "obj", foreign.build(folder), "sec", "tc")
    run("tc", "filter", "add", "dev", UPLINK, "ingress", "prio", "105", *program)
    yield 'tc = "clsact"\n'
    run("tc", "qdisc", "del", "dev", UPLINK, "clsact")


@contextlib.contextmanager
def _prefix_of_another(host: Host, folder: Path) -> Iterator[str]:
    name = f"{host.lab.instance}-b"
    other = Lab(name, host.lab.namespace, host.lab.container)
    done = other.ilax(
        "up", "--uplink", UPLINK, "--sir-prefix", OTHER_SIR, "--locator", OTHER_LOCATOR,
        "--block", BLOCK, "--max-endpoints", "64", "--max-mappings", "1024",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    yield ""
    assert other.ilax("down").exit_code == 0


@pytest.mark.parametrize(
    "hindered", [_uplink_down, _foreign_xdp, _foreign_filter, _prefix_of_another]
)
def test_what_up_would_refuse_disconnects_nobody(
    host: Host, tmp_path: Path, hindered: Hindrance
) -> None:
    host.write(task(1))
    host.apply()
    before = host.endpoint(1)
    with hindered(host, tmp_path) as more:
        host.write(up=f"{MOVED}{more}")
        assert host.plan("--prune", code=CONFLICT)["blocked"]
        assert host.lab.ilax("apply", "--prune", str(host.file)).exit_code == CONFLICT
    assert host.endpoint(1) == before
    assert before.ifindex in interface_names()
    host.write(up=MOVED)
    host.apply("--prune")
    assert before.ifindex not in interface_names()


def test_what_only_the_kernel_knows_disconnects_nobody(host: Host) -> None:
    """A device without native XDP shows that only when a program is to be attached."""
    host.write(task(1))
    host.apply()
    before = host.endpoint(1)
    ip("link", "add", "other", "type", "bridge")
    ip("link", "set", "other", "up")
    host.write(up=MOVED.replace(UPLINK, "other") + 'xdp = "native"\n')
    assert host.lab.ilax("apply", "--prune", str(host.file)).exit_code == SYSTEM
    assert host.endpoint(1) == before
    assert before.ifindex in interface_names()


@pytest.mark.parametrize("again", [True, False], ids=["apply", "check"])
def test_a_run_that_is_killed_between_prefixes_and_endpoints(
    host: Host, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    host.write(task(1))
    host.apply()
    before = host.endpoint(1)
    host.write(up=MOVED)
    monkeypatch.setattr(containers, "take_away", lambda *_: os._exit(DIED))
    child = os.fork()
    if not child:
        host.lab.ilax("apply", "--prune", str(host.file))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED
    monkeypatch.undo()
    assert host.endpoint(1) == before
    (found,) = check(host.lab, "--fix")
    assert found["id"] == "endpoint.outside"
    if again:
        host.apply("--prune")
    else:
        assert host.lab.ilax(*found["command"].split()[3:]).exit_code == 0
    assert before.ifindex not in interface_names()
    assert host.wire(1) is None
    assert check(host.lab) == []


def test_an_error_after_up_tells_what_is_gone(host: Host) -> None:
    host.write(task(1))
    host.apply()
    elsewhere = task(1).replace(SIR_PREFIX.removesuffix("::/64"), OTHER_SIR.removesuffix("::/64"))
    ip("-n", f"{TAG}-n1", "link", "add", "eth1x", "type", "veth", "peer", "name", "far1")
    host.write(elsewhere.replace('"eth1"', '"eth1x"'), up=MOVED)
    failed = host.lab.ilax("apply", "--prune", str(host.file))
    assert failed.exit_code == CONFLICT
    assert failed.exception is not None
    assert "nothing was changed" not in str(failed.exception)
    notes = "".join(failed.exception.__notes__)
    assert "`up` was done before that, and the endpoints of its old prefixes are gone" in notes


def test_the_hosts_own_address_goes_with_its_locator(host: Host) -> None:
    """Routes name it as their source until then."""
    host.write(up=f'{UP}host-address = "{sir(9)}"\n')
    host.apply()
    host.write(up=UP.replace(LOCATOR, "2001:db8:42:77::/64"))
    host.apply("--prune")
    with Network() as network:
        assert sir(9) not in network.addresses_of(1)


def test_a_plan_of_what_is_not_up_says_that_it_cannot_be(host: Host) -> None:
    host.write(task(1))
    ip("link", "set", UPLINK, "down")
    assert "is down" in host.plan(code=CONFLICT)["blocked"][0]
