# SPDX-License-Identifier: Apache-2.0
"""Commands and packets in any order; the model foretells each of them.

After a command was killed, nobody knows how far it came: a packet may meet what stood
before, or what was wanted, until the command is run again or `check --fix` has mended.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from itertools import cycle

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from model.control import Control, Setup, Task
from model.limit import Action
from model.tables import Delivery
from stateful import compare, shots
from stateful.bench import INNER
from stateful.choices import ROOM, RULES, Kill, kills, paths, setups, tasks
from stateful.killing import KILLED
from stateful.shots import Shot
from stateful.walker import Broken, Walker

NOT_FOUND, CONFLICT = 3, 4


class Walk(Walker):
    """One walk over an instance of its own."""

    @initialize(setup=setups)
    def begin(self, setup: Setup) -> None:
        self.lab.ilax("down")
        self.broken, self.tidy = None, True
        self.control = Control(setup, ROOM)
        self.mtu(setup.uplink_mtu)
        rows = ("--max-endpoints", str(ROOM[0]), "--max-mappings", str(ROOM[1]))
        assert self.run_(*self.up(setup), *rows, "--max-limits", "16") == 0, self.said
        self.bench.look()
        # A walk that has to begin with nothing seldom comes to where it is interesting.
        for number, delivery in enumerate(Delivery):
            self._add(self._task(number, delivery, mtu=0, any_source=False), own_mtu=False)

    # --- rules: endpoints ---

    def _add_words(self, task: Task, own_mtu: bool) -> list[str]:
        words = ["endpoint", "add", shots.text(task.sir)]
        if task.cgroup is not None:
            words += ["--cgroup", f"{self.own.name}/{task.cgroup}"]
        if task.delivery is Delivery.HOST:
            return [*words, "--host"]
        words += ["--netns", self.place.namespaces[task.sir], "--device", INNER]
        words += ["--delivery", task.delivery.name.lower()]
        words += ["--mtu", str(task.mtu)] if own_mtu else []
        return [*words, *(["--any-source"] if task.any_source else [])]

    def _task(self, number: int, delivery: Delivery, *, mtu: int, any_source: bool) -> Task:
        if delivery is Delivery.HOST:
            return Task(shots.sir(number), b"", delivery, 0, 0)
        mtu = mtu or self.control.setup.uplink_mtu
        return Task(shots.sir(number), b"", delivery, mtu, 0, any_source)

    @rule(
        number=tasks, delivery=st.sampled_from(Delivery), mtu=st.sampled_from((0, 0, 1400)),
        any_source=st.sampled_from((False, False, True)), path=st.none() | paths,
    )  # fmt: skip
    def add(
        self, number: int, delivery: Delivery, mtu: int, any_source: bool, path: str | None
    ) -> None:
        self.recover()
        task = self._task(number, delivery, mtu=mtu, any_source=any_source)
        self._add(replace(task, cgroup=path), own_mtu=bool(mtu))

    def _add(self, task: Task, *, own_mtu: bool) -> None:
        self.do(lambda c: c.add(task.sir, task), *self._add_words(task, own_mtu))
        # Who makes a device looks for traces of devices.
        self.tidy = self.tidy or task.delivery is not Delivery.HOST

    @rule(number=tasks)
    def delete(self, number: int) -> None:
        self.recover()
        sir = shots.sir(number)
        self.do(lambda c: c.delete(sir), "endpoint", "del", shots.text(sir))

    # --- rules: mappings ---

    @rule(number=shots.numbers, locator=shots.locators)
    def map_one(self, number: int, locator: int) -> None:
        self.recover()
        sir, upper = shots.sir(number), shots.LOCATORS[locator]
        words = (
            "mapping",
            "add",
            shots.text(sir),
            "--locator",
            f"{shots.text(upper + bytes(8))}/64",
        )
        self.do(lambda c: c.map({sir: upper}), *words)

    @rule(number=shots.numbers)
    def unmap(self, number: int) -> None:
        self.recover()
        sir = shots.sir(number)
        self.do(lambda c: c.unmap(sir), "mapping", "del", shots.text(sir))

    def _import(self, rows: dict[int, int]) -> tuple[dict[bytes, bytes], str]:
        uppers = {shots.sir(n): shots.LOCATORS[at] for n, at in rows.items()}
        lines = [f"{shots.text(s)},{shots.text(u + bytes(8))}/64" for s, u in uppers.items()]
        return uppers, "\n".join(["sir,locator", *lines]) + "\n"

    @rule(rows=st.dictionaries(shots.numbers, shots.locators, min_size=1))
    def import_(self, rows: dict[int, int]) -> None:
        self.recover()
        self.import_rows(rows)

    def import_rows(self, rows: dict[int, int]) -> None:
        uppers, text = self._import(rows)
        if len(self.control.mappings.keys() | uppers.keys()) > ROOM[1]:
            return  # some of them would be written
        words = ("mapping", "import", "-", "--format", "csv")
        self.do(lambda c: c.map(uppers), *words, text=text)

    # --- rules: limits ---

    @rule(path=paths, kind=st.sampled_from([*RULES, "tight"]))
    def limit(self, path: str, kind: str) -> None:
        self.recover()
        rate, rules = RULES[kind]
        rules = replace(rules, byte_cost=round((8 * 10**9 << 16) / rate))
        words = ["limit", "set", f"{self.own.name}/{path}", "--rate", f"{rate}bit"]
        for option, ns in (
            ("--burst", rules.burst), ("--mark-at", rules.mark), ("--drop-at", rules.drop),
            ("--small-extra", rules.small),
        ):  # fmt: skip
            if option != "--mark-at" or rules.action != Action.DROP:
                words += [option, f"{ns}ns"]
        words += ["--action", rules.action.name.lower()]
        self.do(lambda c: c.limit(path, rules), *words)

    @rule(path=paths)
    def unlimit(self, path: str) -> None:
        self.recover()
        self.do(lambda c: c.unlimit(path), "limit", "del", f"{self.own.name}/{path}")

    @rule(number=tasks, path=st.none() | paths)
    def name(self, number: int, path: str | None) -> None:
        self.recover()
        sir = shots.sir(number)
        words = ("endpoint", "set", shots.text(sir), "--cgroup")
        self.do(lambda c: c.name(sir, path), *words, f"{self.own.name}/{path}" if path else "none")

    # --- rules: the instance ---

    @rule(what=st.sampled_from(("up", "up", "rollback", "upgrade", "restart")), setup=setups,
          xdp=st.sampled_from(("native", "off")))  # fmt: skip
    def instance(self, what: str, setup: Setup, xdp: str) -> None:
        self.recover()
        if what == "up":
            before = self.control.setup.uplink_mtu
            self.mtu(setup.uplink_mtu)
            self.do(lambda c: c.up(setup), *self.up(setup, xdp))
            if self.control.setup is not setup:
                self.mtu(before)
        elif what == "upgrade":
            self.do(_upgraded, "upgrade", "--soak", "0", "--before", "0")
        elif what == "rollback":
            self._rollback()
        else:
            assert self.run_("down") == 0, self.said
            self.begin(setup)

    def _rollback(self) -> None:
        code = self.run_("rollback")
        known = self.control.has_previous
        assert code in (0, NOT_FOUND) if known is None else (code == 0) == known, self.said
        self.bench.look()

    # --- rules: killed commands ---
    #
    # Whatever is drawn becomes a command that would be done, as far as there is one.

    @rule(number=tasks, delivery=st.sampled_from(Delivery), kill=kills)
    def kill_add(self, number: int, delivery: Delivery, kill: Kill) -> None:
        self._begin_kill(kill)
        for other in range(number, number + shots.TASKS):
            task = self._task(other % shots.TASKS, delivery, mtu=0, any_source=False)
            wanted = copy.deepcopy(self.control)
            if wanted.add(task.sir, task):
                words = self._add_words(task, own_mtu=False)
                self._kill(f"add {delivery.name}", words, wanted, kill, sir=task.sir)
                return

    @rule(number=tasks, kill=kills)
    def kill_delete(self, number: int, kill: Kill) -> None:
        self._begin_kill(kill)
        if self.control.tasks:
            task = sorted(self.control.tasks.items())[number % len(self.control.tasks)][1]
            wanted = copy.deepcopy(self.control)
            wanted.delete(task.sir)
            words = ["endpoint", "del", shots.text(task.sir)]
            self._kill(f"delete {task.delivery.name}", words, wanted, kill, sir=task.sir)

    @rule(rows=st.dictionaries(shots.numbers, shots.locators, min_size=1), kill=kills)
    def kill_import(self, rows: dict[int, int], kill: Kill) -> None:
        self._begin_kill(kill)
        wanted, possible = copy.deepcopy(self.control), {}
        for number, locator in rows.items():
            if wanted.map({shots.sir(number): shots.LOCATORS[locator]}):
                possible[number] = locator
        if possible:
            words = ["mapping", "import", "-", "--format", "csv"]
            self._kill("import", words, wanted, kill, text=self._import(possible)[1])

    @rule(setup=setups, kill=kills)
    def kill_up(self, setup: Setup, kill: Kill) -> None:
        self._begin_kill(kill)
        wanted = copy.deepcopy(self.control)
        if not wanted.up(setup):
            blocks, mtu = setup.blocks, setup.uplink_mtu
            setup = replace(self.control.setup, blocks=blocks, uplink_mtu=mtu)
            assert wanted.up(setup)
        self.mtu(setup.uplink_mtu)
        self._kill("up", self.up(setup), wanted, kill)

    @rule(back=st.booleans(), kill=kills)
    def kill_programs(self, back: bool, kill: Kill) -> None:
        self._begin_kill(kill)
        wanted = copy.deepcopy(self.control)
        if back and self.control.has_previous is True:
            self._kill("rollback", ["rollback"], wanted, kill)
        else:
            _upgraded(wanted)
            words = ["upgrade", "--soak", "0", "--before", "0"]
            self._kill("upgrade", words, wanted, kill)

    def _begin_kill(self, kill: Kill) -> None:
        self.recover()
        if kill.spare is not None:
            self._fill(kill.spare)

    def _fill(self, spare: int) -> None:
        """Leave so many rows for endpoints and for mappings."""
        for number, delivery in zip(range(shots.TASKS), cycle(Delivery), strict=False):
            sir = shots.sir(number)
            if sir in self.control.tasks or sir[:8] not in self.control.setup.sir_prefixes:
                continue
            if len(self.control.tasks) < ROOM[0] - spare:
                task = self._task(number, delivery, mtu=0, any_source=False)
                self._add(task, own_mtu=False)
        missing = [
            number
            for number in range(shots.NUMBERS)
            if shots.sir(number) not in self.control.mappings
            and shots.sir(number)[:8] in self.control.setup.sir_prefixes
        ]
        room = max(0, ROOM[1] - spare - len(self.control.mappings))
        if missing[:room]:
            # Somewhere else: such a row leads to nobody here.
            self.import_rows(dict.fromkeys(missing[:room], 2))

    def _kill(
        self, kind: str, words: list[str], wanted: Control, kill: Kill, *,
        sir: bytes = b"", text: str | None = None,
    ) -> None:  # fmt: skip
        """Kill a command that would be done."""
        old, what = self.control, kind.partition(" ")[0]
        killer = self.place.killer

        def command() -> int:
            return self.run_(*words, text=text)

        if kill.permille is None:
            code = killer.learn(kind, command)
        else:
            code = killer.run(kind, command, kill.permille)
        self.bench.look()
        if code == 0:
            self.control = wanted
            self.settle()
            return
        assert code == KILLED, (words, code)
        full = len(old.mappings) == ROOM[1] or len(old.tasks) == ROOM[0]
        self.place.killed_full += full and kill.fix
        self.broken = Broken(
            lambda: self._again(what, words, text),
            wanted,
            _between(what, old, wanted, sir),
            kill.fix,
        )

    def _again(self, what: str, words: list[str], text: str | None) -> None:
        """As an operator would after a crash."""
        code = self.run_(*words, text=text)
        if what == "add" and code == CONFLICT:
            assert self.run_("endpoint", "del", words[2]) == 0, self.said
            code = self.run_(*words, text=text)
        if what == "delete" and code == NOT_FOUND:
            # What else there was is swept up later, or now; a mapping is named by `check`.
            findings = json.loads(self.lab.ilax("--json", "check").output)["findings"]
            if ("mapping.dangling", words[2]) in ((f["id"], f["object"]) for f in findings):
                assert self.run_("mapping", "del", words[2]) == 0, self.said
            code = self.run_("limit", "gc")
            self.tidy = False
        assert code == 0, self.said

    def recover(self) -> None:
        """What comes behind a command that was killed begins with this.

        No precondition of a rule may ask whether one was: it would depend on time.
        """
        broken = self.broken
        if broken is None:
            return
        if broken.fix:
            facts = json.loads(self.lab.ilax("--json", "check", "--fix").output)
            full = any(len(state.mappings) == ROOM[1] for state in broken.may_be)
            compare.refuse_errors(facts, full=full)
            for state in broken.may_be:
                state.mend()
        else:
            broken.again()
        self.bench.look()
        states = broken.may_be if broken.fix else [broken.wanted]
        self.control = compare.find(self.bench, states, tidy=broken.fix or self.tidy)
        self.broken = None
        compare.adopt_queues(self.bench, self.control, self.own)

    # --- packets ---

    @rule(drawn=st.lists(shots.shots, min_size=2, max_size=10))
    def packets(self, drawn: list[Shot]) -> None:
        for shot in drawn:
            self.packet(shot)

    # --- always ---

    @invariant()
    def rows_are_the_models(self) -> None:
        if not self.broken:
            compare.find(self.bench, [self.control], tidy=self.tidy)

    @invariant()
    def everybody_is_where_they_should_be(self) -> None:
        for shot in shots.PROBES:
            self.packet(shot)


def _upgraded(control: Control) -> bool:
    control.has_previous = True
    return True


def _between(what: str, old: Control, wanted: Control, sir: bytes) -> list[Control]:
    """States in which a killed command may have left the tables."""
    states = [copy.deepcopy(old), copy.deepcopy(wanted)]
    if what in ("add", "delete"):
        # An endpoint's row comes before its mapping, and goes before it.
        half = copy.deepcopy(wanted)
        half.mappings.pop(sir, None)
        if sir in old.mappings:
            half.mappings[sir] = old.mappings[sir]
        states.insert(1, half)
    if what == "up":
        mtu = old.setup.uplink_mtu
        states.insert(1, copy.deepcopy(wanted))
        states[1].setup = replace(wanted.setup, uplink_mtu=mtu)
        states.insert(1, copy.deepcopy(old))
        states[1].setup = replace(old.setup, uplink_mtu=wanted.setup.uplink_mtu)
    if what in ("up", "upgrade"):
        for state in states:
            state.has_previous = None
    return states
