# SPDX-License-Identifier: Apache-2.0
"""What all walks do alike: run a command or a packet, and ask the model about it."""

from __future__ import annotations

import copy
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from datapath.world import Result, verdict_code
from lab.cgroups import Cgroups
from loader.conftest import UPLINK, Lab
from model import Frame, Hook, process
from model.control import Control, Setup
from model.datapath import Outcome
from model.limit import Fate
from model.tables import Delivery, Limit, Police
from stateful import compare, shots
from stateful.bench import NOISE, Bench
from stateful.killing import Killer
from stateful.shots import Shot

_SENT = {"tx_packets", "tx_bytes"}
_SAYS = {Fate.PASSED: Police.PASS, Fate.MARKED: Police.MARK, Fate.DROPPED: Police.DROP}


@dataclass
class Place:
    """What all walks share.

    Attributes:
        namespaces: of containers, by SIR address.
        shot: packets that were compared so far.
        killed_full: commands that were killed with full maps, and mended.
    """

    lab: Lab
    own: Cgroups
    bench: Bench
    namespaces: dict[bytes, str]
    killer: Killer
    shot: int = 0
    killed_full: int = 0


class _Judge(dict[int, Limit]):
    """Limits that make up their minds when a packet asks them, and not before."""

    def __init__(self, control: Control, now: int, frame: int) -> None:
        self._control, self._now, self._frame = control, now, frame

    def __missing__(self, number: int) -> Limit:
        limits = self._control.police(sorted(self._control.limits)[number - 1])
        self[number] = Limit(_SAYS[limits.police(0, self._now, self._frame)])
        return self[number]


@dataclass
class Broken:
    """A command that was killed.

    Attributes:
        again: runs it once more.
        wanted: the state that it leads to.
        may_be: states that may be met until then.
        fix: `check --fix` is to mend it.
    """

    again: Callable[[], None]
    wanted: Control
    may_be: list[Control]
    fix: bool


class Walker(RuleBasedStateMachine):
    """An instance, and the model of it.

    Attributes:
        control: what should be there.
        broken: set while nobody knows.
        tidy: no rows of ports are left whose device is gone.
        said: by the last command.
    """

    place: ClassVar[Place]
    control: Control

    def __init__(self) -> None:
        super().__init__()
        self.lab, self.own, self.bench = self.place.lab, self.place.own, self.place.bench
        self.broken: Broken | None = None
        self.tidy = True
        self.said = ""

    # --- running commands ---

    def run_(self, *arguments: str, text: str | None = None) -> int:
        done = self.lab.ilax(*arguments, text=text)
        self.said = f"{' '.join(arguments)}: {done.exception!r} {done.output}"
        return int(done.exit_code)

    def do(self, change: Callable[[Control], bool], *arguments: str, text: str = "") -> None:
        """A command is done or refused as the model says."""
        wanted = copy.deepcopy(self.control)
        done = change(wanted)
        code = self.run_(*arguments, text=text)
        assert (code == 0) == done, self.said
        assert code != 1, self.said
        if done:
            self.control = wanted
        self.bench.look()
        self.settle()

    def mtu(self, mtu: int) -> None:
        command = ["ip", "link", "set", UPLINK, "mtu", str(mtu)]
        subprocess.run(command, check=True)

    def up(self, setup: Setup, xdp: str = "native") -> list[str]:
        words = ["up", "--uplink", UPLINK, "--xdp", xdp]
        for option, uppers, length in (
            ("--sir-prefix", setup.sir_prefixes, 64),
            ("--locator", setup.locators, 64),
            ("--block", setup.blocks, 48),
        ):
            for upper in uppers:
                words += [option, f"{shots.text(upper + bytes(8))}/{length}"]
        return [*words, "--cbit" if setup.c_bit else "--no-cbit"]

    def settle(self, slack_ns: int = 0) -> None:
        compare.settle_queues(self.bench, self.control, self.own, slack_ns)

    # --- packets ---

    def packet(self, shot: Shot) -> None:
        states = self.broken.may_be if self.broken else [self.control]
        states = [state for state in states if _has_devices(state, self.bench)]
        if self.broken and shot.quote is not None:
            return  # two addresses, which two states may answer for
        ifindex, mac = self.bench.uplink, self.bench.uplink_mac
        if shot.hook is Hook.CONTAINER:
            device = self.bench.devices.get(shots.sir(shot.port))
            if device is None or any(
                shots.sir(shot.port) not in state.tasks
                or state.tasks[shots.sir(shot.port)].delivery is Delivery.HOST
                for state in states
            ):
                return
            ifindex, mac = device.ifindex, device.host_mac
        data = shot.frame(states[-1].setup, mac)
        first = time.monotonic_ns()
        result = self.bench.fire(shot.hook, data, ifindex)
        moments = (first, time.monotonic_ns())
        self.place.shot += 1

        said = []
        for state in states:
            for moment in moments:
                after = copy.deepcopy(state)
                outcome = self._foretell(after, shot.hook, Frame(data, ifindex), moment)
                if _is(shot.hook, result, outcome):
                    if not self.broken:
                        self.control = after
                        self.settle(moments[1] - moments[0])
                    return
                said.append(outcome)
        raise AssertionError(f"{shot}\nbecame {result}\nand not {said}")

    def _foretell(self, state: Control, hook: Hook, frame: Frame, now: int) -> Outcome:
        judge = _Judge(state, now, len(frame.data))
        tables = state.tables(self.bench.uplink, self.bench.devices, judge)
        return process(hook, tables, frame)


def _has_devices(state: Control, bench: Bench) -> bool:
    containers = {t.sir for t in state.tasks.values() if t.delivery is not Delivery.HOST}
    return containers <= bench.devices.keys()


def _is(hook: Hook, result: Result, outcome: Outcome) -> bool:
    """Whether this is what was foretold; neighbour discovery may have passed beside it."""
    reason = (hook, outcome.reason)
    counted = dict(result.counted)
    for other in counted.keys() & NOISE:
        if other != reason:
            del counted[other]
        elif counted[other] >= (1, outcome.length):
            counted[other] = (1, outcome.length)
    traffic = {
        slot: fields - (_SENT - outcome.traffic.get(slot, set()))
        for slot, fields in result.traffic.items()
    }
    return (
        counted == {reason: (1, outcome.length)}
        and result.code == verdict_code(hook, outcome.reason)
        and {slot: fields for slot, fields in traffic.items() if fields} == outcome.traffic
        and (
            outcome.verdict == "drop"
            or (result.data, result.handover, result.tag)
            == (outcome.data, outcome.handover, outcome.tag)
        )
    )
