# SPDX-License-Identifier: Apache-2.0
"""What `endpoint del` takes away where devices and rows are not as they were made."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest

from ilax.address import parse
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance

from .conftest import TAG, Lab, ip, sir
from .test_check import check, ids

MODES = ["tcx", "clsact"]


def _up(lab: Lab, tc: str) -> None:
    assert lab.up("--tc", tc).exit_code == 0


def _add(lab: Lab, number: int, namespace: str) -> str:
    """A container; its device on the host."""
    done = lab.ilax("--json", "endpoint", "add", sir(number), "--netns", namespace)
    assert done.exit_code == 0, done.output
    index = json.loads(done.output)["ifindex"]
    return next(name for name, number in _links(lab).items() if number == index)


def _links(lab: Lab) -> dict[str, int]:
    told = subprocess.run(
        ["ip", "-n", lab.namespace, "-json", "link"], check=True, capture_output=True, text=True
    )
    return {row["ifname"]: row["ifindex"] for row in json.loads(told.stdout)}


def _say_ifindex(lab: Lab, number: int, ifindex: int) -> None:
    """As no loader would."""
    with Instance.open(lab.instance) as opened:
        endpoint = endpoints.find(opened, parse(sir(number)))
        endpoints.rewrite(opened, replace(endpoint, ifindex=ifindex))


@pytest.mark.parametrize("tc", MODES)
def test_a_device_of_another_alias_goes_with_its_endpoint(lab: Lab, tc: str) -> None:
    """Left alone, it would be a container without checks."""
    _up(lab, tc)
    device = _add(lab, 5, lab.container)
    ip("-n", lab.namespace, "link", "set", device, "alias", "customer 7")
    (found,) = check(lab)
    assert found["id"] == "endpoint.wrong-device"
    assert lab.ilax("endpoint", "del", sir(5)).exit_code == 0
    assert device not in _links(lab)
    assert check(lab) == []


@pytest.mark.parametrize("tc", MODES)
def test_a_device_of_somebody_else_stays(lab: Lab, tc: str) -> None:
    """It has got the number, and has no program of ours."""
    _up(lab, tc)
    device = _add(lab, 5, lab.container)
    ip("-n", lab.namespace, "link", "del", device)
    ip("-n", lab.namespace, "link", "add", "other0", "type", "veth", "peer", "name", "other1")
    _say_ifindex(lab, 5, _links(lab)["other0"])
    assert lab.ilax("endpoint", "del", sir(5)).exit_code == 0
    assert "other0" in _links(lab)


@pytest.mark.parametrize("tc", MODES)
def test_a_row_with_anothers_number_takes_nothing_of_it(lab: Lab, tc: str) -> None:
    _up(lab, tc)
    ip("netns", "add", f"{TAG}-n1")  # the lab removes it
    device = _add(lab, 5, lab.container)
    stray = _add(lab, 6, f"{TAG}-n1")
    index = _links(lab)[device]
    _say_ifindex(lab, 6, index)
    assert lab.ilax("endpoint", "del", sir(6)).exit_code == 0
    assert device in _links(lab)
    with Instance.open(lab.instance) as opened:
        assert opened.ports.get(index_key(index)) is not None
    # What is left is the other's own device, which no row leads to.
    assert ids(lab) == {"device.orphan"}
    assert lab.ilax("check", "--fix", "--ignore", "sysctl.forwarding").exit_code == 0
    assert stray not in _links(lab)
    assert check(lab) == []


@pytest.mark.parametrize("tc", MODES)
def test_a_row_with_the_uplinks_number_takes_nothing_of_it(lab: Lab, tc: str) -> None:
    _up(lab, tc)
    device = _add(lab, 5, lab.container)
    _say_ifindex(lab, 5, _links(lab)["up0"])
    assert lab.ilax("endpoint", "del", sir(5)).exit_code == 0
    assert {"up0", device} <= set(_links(lab))
    assert ids(lab) == {"device.orphan"}
