# SPDX-License-Identifier: Apache-2.0
"""apply.*: seconds of `ilax plan`, `apply` and `export` of a file with many of a thing.

Each is one command, from the start of its process to the end. The endpoints are empty
network namespaces, each with a cgroup and a limit of its own. What they need of devices,
addresses, routes and neighbours is also made and removed by iproute2, as the least that
the kernel takes for it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from ilax import address_bulk
from ilax.endpoint.containers import GATEWAY
from ilax_perf.bulk import addresses, as_csv
from ilax_perf.commands import time_command
from ilax_perf.rows import SECONDS, Rows
from ilax_perf.sampling import Median, Settings
from lab.cgroups import own_cgroups
from lab.netns import run
from lab.topology import UPLINK, Host, Lab, Plan

_TAG = "ilxperfa"
SIZES = {"64": 64, "1k": 1000}
# A matter of minutes; it hardly differs from run to run.
LONG = "1k"
_LONG_RUNS = 3
_MAPPINGS, _MANY = 100_000, "100k"

# In the order of a turn.
_OF_MAPPINGS = ("load", "plan", "plan_inline", "export")
_OF_ENDPOINTS = ("by_hand", "add", "plan", "export", "prune", "by_hand_del")
_BASES = {"add": "by_hand", "prune": "by_hand_del"}

Samples = dict[str, list[float]]


def row_names(*, full: bool) -> list[str]:
    """All rows of this module."""
    sizes = [size for size in SIZES if full or size != LONG]
    names = [f"apply.mappings_{step}_{_MANY}" for step in _OF_MAPPINGS]
    return names + [_endpoints_row(step, size) for size in sizes for step in _OF_ENDPOINTS]


def _endpoints_row(step: str, size: str) -> str:
    return f"apply.endpoints_{step}_{size}"


def measure(rows: Rows, settings: Settings) -> None:
    """Run the commands of each kind of file in turn."""
    wanted = {name for name in row_names(full=settings.full) if settings.wanted(name)}
    mappings = {step: f"apply.mappings_{step}_{_MANY}" for step in _OF_MAPPINGS}
    if wanted & set(mappings.values()):
        settings.progress("apply.mappings_*")
        with _host() as site:
            turns = [site.mappings() for _ in range(settings.runs)]
        _add(rows, turns, {s: name for s, name in mappings.items() if name in wanted})
    for size, count in SIZES.items():
        names = {step: _endpoints_row(step, size) for step in _OF_ENDPOINTS}
        if not wanted & set(names.values()):
            continue
        settings.progress(f"apply.endpoints_*_{size}")
        runs = min(settings.runs, _LONG_RUNS) if size == LONG else settings.runs
        with _host() as site, site.tasks(count):
            turns = [site.endpoints() for _ in range(runs)]
        # What others are compared with is there as well.
        asked = {s for s, name in names.items() if name in wanted}
        asked |= {_BASES[step] for step in asked & set(_BASES)}
        _add(rows, turns, {s: name for s, name in names.items() if s in asked})


def _add(rows: Rows, turns: Sequence[Mapping[str, float]], names: Mapping[str, str]) -> None:
    # Bases first.
    for step, name in sorted(names.items(), key=lambda item: item[0] in _BASES):
        samples = Median(turn[step] for turn in turns)
        rows.add(name, samples, SECONDS, names.get(_BASES.get(step, "")))


@contextmanager
def _host() -> Iterator[_Site]:
    with (
        Lab.make(_TAG, Plan(hosts=1, containers=0)) as lab,
        own_cgroups(_TAG) as cgroups,
        tempfile.TemporaryDirectory() as folder,
    ):
        site = _Site(lab, lab.hosts[0], Path(folder), cgroups.make)
        (site.folder / "empty.toml").write_text(site.head)
        site.ilax("apply", "empty.toml")  # up takes its time once
        yield site


@dataclass
class _Site:
    """A host without tasks, and a folder for its files.

    Attributes:
        make: makes a cgroup and says its name.
        names: network namespaces of its tasks.
    """

    lab: Lab
    host: Host
    folder: Path
    make: Callable[[str], str]
    names: Sequence[str] = ()

    @property
    def head(self) -> str:
        """What every file begins with."""
        plan = self.lab.plan
        return (
            f'version = 1\n[up]\nuplink = "{UPLINK}"\nsir-prefix = "{plan.sir_prefix}"\n'
            f'locator = "{self.host.locator}"\nblock = "{plan.block}"\nxdp = "off"\n'
        )

    def ilax(self, command: str, *words: str) -> float:
        """Seconds of a command, of which the last word may be a file of the folder."""
        files = [str(self.folder / word) if "." in word else word for word in words]
        line = [sys.executable, "-m", "ilax", "--instance", self.host.ilax.instance]
        with self.host.ns.entered():
            return time_command([*line, command, *files])

    # --- mappings ----------------------------------------------------------------

    def mappings(self) -> dict[str, float]:
        """Seconds of each step; there are no mappings before and after."""
        prefix = int(self.lab.plan.sir_prefix.network_address) >> 64
        sir, elsewhere = addresses(prefix, _MAPPINGS), self.lab.plan.locator(2)
        (self.folder / "rows.csv").write_text(as_csv(sir, elsewhere))
        (self.folder / "file.toml").write_text(f'{self.head}[[mapping]]\nfile = "rows.csv"\n')
        inline = (
            f'[[mapping]]\nsir = "{text}"\nlocator = "{elsewhere}"\n'
            for text in address_bulk.format_texts(sir)
        )
        (self.folder / "inline.toml").write_text(self.head + "".join(inline))
        took = {
            "load": self.ilax("apply", "--show", "0", "file.toml"),
            "plan": self._nothing_to_do("file.toml"),
            "plan_inline": self._nothing_to_do("inline.toml"),
            "export": self.ilax("export", "--mappings", "export.csv"),
        }
        self.ilax("apply", "--prune", "--show", "0", "empty.toml")
        return took

    def _nothing_to_do(self, file: str) -> float:
        """Seconds of a plan that finds that; else its exit code is an error."""
        return self.ilax("plan", "--prune", "--exit-code", file)

    # --- endpoints ---------------------------------------------------------------

    @contextmanager
    def tasks(self, count: int) -> Iterator[None]:
        """So many network namespaces and cgroups."""
        # The lab removes what begins with its tag.
        self.names = [f"{self.lab.tag}-n{number}" for number in range(count)]
        _batch([], (f"netns add {name}" for name in self.names))
        tables = []
        for number, name in enumerate(self.names):
            cgroup = self.make(name)
            tables += [
                f'[[endpoint]]\nsir = "{self.lab.plan.sir(1 + number)}"\nnetns = "{name}"\n'
                f'cgroup = "{cgroup}"\n[[limit]]\ncgroup = "{cgroup}"\nrate = "100mbit"\n'
            ]
        (self.folder / "tasks.toml").write_text(self.head + "".join(tables))
        yield

    def endpoints(self) -> dict[str, float]:
        """Seconds of each step; there are no endpoints and limits before and after."""
        start = time.perf_counter()
        self._by_hand()
        made = time.perf_counter()
        _batch(self._host_side, (f"link del {name}" for name in map(_device, self.names)))
        removed = time.perf_counter()
        return {
            "by_hand": made - start,
            "by_hand_del": removed - made,
            "add": self.ilax("apply", "tasks.toml"),
            "plan": self._nothing_to_do("tasks.toml"),
            "export": self.ilax("export"),
            "prune": self.ilax("apply", "--prune", "empty.toml"),
        }

    @property
    def _host_side(self) -> list[str]:
        return ["-n", self.host.ns.name]

    def _by_hand(self) -> None:
        """By iproute2 what `endpoint add` makes, but programs and rows."""
        tasks = {name: self.lab.plan.sir(1 + number) for number, name in enumerate(self.names)}
        _batch(
            self._host_side,
            (f"link add {_device(n)} type veth peer name eth0 netns {n}" for n in self.names),
        )
        for name, sir in tasks.items():
            _batch(["-n", name], _inside(sir))
        _batch(self._host_side, (line for n, sir in tasks.items() for line in _outside(n, sir)))


def _device(name: str) -> str:
    return name.replace(_TAG, "hand")


def _inside(sir: IPv6Address) -> list[str]:
    return [
        "link set lo up",
        f"address add {sir}/128 dev eth0 nodad",
        "link set eth0 up",
        f"neigh add {GATEWAY} lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
        f"route add ::/0 via {GATEWAY} dev eth0",
    ]


def _outside(name: str, sir: IPv6Address) -> list[str]:
    device = _device(name)
    return [
        f"link set {device} alias {name}",
        f"link set {device} up",
        f"address add {GATEWAY}/64 dev {device} nodad",
        f"neigh add {sir} lladdr 02:00:00:00:00:02 dev {device} nud permanent",
        f"route add {sir}/128 dev {device}",
    ]


def _batch(options: Sequence[str], lines: Iterator[str] | Sequence[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    run("ip", "-6", *options, "-batch", "-", text_in=text, timeout=600)
