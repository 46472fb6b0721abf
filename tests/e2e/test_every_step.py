# SPDX-License-Identifier: Apache-2.0
"""Commands are killed at their steps; `check --fix` comes to a good state each time.

A step is a call whose effect outlives the process. All of them are tried with
ILAX_STEPS=all (`make test-nightly`), otherwise those at which something was wrong
once, and every n-th of the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ilax.check import KINDS
from lab import objects, operator, probes
from lab.cgroups import Cgroups, own_cgroups
from lab.cleanup import PREFIX
from lab.faults import Step, kill_at, steps
from lab.findings import check, shell
from lab.intruder import Intruder, intruder
from lab.operator import Options
from lab.topology import UPLINK, Container, Host, Lab, Plan
from lab.traces import Traces, network_state
from lab.udp import NumberedStream
from lab.wait import until
from lab.xdp_root import NEIGHBOUR, SLOT, XdpRoot

ALL = os.environ.get("ILAX_STEPS") == "all"
SAMPLE = 3  # between so many parts of each command

SMALL = ("--max-endpoints", "64", "--max-mappings", "1024", "--max-limits", "64")
SECOND_LOCATOR = "2001:db8:42:b1::/64"
SECOND_UPLINK = "up1"
PORTS = {UPLINK: "to-h1", SECOND_UPLINK: "to-h1b"}
FOLDERS = {"maps", "programs", "previous", "links"}
NOT_FOUND, GUARD = 3, 10


@dataclass
class World:
    """One host on which commands are killed, and another one that stays as it is.

    Attributes:
        pristine: the host and its tasks before anything was up.
        traces: all that was ever pinned.
        root: a foreign program that holds the XDP hook of the uplink.
    """

    lab: Lab
    cgroups: Cgroups
    folder: Path
    intruders: list[Intruder] = field(default_factory=list)
    pristine: list[dict[str, Any]] = field(default_factory=list)
    traces: Traces = field(default_factory=Traces)
    root: XdpRoot | None = None

    @property
    def host(self) -> Host:
        return self.lab.hosts[0]

    @property
    def tasks(self) -> list[Container]:
        return self.host.containers

    @property
    def peer(self) -> Container:
        return self.lab.hosts[1].containers[0]

    @property
    def own(self) -> str:
        """A SIR address for the host's own processes."""
        return str(self.lab.plan.sir(77))

    def state(self) -> list[dict[str, Any]]:
        return [network_state(ns) for ns in (self.host.ns, *(task.ns for task in self.tasks))]

    def up(self, *more: object) -> list[object]:
        return [*operator.up_arguments(self.lab, self.host), *SMALL, *more]

    def up_into(self, slot: int = SLOT) -> list[object]:
        """`up` behind the foreign program."""
        assert self.root is not None
        return self.up("--xdp", "auto", "--xdp-chain", f"{self.root.pin}:{slot}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tag = f"{PREFIX}{os.getpid():x}every"
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.make(tag, Plan(hosts=2)))
        cgroups = stack.enter_context(own_cgroups(tag))
        for name in ("one", "two"):
            cgroups.make(name)
        world = World(lab, cgroups, tmp_path_factory.mktemp("every"))
        other = lab.hosts[1]
        other.ilax(*operator.up_arguments(lab, other), *SMALL)
        for task in other.containers:
            other.ilax(*operator.add_arguments(task))
        other.ilax(
            *("mapping", "import", "-", "--format", "csv"),
            text_in=operator.placement(world.tasks),
        )
        other.ilax("mapping", "add", world.own, "--locator", world.host.locator)
        for build in (objects.build_container, objects.build_xdp):
            build(world.folder / "older", objects.DOES_NOTHING_MORE)
        objects.build_container(world.folder / "bad", objects.DROPS)
        lab.cable(world.host, PORTS[SECOND_UPLINK], SECOND_UPLINK)
        # As the lab does for the first locator of a host.
        world.host.ns.ip(
            *("-6", "route", "add", "unreachable", SECOND_LOCATOR, "dev", "lo", "metric", "4096")
        )
        world.pristine = world.state()
        for task in world.tasks:
            foreign, wire = str(lab.plan.sir(99)), other.ilax.wire(world.peer.address)
            world.intruders.append(stack.enter_context(intruder(task, world.peer, foreign, wire)))
        yield world


