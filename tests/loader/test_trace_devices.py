# SPDX-License-Identifier: Apache-2.0
"""Which interfaces `ilax trace` takes for the uplink, and refusals that need an instance."""

from __future__ import annotations

import socket

import pytest

from ilax.errors import NotFoundError
from ilax.system.netlink import Network
from ilax.trace import needs
from ilax.trace.devices import below

from .conftest import UPLINK, Lab, ip, sir


def names(device: str) -> list[str]:
    with Network() as network:
        return [socket.if_indextoname(n) for n in below(network, socket.if_nametoindex(device))]


def test_what_is_below_an_uplink_is_timed_as_well(lab: Lab) -> None:
    """Drivers know nothing of the bridge or virtual LAN above a card."""
    assert names(UPLINK) == [UPLINK]
    inside = ("-n", lab.namespace, "link")
    # By its link it is above the card as a VLAN device is, which not every kernel has.
    ip(*inside, "add", "link", UPLINK, "name", "second", "type", "macvlan", "mode", "bridge")
    assert names("second") == ["second", UPLINK]
    ip(*inside, "del", "second")
    ip(*inside, "add", "above", "type", "bridge")
    ip(*inside, "set", UPLINK, "master", "above")
    assert names("above") == ["above", UPLINK]
    # The other end of a veth is not below it.
    assert names(UPLINK) == [UPLINK]


def test_an_endpoint_that_is_not_there_is_refused(
    running: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "look", list)  # this is about what comes behind it
    for arguments in (("--endpoint", sir(9)), ("--device", "iltask77")):
        result = running.ilax("trace", *arguments)
        assert isinstance(result.exception, NotFoundError)
        assert "nothing was attached" in str(result.exception)
