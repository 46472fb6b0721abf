# SPDX-License-Identifier: Apache-2.0
"""Random walks over limits, endpoints and cgroups, against a model in plain Python.

The model knows paths only: no numbers, slots, rows or flags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath as PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.cgroups import Cgroups, own_cgroups

from .conftest import TAG, Lab, sir
from .limit_state import assert_safe, assert_tidy, read

PATHS = ("a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e", "a/b/c/d/e/f", "a/x", "y", "y/z")
LEVELS = 4
USAGE = 2
HOST = sir(6)

Choice = str | None


@dataclass
class Model:
    """Who has which parent; None as a parent = none."""

    living: set[str] = field(default_factory=lambda: set(PATHS))
    limits: dict[str, str | None] = field(default_factory=dict)
    empty: dict[str, str | None] = field(default_factory=dict)
    named: str | None = None

    def nearest(self, path: str, among: set[str]) -> str | None:
        above = [str(p) for p in PurePath(path).parents]
        return next((p for p in above if p in among), None)

    def rows(self) -> dict[str, str | None]:
        return {**self.limits, **self.empty}

    def chain(self, path: str) -> list[str]:
        rows = self.rows()
        found: list[str] = []
        above = rows[path]
        while above is not None and len(found) <= len(rows):
            found.append(above)
            above = rows[above]
        return found

    def sound(self) -> bool:
        return all(
            len(self.chain(path)) <= LEVELS and path not in self.chain(path) for path in self.rows()
        )

    def _put(self, path: str, parent: str | None, *, limited: bool) -> None:
        before, fresh = set(self.limits), path not in self.limits
        self.empty.pop(path, None)
        (self.limits if limited else self.empty)[path] = parent
        if limited and fresh:
            for rows in (self.limits, self.empty):
                for other, above in rows.items():
                    if (
                        other != path
                        and other in self.living
                        and above == self.nearest(other, before)
                    ):
                        rows[other] = self.nearest(other, set(self.limits))

    def limit(self, path: str, choice: Choice) -> bool:
        """Whether it can be; nothing changes if not."""
        saved = dict(self.limits), dict(self.empty)
        rows = self.rows()
        if choice == "auto" or (choice is None and path not in rows):
            parent = self.nearest(path, set(self.limits) - {path})
        elif choice is None:
            parent = rows[path]
        else:
            parent = None if choice == "none" else choice
        self._put(path, parent, limited=True)
        if (parent is None or parent in self.limits) and self.sound():
            return True
        self.limits, self.empty = saved
        return False

    def unlimit(self, path: str) -> None:
        parent = self.limits.pop(path)
        for rows in (self.limits, self.empty):
            for other, above in rows.items():
                if above == path:
                    rows[other] = parent
        if self.named == path:
            self.empty[path] = parent

    def name(self, path: str | None) -> bool:
        """Let the endpoint name a cgroup; whether it can."""
        if path is not None and path not in self.rows():
            self._put(path, self.nearest(path, set(self.limits)), limited=False)
            if not self.sound():
                del self.empty[path]
                return False
        if self.named != path and self.named in self.empty:
            del self.empty[self.named]
        self.named = path
        return True

    def remove(self, path: str) -> None:
        self.living -= {p for p in self.living if p == path or p.startswith(f"{path}/")}

    def collect(self) -> None:
        if self.named is not None and self.named not in self.living:
            self.empty.pop(self.named, None)
            self.named = None
        gone = [path for path in self.limits if path not in self.living]
        for path in gone:
            self.unlimit(path)


STEPS = st.one_of(
    st.tuples(st.just("limit"), st.sampled_from(PATHS),
              st.sampled_from([None, None, "auto", "none", *PATHS])),
    st.tuples(st.just("unlimit"), st.sampled_from(PATHS), st.none()),
    st.tuples(st.just("name"), st.sampled_from([*PATHS, "none"]), st.none()),
    st.tuples(st.just("remove"), st.sampled_from(PATHS), st.none()),
    st.tuples(st.just("collect"), st.just(""), st.none()),
)  # fmt: skip


@pytest.fixture
def own() -> Iterator[Cgroups]:
    with own_cgroups(f"{TAG}walk") as made:
        yield made


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STEPS, min_size=8, max_size=16))
def test_a_walk(running: Lab, own: Cgroups, steps: list[tuple[str, str, Choice]]) -> None:
    for path in PATHS:
        own.make(path)
    assert running.ilax("endpoint", "add", HOST, "--host").exit_code == 0
    model = Model()
    for step in steps:
        take(running, own, model, *step)
        compare(running, own, model)
    assert running.ilax("limit", "gc").exit_code == 0
    model.collect()
    compare(running, own, model)
    assert_tidy(read(running.instance))
    assert running.ilax("endpoint", "del", HOST).exit_code == 0
    for cgroup in read(running.instance).slots:
        assert running.ilax("limit", "del", str(cgroup)).exit_code == 0
    state = read(running.instance)
    assert (state.slots, state.pins, state.users) == ({}, set(), {})


def take(lab: Lab, own: Cgroups, model: Model, what: str, path: str, choice: Choice) -> None:
    name = f"{own.name}/{path}"
    before = read(lab.instance)
    done = True
    if what == "limit" and path in model.living:
        if choice in PATHS and choice not in model.living:
            return
        parent = f"{own.name}/{choice}" if choice in PATHS else choice
        options = ["--parent", parent] if parent else []
        code = lab.ilax("limit", "set", name, "--rate", "1gbit", *options).exit_code
        done = model.limit(path, choice)
        assert code == (0 if done else USAGE)
    elif what == "unlimit" and path in model.limits:
        number = before.slots[own.id(path)] if path in model.living else None
        if number is None:
            return
        assert lab.ilax("limit", "del", name).exit_code == 0
        model.unlimit(path)
    elif what == "name" and (path == "none" or path in model.living):
        target = None if path == "none" else path
        code = lab.ilax("endpoint", "set", HOST, "--cgroup", name if target else "none").exit_code
        done = model.name(target)
        assert code == (0 if done else USAGE)
    elif what == "remove" and path in model.living:
        own.remove(path)
        model.remove(path)
        return
    elif what == "collect":
        assert lab.ilax("limit", "gc").exit_code == 0
        model.collect()
        assert_tidy(read(lab.instance))
    if not done:
        assert read(lab.instance) == before


def compare(lab: Lab, own: Cgroups, model: Model) -> None:
    state = read(lab.instance)
    assert_safe(state)
    shown = {one["cgroup"]: one for one in json.loads(lab.ilax("--json", "limit", "list").output)}
    prefix = f"{own.name}/"
    alive = {path for path in model.rows() if path in model.living}
    assert {name.removeprefix(prefix) for name, one in shown.items() if one["alive"]} == alive
    assert len(shown) == len(model.rows())
    for path in alive:
        one = shown[f"{prefix}{path}"]
        chain = model.chain(path)
        if set(chain) <= model.living:
            assert one["parents"] == [f"{prefix}{above}" for above in chain]
        assert len(one["parents"]) == len(chain)
        assert (one["rate"] is not None) == (path in model.limits)
        assert one["endpoints"] == ([HOST] if model.named == path else [])
        assert one["attached"] == (path in model.limits)