# --- where commands begin -------------------------------------------------------


def nothing(world: World) -> None:
    """Not up."""
    if world.host.ilax.pins.exists():
        world.host.ilax("down")


def whole(world: World) -> None:
    """Up, with both tasks; in the slot, if the hook is a foreign program's."""
    ilax = world.host.ilax
    ilax(*(world.up() if world.root is None else world.up_into()))
    there = {row["sir"] for row in ilax.json("endpoint", "list")}
    if world.own in there:
        ilax("endpoint", "del", world.own)
    for task in world.tasks:
        if task.address not in there:
            ilax(*operator.add_arguments(task))
    publish(world)


def publish(world: World) -> None:
    placed = operator.placement(world.lab.hosts[1].containers)
    world.host.ilax("mapping", "import", "-", "--format", "csv", text_in=placed)


def with_all(world: World) -> None:
    """Limits and an address of the host, too."""
    whole(world)
    ilax = world.host.ilax
    for name, task in (("one", None), ("two", world.tasks[0])):
        ilax("limit", "set", f"{world.cgroups.name}/{name}", "--rate", "1gbit")
        if task is not None:
            ilax("endpoint", "set", task.address, "--cgroup", f"{world.cgroups.name}/{name}")
    ilax("endpoint", "add", world.own, "--host")


def without_one(world: World) -> None:
    """The first task is not connected; its limit is there."""
    ilax = world.host.ilax
    if not ilax.pins.exists():
        whole(world)
    ilax("limit", "set", f"{world.cgroups.name}/one", "--rate", "1gbit")
    assert ilax.try_("endpoint", "del", world.tasks[0].address).returncode in (0, NOT_FOUND)


def with_one(world: World) -> None:
    without_one(world)
    world.host.ilax(*add_one(world))


def without_own(world: World) -> None:
    if not world.host.ilax.pins.exists():
        whole(world)
    assert world.host.ilax.try_("endpoint", "del", world.own).returncode in (0, NOT_FOUND)


def with_own(world: World) -> None:
    without_own(world)
    world.host.ilax("endpoint", "add", world.own, "--host")


def older(world: World) -> None:
    """Programs of an older version are at work."""
    if not world.host.ilax.pins.exists():
        whole(world)
    world.host.ilax(*UPGRADE, "--objects", world.folder / "older")


def newer(world: World) -> None:
    """The same, and the way back leads to the programs of today."""
    if not world.host.ilax.pins.exists():
        whole(world)
    world.host.ilax(*UPGRADE)
    older(world)


def elsewhere(world: World) -> None:
    """At the other uplink."""
    whole(world)
    world.host.ilax(*to_other_uplink(world))


def outside(world: World) -> None:
    """Programs of an older version are at work, and none of them in a slot."""
    if not world.host.ilax.pins.exists():
        whole(world)
    world.host.ilax(*world.up("--xdp", "off"))
    older(world)


def declared(world: World) -> None:
    """As the first of two files says."""
    world.host.ilax("apply", "--prune", _files(world)[0])


# --- what is killed -------------------------------------------------------------

UPGRADE = ("upgrade", "--before", "0", "--soak", "0")


def bad_upgrade(world: World) -> list[object]:
    return ["upgrade", "--before", "0", "--soak", "60s", "--objects", world.folder / "bad"]


def add_one(world: World) -> list[object]:
    options = Options(delivery="xdp", endpoint_extra=("--cgroup", f"{world.cgroups.name}/one"))
    return operator.add_arguments(world.tasks[0], options)


def to_other_uplink(world: World, *more: object) -> list[object]:
    # The host's own default route stays at the first one.
    gateway = world.lab.plan.router_link_local
    return world.up("--uplink", SECOND_UPLINK, "--gateway", gateway, *more)


