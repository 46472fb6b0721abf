# SPDX-License-Identifier: Apache-2.0
"""Containers that share a host's receiving core, and a client on another host.

    client -- host 2 -- router (generator) -- uplink, host 1 -+- victim
                                                              +- flooded containers

One core of host 1 receives everything and runs the servers; the client has another
one. How the receiving core gets what others send: by interrupt, or by a thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from ipaddress import IPv6Address
from pathlib import Path
from typing import Self

from ilax_perf import programs
from ilax_perf.plain import route_plainly
from ilax_perf.programs import Place
from ilax_perf.sites import REMOTE_SENDER
from lab.capture import mac_of
from lab.cgroups import own_cgroups
from lab.netns import Namespace, run
from lab.operator import Options, add_arguments, up_arguments
from lab.packets import udp_frame
from lab.topology import UPLINK, Container, Host, Lab, Plan

SERVER_PORT = 7000
# Where floods go.
SINK_PORT = 4242

_HEADERS = 62

# Real-time priority of the thread that receives.
_RECEIVER = 1


class Neighbours:
    """Two hosts. Use `Neighbours.make()`, then one of `connect_*`.

    Attributes:
        lab: the namespaces.
        flooded: containers of the first host, but for the victim.
    """

    def __init__(self, lab: Lab, cpu: int, stack: ExitStack) -> None:
        self.lab = lab
        self.host, self.far = lab.hosts
        self.victim, *self.flooded = self.host.containers
        self.client = self.far.containers[0]
        self._cpu = cpu
        self._stack = stack
        self._ilax = False

    @classmethod
    @contextlib.contextmanager
    def make(cls, tag: str, cpu: int, flooded: int = 1) -> Iterator[Self]:
        """Namespaces, connected; gone when the context ends.

        Args:
            tag: of the lab.
            cpu: the receiving core.
            flooded: containers besides the victim.
        """
        plan = Plan(hosts=2, containers=1 + flooded)
        with Lab.make(tag, plan) as lab, ExitStack() as stack:
            self = cls(lab, cpu, stack)
            # A veth takes the generator's frames only while it has GRO or XDP, and
            # its other end learns that when GRO changes while the device is up.
            for state in ("off", "on"):
                self.host.ns.run("ethtool", "-K", UPLINK, "gro", state)
            yield self

    def receive_by_interrupt(self) -> None:
        """The router hands what host 2 sends to the receiving core, as a card does."""
        self._interrupt(self.far.router_port, self._cpu)

    def _receive_by_thread(self) -> None:
        """A kernel thread on the receiving core empties the uplink (threaded NAPI).

        So whoever sends from wherever finds the 256 places of a veth as the ring of a
        card: what finds them taken is lost. The thread goes before all processes but
        the servers, as an interrupt does. Answers are received on the other core.
        """
        before = _napi_threads()
        _write(self.host.ns, f"/sys/class/net/{UPLINK}/threaded", "1")
        (thread,) = _napi_threads() - before
        os.sched_setaffinity(thread, {self._cpu})
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(_RECEIVER))
        # A veth that leaves segments to its other end gives single packets to the
        # stack of its own core, past the ring, unless that end has an XDP program.
        self.lab.router.run("ethtool", "-K", self.host.router_port, "tso", "off")
        self._interrupt(self.host.router_port, self.other_cpu)
        # Waking a core that sleeps takes longer than the way of a packet.
        self._stack.enter_context(programs.awake(Place(self.host.ns, self._cpu)))

    def _interrupt(self, device: str, cpu: int) -> None:
        path = f"/sys/class/net/{device}/queues/rx-0/rps_cpus"
        _write(self.lab.router, path, f"{1 << cpu:x}")

    def connect_plainly(self) -> None:
        """Connect all by ordinary routes."""
        for container in (self.victim, self.client, *self.flooded):
            route_plainly(self.lab, container)

    def connect(self, xdp: str, cgroups: Sequence[Path | None]) -> None:
        """Connect all by ilax.

        Args:
            xdp: "native" or "off", for the first host.
            cgroups: of the flooded containers' endpoints, or None.
        """
        self._ilax = True
        host, far = self.host, self.far
        host.ilax(*up_arguments(self.lab, host, Options(xdp=xdp)))
        far.ilax(*up_arguments(self.lab, far, Options(xdp="off")))
        for container, folder in zip(self.flooded, cgroups, strict=True):
            extra = ("--cgroup", str(folder)) if folder else ()
            host.ilax(*add_arguments(container, Options(endpoint_extra=extra)))
        host.ilax(*add_arguments(self.victim))
        far.ilax(*add_arguments(self.client))
        host.ilax("mapping", "add", self.client.address, "--locator", far.locator)
        for container in (self.victim, *self.flooded):
            far.ilax("mapping", "add", container.address, "--locator", host.locator)

    def cgroup(self, name: str) -> Path:
        """A new cgroup, as long as this lasts."""
        return self._stack.enter_context(own_cgroups(f"{self.lab.tag}-{name}")).top

    def serve(self) -> None:
        """The victim answers requests by UDP and TCP, as long as this lasts.

        What changes the uplink's queues has to be done before.
        """
        for kind in ("udp", "tcp"):
            place = Place(self.victim.ns, self._cpu, real_time=_RECEIVER + 1)
            self._stack.enter_context(programs.server(place, kind, SERVER_PORT))
        self._receive_by_thread()

    def read(self, container: Container, folder: Path | None = None) -> None:
        """A flooded container reads what arrives, as long as this lasts."""
        place = Place(container.ns, self._cpu, cgroup=folder)
        self._stack.enter_context(programs.sink(place, SINK_PORT))

    def asking(
        self, kind: str, seconds: float, rate: int
    ) -> AbstractContextManager[Callable[[], programs.Answers]]:
        """A client of the victim, as `programs.client` has it, on the other core."""
        place = Place(self.client.ns, self.other_cpu, real_time=1)
        address = self.victim.address
        questions = programs.Questions(kind, address, SERVER_PORT, seconds, rate, sleeps=True)
        return programs.client(place, questions)

    @property
    def other_cpu(self) -> int:
        """The core of what is not on the receiving one."""
        return 0 if self._cpu else 1

    def generator(self, *, waits: bool) -> Place:
        """Where the flood comes from.

        Args:
            waits: from the receiving core, whenever that has time, so that nothing
                is lost; else from the other one, whatever becomes of it.
        """
        if waits:
            return Place(self.lab.router, self._cpu, patient=True)
        return Place(self.lab.router, self.other_cpu, nice=programs.URGENT)

    @property
    def device(self) -> str:
        """Out of which the generator sends."""
        return self.host.router_port

    def frame_to(self, container: Container, length: int = 64) -> bytes:
        """A frame of the flood, as it comes from the wire."""
        return frame_to(self.lab, self.host, self.wire(container), length)

    def wire(self, container: Container) -> IPv6Address:
        """Destination on the wire of what is for a container of the first host."""
        if not self._ilax:
            return container.sir
        return IPv6Address(self.host.ilax.wire(container.address))


def _napi_threads() -> set[int]:
    """Kernel threads that receive for a device, of all namespaces."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().startswith("napi/"):
                found.add(int(path.parent.name))
    return found


def _write(ns: Namespace, path: str, text: str) -> None:
    # `ip netns exec` and not nsenter: it shows the namespace's own /sys.
    run("ip", "netns", "exec", ns.name, "sh", "-c", f"echo {text} >{path}")


def frame_to(lab: Lab, host: Host, destination: IPv6Address, length: int) -> bytes:
    """A UDP frame of so many bytes from the router to a host's uplink."""
    macs = (mac_of(lab.router, host.router_port), mac_of(host.ns, UPLINK))
    payload = bytes(length - _HEADERS)
    return udp_frame(macs, (REMOTE_SENDER, destination), payload, ports=(SINK_PORT, SINK_PORT))
