# SPDX-License-Identifier: Apache-2.0
"""The example in the place of the ingress program of a running instance, and back."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import build_objects
from ilax.bpf import Link, Program
from ilax.contract import schema
from ilax.instances.instance import Instance
from lab.cleanup import owned
from lab.ilax import Ilax, environment
from lab.netns import Namespace
from lab.wait import until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dscp_gate"
TAG = "ilxgate"
SIR = "2001:db8:5a5a:1:2000:7:a1b2:c3d4"
WIRE = "2001:db8:42:7:3000:7:a1b2:de7"
UP = ("up", "--uplink", "uplink", "--locator", "2001:db8:42:7::/64",
      "--sir-prefix", "2001:db8:5a5a:1::/64", "--host-address", SIR, "--xdp", "native")  # fmt: skip
PORT = 4789
BEST_EFFORT, EXPEDITED = 0, 46

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """A host and its peer on one link; the peer routes the host's locator to it."""
    with owned(TAG):
        host, peer = Namespace(f"{TAG}-host"), Namespace(f"{TAG}-peer")
        host.create()
        peer.create()
        host.ip(
            "link", "add", "uplink", "address", "02:00:00:00:00:01", "type", "veth",
            "peer", "name", "uplink", "netns", peer.name,
        )  # fmt: skip
        for number, ns in enumerate((host, peer), 1):
            ns.ip("link", "set", "uplink", "up")
            ns.ip("addr", "add", f"2001:db8:1::{number}/64", "dev", "uplink", "nodad")
        peer.ip("neigh", "replace", "2001:db8:1::1", "lladdr", "02:00:00:00:00:01", "dev", "uplink")
        peer.ip("route", "add", "2001:db8:42:7::/64", "via", "2001:db8:1::1")
        yield host, peer


def program_in(instance: str) -> str:
    """Name of the program in the pinned XDP link."""
    with Instance.open(instance) as opened:
        with Link.open_pinned(opened.pins.links / "xdp_ingress") as link:
            number = link.info().program_id
        with Program.by_id(number) as program:
            return program.name


def dropped_by_the_gate(instance: str) -> int:
    reasons = schema.enum("ilax_reason")
    row = schema.enum("ilax_hook")["ILAX_HOOK_USER"] * reasons["ILAX_REASON_COUNT"]
    row += reasons["ILAX_DROP_USER"]
    with Instance.open(instance) as opened:
        raw = opened.counters.map.lookup(row.to_bytes(4, "little")) or b""
    return int(np.frombuffer(raw, schema.dtype("ilax_counter"))["packets"].sum())


def test_gate_replaces_ingress_until_the_next_up(
    hosts: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, peer = hosts
    (compiled,) = build_objects.build([EXAMPLE / "gate_xdp.bpf.c"], tmp_path)
    ilax = Ilax(host, f"{TAG}-host")
    ilax(*UP)
    original = program_in(ilax.instance)
    with host.entered():
        receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with peer.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def send(dscp: int, payload: bytes) -> None:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        sender.sendto(payload, (WIRE, PORT))

    with receiver, sender:
        receiver.bind((SIR, PORT))
        receiver.settimeout(10)
        send(EXPEDITED, b"before")
        assert receiver.recv(100) == b"before"

        attach = [sys.executable, str(EXAMPLE / "attach.py"), str(compiled)]
        arguments = ["--instance", ilax.instance, "--refuse", str(EXPEDITED)]
        said = host.run(*attach, *arguments, env=environment()).stdout
        own_pins = Path(said.partition(": ")[2].strip())
        try:
            assert program_in(ilax.instance) == "dscp_gate_xdp"
            send(EXPEDITED, b"refused")
            until(lambda: dropped_by_the_gate(ilax.instance) == 1, "the drop to be counted")
            send(BEST_EFFORT, b"beside")
            assert receiver.recv(100) == b"beside"

            ilax(*UP)
            assert program_in(ilax.instance) == original
            send(EXPEDITED, b"after")
            assert receiver.recv(100) == b"after"
        finally:
            for pin in own_pins.iterdir():
                pin.unlink()
            own_pins.rmdir()
            own_pins.parent.rmdir()
    ilax("down")