def other_prefixes(world: World) -> list[object]:
    host, plan = world.host, world.lab.plan
    return [
        *("up", "--uplink", UPLINK, "--xdp", "native", "--host-address", world.own),
        *("--locator", host.locator, "--locator", SECOND_LOCATOR),
        *("--sir-prefix", plan.sir_prefix, "--sir-prefix", "2001:db8:5a5a:99::/64"),
        *("--block", "2001:db8:42::/52", "--block", "2001:db8:43::/48"),
        *("--gateway", plan.router_link_local),
    ]


def _files(world: World) -> tuple[Path, Path, Path]:
    """Two as `tests/e2e/test_apply.py` has them: all kinds of differences.

    The third one has another locator, which leaves no place for the endpoints of the first.
    """
    lab, host, other = world.lab, world.host, world.lab.hosts[1]
    task, second = world.tasks
    one, two = (f"{world.cgroups.name}/{name}" for name in ("one", "two"))
    (world.folder / "mappings.csv").write_text(operator.placement(lab.containers))

    def text(prefixes: str, up: str, *tables: str) -> str:
        return "\n".join([
            "version = 1", "[up]", f'uplink = "{UPLINK}"',
            f'sir-prefix = ["{lab.plan.sir_prefix}"{prefixes}]', f'locator = "{host.locator}"',
            f'block = "{lab.plan.block}"', 'xdp = "native"', "max-endpoints = 64",
            "max-mappings = 1024", "max-limits = 64", up, *tables,
            '[[mapping]]\nfile = "mappings.csv"',
        ])  # fmt: skip

    def endpoint(task: Container, more: str = "") -> str:
        return f'[[endpoint]]\nsir = "{task.address}"\nnetns = "{task.ns.name}"\n{more}'

    before, after = world.folder / "before.toml", world.folder / "after.toml"
    before.write_text(text(
        "", "", endpoint(task), endpoint(second, f'cgroup = "{two}"'),
        f'[[limit]]\ncgroup = "{two}"\npps = 9000', f'[[limit]]\ncgroup = "{one}"\nrate = "1gbit"',
    ))  # fmt: skip
    after.write_text(text(
        ', "2001:db8:5a5a:99::/64"', f'host-address = "{world.own}"', endpoint(task),
        f'[[endpoint]]\nsir = "{lab.plan.sir(78)}"\nhost = true\ncgroup = "{one}"',
        f'[[mapping]]\nsir = "{lab.plan.sir(79)}"\nlocator = "{other.locator}"',
        f'[[limit]]\ncgroup = "{one}"\nrate = "2gbit"\naction = "count"',
    ))  # fmt: skip
    moved = world.folder / "moved.toml"
    moved.write_text(text("", "").replace(str(host.locator), SECOND_LOCATOR))
    return before, after, moved


@dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
        begin: brings the host to where the command is given, from wherever it is.
        command: its arguments.
        bad: steps at which something was wrong once, as patterns of their text.
        anew: begin from nothing each time, and leave nothing.
        code: with which it ends if it is not killed.
        around: what there is meanwhile.
    """

    begin: Callable[[World], None]
    command: Callable[[World], list[object]]
    bad: tuple[str, ...] = ()
    anew: bool = False
    code: int = 0
    around: Callable[[World], AbstractContextManager[object]] = nullcontext


@contextmanager
def behind(world: World, *, linear: bool = False) -> Iterator[None]:
    """A foreign program holds the hook, and lets others into its array."""
    pristine = world.pristine
    folder = world.folder / ("linear" if linear else "frags")
    with XdpRoot(world.host.ns, UPLINK, folder, linear=linear) as root:
        world.root, world.pristine = root, world.state()
        try:
            yield
        finally:
            nothing(world)
            world.root, world.pristine = None, pristine


@contextmanager
def behind_linear(world: World) -> Iterator[None]:
    with behind(world, linear=True):
        yield


@contextmanager
def traffic(world: World) -> Iterator[None]:
    """Packets that bad programs drop."""
    with NumberedStream(world.tasks[0].ns, world.peer.ns, world.peer.address, rate=1000):
        yield


@contextmanager
def traffic_behind(world: World) -> Iterator[None]:
    with behind_linear(world), traffic(world):
        yield


CASES = {
    # An address that was nobody's, with a `down` behind it.
    "up": Case(
        nothing, lambda w: w.up("--host-address", w.own), (r"netlink message 28\)",), anew=True
    ),
    "up-clsact": Case(nothing, lambda w: w.up("--tc", "clsact", "--xdp", "off"), anew=True),
    # Two tables of prefixes; a folder that nobody found.
    "up-other-prefixes": Case(
        whole, other_prefixes, (r"ilax_config", r"PIN .*programs_new/ilax_uplink_xdp")
    ),
    "up-other-hooks": Case(whole, lambda w: w.up("--tc", "clsact", "--xdp", "off")),
    "up-other-uplink": Case(whole, to_other_uplink),
    "up-other-uplink-clsact": Case(
        whole, lambda w: to_other_uplink(w, "--tc", "clsact", "--xdp", "off")
    ),
    "upgrade": Case(older, lambda _: [*UPGRADE], (r"^rename\(.*previous_old",)),
    # Back again: a guard trips.
    "upgrade-guard": Case(newer, bad_upgrade, code=GUARD, around=traffic),
    "rollback": Case(newer, lambda _: ["rollback"]),
    "apply": Case(declared, lambda w: ["apply", "--prune", _files(w)[1]]),
    # Endpoints outside of the prefixes had two findings, of which one was mended by the other.
    "apply-other-locator": Case(
        declared, lambda w: ["apply", "--prune", _files(w)[2]], (r"ilax_endpoints",)
    ),
    "endpoint-add": Case(without_one, add_one),
    "endpoint-del": Case(with_one, lambda w: ["endpoint", "del", w.tasks[0].address]),
    "host-add": Case(without_own, lambda w: ["endpoint", "add", w.own, "--host"]),
    # Commands of two findings that undid each other.
    "host-del": Case(with_own, lambda w: ["endpoint", "del", w.own], (r"ilax_mappings",)),
    "down": Case(with_all, lambda _: ["down"], anew=True),
    "slot-up": Case(nothing, lambda w: w.up_into(), anew=True, around=behind),
    "slot-into-linear": Case(outside, lambda w: w.up_into(), around=behind_linear),
    "slot-move": Case(whole, lambda w: w.up_into(SLOT + 1), around=behind),
    "slot-leave": Case(whole, lambda w: w.up("--xdp", "off"), around=behind),
    "slot-to-other-uplink": Case(whole, to_other_uplink, around=behind_linear),
    "slot-from-other-uplink": Case(elsewhere, lambda w: w.up_into(), around=behind),
    "slot-upgrade": Case(older, lambda _: [*UPGRADE], around=behind_linear),
    "slot-upgrade-guard": Case(newer, bad_upgrade, code=GUARD, around=traffic_behind),
    "slot-rollback": Case(newer, lambda _: ["rollback"], around=behind),
    "slot-down": Case(with_all, lambda _: ["down"], anew=True, around=behind_linear),
}


def test_what_passes_unchecked_would_be_noticed(world: World) -> None:
    whole(world)
    for pin in (world.host.ilax.pins / "v1/links").glob("port_*"):
        pin.unlink()
    kinds = {"foreign source", "locator"}
    until(lambda: all(kinds <= set(one.arrived) for one in world.intruders), "both kinds")
    assert check(world.host.ilax, "--fix").findings == []
    nothing(world)
    for one in world.intruders:
        one.forget()


@pytest.mark.parametrize("name", CASES)
def test_killed_at_a_step(world: World, name: str) -> None:
    nothing(world)
    with CASES[name].around(world):
        _kill_at_steps(world, name, CASES[name])


def _kill_at_steps(world: World, name: str, case: Case) -> None:
    host = world.host
    for _ in range(1 if case.anew else 2):
        # Only the second time there is a previous set of programs, as there is later.
        case.begin(world)
        found = steps(host.ilax, *case.command(world), code=case.code)
    chosen = found if ALL else _sample(found, case)
    said: dict[str, int] = {}
    problems = []
    for step in chosen:
        try:
            if case.anew:
                nothing(world)
                _is_pristine(world)
            case.begin(world)
            kill_at(host.ilax, step, *case.command(world))
            for kind in _settle(world):
                said[kind] = said.get(kind, 0) + 1
            _works(world)
        except AssertionError as error:
            if not ALL:
                raise
            problems.append(f"{step}: {error}")
        if ALL:
            print(f"{name} {step}: {'bad' if problems else 'good'}", flush=True)
    print(f"{name}: {len(chosen)} of {len(found)} steps; found and mended: {said}", flush=True)
    nothing(world)
    _is_pristine(world)
    assert problems == []


def _sample(found: list[Step], case: Case) -> list[Step]:
    bad = [step for step in found if any(re.search(one, step.text) for one in case.bad)]
    spread = {found[len(found) * part // SAMPLE] for part in range(1, SAMPLE)}
    return sorted({*bad, *spread}, key=lambda step: step.number)


def _settle(world: World) -> list[str]:
    """`check --fix`, and exactly the commands that it names for the rest."""
    ilax, ns = world.host.ilax, world.host.ns
    # Out of the slot, the foreign program's place is nothing to mend.
    accepted = () if world.root is None else ("--ignore", "hook.xdp-foreign")
    first = check(ilax, "--fix", *accepted)
    assert "check.failed" not in first.ids, first.findings
    for command in dict.fromkeys(found["command"] for found in first.findings):
        if first.ids == {"instance.not-up"}:
            break
        assert "..." not in command, first.findings
        shell(ns, command)
    last = check(ilax, *accepted)
    assert last.ids in (set(), {"instance.not-up"}), (first, last)
    assert all(found["id"] in KINDS for found in first.mended)
    return [*(found["id"] for found in first.mended), *(f"said {one}" for one in first.ids)]


def _works(world: World) -> None:
    """All is whole, or nothing is there; and nothing passes that should not."""
    assert all(one.arrived == [] for one in world.intruders), world.intruders
    host = world.host
    if not host.ilax.pins.exists():
        _is_pristine(world)
        return
    world.traces.tag = host.ilax.instance
    world.traces.add(host.ilax.pins)
    _in_its_slot(world)
    ports = {host.ns.ifindex(name): port for name, port in PORTS.items()}
    world.lab.lead_to(host, ports[host.ilax.json("status")["uplink_ifindex"]])
    assert not list((host.ilax.pins / "v1").glob("*/*_new"))
    publish(world)
    there = {row["sir"] for row in host.ilax.json("endpoint", "list")}
    pairs = [(task.ns, world.peer.address) for task in world.tasks if task.address in there]
    pairs += [(world.peer.ns, address) for address in there - {str(world.lab.plan.sir(78))}]
    assert all(probes.ping_pairs(pairs)), pairs
    devices = {row["ifname"] for row in host.ns.ip_json("link")} - {"lo", *PORTS}
    assert len(devices) == len({task.address for task in world.tasks} & there)


def _in_its_slot(world: World) -> None:
    """Our program is in one slot at most, and only then there is a trace of it."""
    folder = world.host.ilax.pins / "v1"
    expected = set(FOLDERS)
    if world.root is not None:
        slots = world.root.slots()
        assert slots.pop(NEIGHBOUR) == world.root.neighbour.id
        ours = {number: at for at, number in enumerate(slots, NEIGHBOUR + 1) if number}
        assert len(ours) <= 1
        for number, at in ours.items():
            expected.add("slots")
            pins = {f"array_{world.root.array.id}_{at}", f"program_{number}"}
            assert {pin.name for pin in (folder / "slots").iterdir()} == pins
    assert {path.name for path in folder.iterdir()} <= expected


def _is_pristine(world: World) -> None:
    if world.root is not None:
        assert world.root.slots() == [world.root.neighbour.id, 0, 0, 0]
    changed = [
        (number, sorted(set(before.get(key, [])) ^ set(after.get(key, []))))
        for number, (before, after) in enumerate(zip(world.pristine, world.state(), strict=True))
        for key in before.keys() | after.keys()
        if before.get(key, []) != after.get(key, [])
    ]
    assert changed == []
    assert world.traces.leftovers() == []
    world.traces = Traces()
