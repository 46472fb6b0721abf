# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on hosts while traffic and changes go on. Each one mends what it broke."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ilax import address
from ilax.endpoint import containers
from ilax.instances.instance import Instance
from ilax.system import cgroups
from lab.findings import check
from lab.ilax import environment
from lab.netns import run
from lab.topology import UPLINK, Container, Host, Lab
from soak.churn import Churn

_V1 = Path("/sys/fs/cgroup/memory")
# Python itself needs half of the least one; the maps need more than the largest one.
_PRESSURES_MIB = (80, 100, 120)


@dataclass
class Events:
    """One after the other, by turns.

    Args:
        doomed: a task whose namespace is deleted; it stays on its host.
    """

    lab: Lab
    churn: Churn
    doomed: Container
    turn: int = 0

    def next(self) -> str:
        """Let something happen; returns what."""
        happenings: tuple[Callable[[], None], ...] = (
            self.flap, self.namespace_dies, self.full_maps, self.memory_pressure,
        )  # fmt: skip
        event = happenings[self.turn % len(happenings)]
        event()
        self.turn += 1
        return event.__name__

    def _host(self) -> Host:
        return self.lab.hosts[self.turn // 4 % len(self.lab.hosts)]

    def flap(self) -> None:
        """The uplink goes down, loses its address and its routes, and comes back."""
        host = self._host()
        host.ns.ip("link", "set", UPLINK, "down")
        host.ns.ip("link", "set", UPLINK, "up")
        plan = self.lab.plan
        own, router = str(plan.link_local(host.number)), str(plan.router_link_local)
        # What a host's own network configuration does.
        host.ns.ip("address", "add", f"{own}/64", "dev", UPLINK, "nodad")
        host.ns.ip("-6", "route", "add", "default", "via", router, "dev", UPLINK)
        # Our routes went with the link.
        answer = check(host.ilax, "--fix")
        assert answer.mended, "a flap that `check` does not see"
        self._no_errors(host)

    def namespace_dies(self) -> None:
        """A container dies with its namespace, before anybody told ilax."""
        task = self.doomed
        run("ip", "netns", "del", task.ns.name)
        with task.host.ns.entered(), Instance.open(task.host.ilax.instance) as instance:
            containers.delete(instance, address.parse(task.address))
        task.ns.create()
        self.churn.add(task, task.host)

    def full_maps(self) -> None:
        """No room for more: refused, and those that are there go on."""
        assert self.churn.overfill() == len(self.lab.hosts)

    def memory_pressure(self) -> None:
        """An instance is brought up in a cgroup that has no memory for its maps."""
        limit = _PRESSURES_MIB[self.turn // 4 % len(_PRESSURES_MIB)] << 20
        name = f"{self.lab.tag}-squeezed"
        ilax = (sys.executable, "-m", "ilax", "--instance", name)
        up = (
            "up", "--uplink", "to-h1", "--sir-prefix", "2001:db8:5b5b:1::/64",
            "--locator", "2001:db8:43:1::/64",
        )  # fmt: skip
        with _memory_group(self.lab.tag, limit) as group:
            script = f'echo $$ > {group}/cgroup.procs && exec "$@"'
            done = self.lab.router.run(
                "sh", "-c", script, "sh", *ilax, *up, check=False, env=environment()
            )
        # An error, or the kernel has killed it.
        assert done.returncode not in (0, 1, 2), done
        killed = done.returncode in (-9, 137)
        assert killed or "Traceback" not in done.stderr, done.stderr
        if killed:
            down = (*ilax, "down")
            self.lab.router.run(*down, check=False, env=environment())
        assert not Path("/sys/fs/bpf/ilax", name).exists(), done.stderr

    def _no_errors(self, host: Host) -> None:
        errors = [f for f in check(host.ilax).findings if f["severity"] == "error"]
        assert not errors, errors


@contextlib.contextmanager
def _memory_group(tag: str, limit: int) -> Iterator[Path]:
    """A cgroup that may use so many bytes, by whichever hierarchy has the controller."""
    one = (_V1 / "memory.limit_in_bytes").exists()
    group = (_V1 if one else cgroups.root()) / f"{tag}-squeezed"
    group.mkdir()
    try:
        if not one:
            with contextlib.suppress(OSError):
                (group.parent / "cgroup.subtree_control").write_text("+memory")
        (group / ("memory.limit_in_bytes" if one else "memory.max")).write_text(str(limit))
        yield group
    finally:
        group.rmdir()
