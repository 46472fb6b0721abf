# SPDX-License-Identifier: Apache-2.0
"""What an instance holds in the kernel, to see afterwards that it is gone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ilax.bpf import Link, Map, Program
from lab.netns import FOLDER, Namespace, run
from lab.topology import Lab
from lab.wait import until


@dataclass
class Traces:
    """Numbers of programs, maps and links, and names of pins and namespaces."""

    tag: str = ""
    objects: dict[str, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, lab: Lab) -> Traces:
        """Everything that the instances of a lab have pinned."""
        traces = cls(lab.tag)
        for host in lab.hosts:
            traces.add(host.ilax.pins)
        return traces

    @classmethod
    def of_pins(cls, pins: Path) -> Traces:
        """Everything that one instance has pinned."""
        traces = cls(pins.name)
        traces.add(pins)
        return traces

    def add(self, pins: Path) -> None:
        """Remember what is pinned below a folder."""
        for kind in ("map", "prog", "link"):
            self.objects.setdefault(kind, set())
        for path in pins.glob("v*/maps/*"):
            with Map.open_pinned(path) as pinned_map:
                self.objects["map"].add(pinned_map.id)
        for path in (*pins.glob("v*/programs/*"), *pins.glob("v*/previous/*")):
            with Program.open_pinned(path) as program:
                self.objects["prog"].add(program.id)
        for path in pins.glob("v*/links/*"):
            with Link.open_pinned(path) as link:
                self.objects["link"].add(link.info().id)
                # Pinned as well, unless an upgrade has failed.
                self.objects["prog"].add(link.info().program_id)

    def alive(self) -> list[str]:
        """Which of the objects still exist."""
        found = []
        for kind, numbers in self.objects.items():
            now = {int(row["id"]) for row in _bpftool(kind, "show")}
            found += [f"{kind} {number}" for number in sorted(numbers & now)]
        return found

    def leftovers(self) -> list[str]:
        """What remains after a while; the kernel frees programs a little later."""
        try:
            until(lambda: not self._everything(), "end of all objects", timeout=5)
        except TimeoutError:
            return self._everything()
        return []

    def _everything(self) -> list[str]:
        names = FOLDER.glob(f"{self.tag}-*") if FOLDER.is_dir() else []
        pins = Path("/sys/fs/bpf/ilax").glob(f"{self.tag}-*")
        return [*(str(path) for path in (*names, *pins)), *self.alive()]


def network_state(ns: Namespace) -> dict[str, Any]:
    """Interfaces, addresses, routes, neighbours and tc of a namespace, to compare."""

    def rows(*args: str) -> list[str]:
        return sorted(json.dumps(_stable(row), sort_keys=True) for row in ns.ip_json(*args))

    state: dict[str, Any] = {
        "link": rows("-d", "link"),
        "address": rows("-6", "address"),
        "route": rows("-6", "route", "show", "table", "all"),
        "rule": rows("-6", "rule"),
        "neighbour": rows("-6", "neigh", "show", "nud", "permanent"),
    }
    for device in ns.devices():
        state[f"tc {device}"] = run(
            *ns.prefix(), "tc", "qdisc", "show", "dev", device
        ).stdout + "".join(
            run(*ns.prefix(), "tc", "filter", "show", "dev", device, side, check=False).stdout
            for side in ("ingress", "egress")
        )
    return state


# Values that change by themselves.
_VOLATILE = ("expires", "used", "confirmed", "updated", "probes", "stats", "stats64", "cacheinfo")


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _stable(v) for k, v in value.items() if k not in _VOLATILE}
    if isinstance(value, list):
        return [_stable(v) for v in value]
    return value


def _bpftool(*args: str) -> Any:
    return json.loads(run("bpftool", "-j", *args).stdout or "[]")
