# SPDX-License-Identifier: Apache-2.0
"""From any declared state to any other: what is declared is what is there.

After each step nothing is left to do, an export is a file that changes nothing, and
it declares what the file did that was applied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ilax.declared import reader
from ilax.declared.cross_checks import rules_of
from ilax.declared.document import Document
from lab.cgroups import Cgroups, own_cgroups

from .conftest import BLOCK, LOCATOR, SIR_PREFIX, TAG, UPLINK, Lab, ip, sir
from .limit_state import assert_tidy, read

CGROUPS = ("a", "a/b", "a/b/c", "d")
SECOND = "2001:db8:5a5a:2::/64"
FRAME = 1538  # charged bytes of the uplink's longest
WALKS, STEPS = 3, 4


@pytest.fixture
def folder() -> Iterator[Cgroups]:
    with own_cgroups(TAG) as made:
        for path in CGROUPS:
            made.make(path)
        yield made


def _lines(header: str, **values: object) -> str:
    said = {key.replace("_", "-"): value for key, value in values.items() if value is not None}
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in said.items())])


def _maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


_ups = st.builds(
    _lines,
    st.just("version = 1\n[up]"),
    uplink=st.just(UPLINK),
    sir_prefix=st.sampled_from([[SIR_PREFIX], [SIR_PREFIX, SECOND]]),
    locator=st.sampled_from([[LOCATOR], [LOCATOR, "2001:db8:42:70::/64"]]),
    block=_maybe(st.sampled_from([[BLOCK], [BLOCK, "2001:db8:43::/48"]])),
    gateway=_maybe(st.just("fe80::9")),
    host_address=_maybe(st.just(sir(90))),
    xdp=_maybe(st.sampled_from(["native", "off"])),
    tc=st.just("tcx"),
    max_endpoints=st.just(64),
    max_mappings=st.just(256),
    max_limits=st.just(64),
)
_cgroups = st.sampled_from(CGROUPS).map(lambda path: f"{TAG}/{path}")


def _container(number: int) -> st.SearchStrategy[str]:
    return st.builds(
        _lines,
        st.just("[[endpoint]]"),
        sir=st.just(sir(number)),
        netns=st.just(f"{TAG}-n{number}"),
        device=st.sampled_from([f"eth{number}", f"dev{number}"]),
        delivery=_maybe(st.sampled_from(["stack", "xdp"])),
        mtu=_maybe(st.sampled_from([1280, 1400])),
        any_source=_maybe(st.booleans()),
        cgroup=_maybe(_cgroups),
    )


def _own(number: int) -> st.SearchStrategy[str]:
    return st.builds(
        _lines,
        st.just("[[endpoint]]"),
        sir=st.just(sir(number)),
        host=st.just(True),
        cgroup=_maybe(_cgroups),
    )


def _mapping(number: int) -> st.SearchStrategy[str]:
    locators = st.sampled_from(["2001:db8:42:8::/64", "2001:db8:42:9::/64", LOCATOR])
    return st.builds(_lines, st.just("[[mapping]]"), sir=st.just(sir(number)), locator=locators)


def _limit(number: int) -> st.SearchStrategy[str]:
    # Parents come earlier in the list, so that they form no cycle.
    above = [f"{TAG}/{path}" for path in CGROUPS[:number]]
    times = st.sampled_from(["2ms", "3333us", "123456789ns"])
    return st.builds(
        _lines,
        st.just("[[limit]]"),
        cgroup=st.just(f"{TAG}/{CGROUPS[number]}"),
        rate=st.sampled_from(["200mbit", "1.5gbit", 123456789]),
        pps=_maybe(st.sampled_from(["50k", 7777])),
        burst=_maybe(times),
        drop_at=_maybe(times),
        small_extra=_maybe(times),
        action=_maybe(st.sampled_from(["drop", "mark", "count"])),
        parent=_maybe(st.sampled_from(["auto", "none"])),
    ).flatmap(
        lambda text: st.sampled_from([text, *(f'{_orphan(text)}\nparent = "{a}"' for a in above)])
    )


def _orphan(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("parent"))


# A task is here, elsewhere, the host's own, or nowhere.
_tasks = st.tuples(
    *(st.one_of(st.just(""), _container(n), _own(n), _mapping(n)) for n in range(1, 6))
)
_limits = st.lists(st.sampled_from(range(len(CGROUPS))), unique=True)


@st.composite
def _documents(draw: st.DrawFn) -> str:
    tables = [draw(_ups), *draw(_tasks)]
    chosen = sorted(draw(_limits))
    for number in chosen:
        text = draw(_limit(number))
        named = [path for path in CGROUPS if f'parent = "{TAG}/{path}"' in text]
        known = all(CGROUPS.index(path) in chosen for path in named)
        tables.append(text if known else _orphan(text))
    return "\n".join(tables) + "\n"


def _meaning(document: Document) -> tuple[object, ...]:
    """What does not depend on defaults of the host or on how it is written."""
    up = document.up
    own = {(up.host_address, None)} if up.host_address is not None else set()
    return (
        (up.sir_prefixes, up.locators, set(up.blocks), up.gateway),
        document.placement.sir.tolist(),
        document.placement.wire.tolist(),
        own | {(e.sir, e.netns) for e in document.endpoints},
        {(e.sir, e.device, e.delivery, e.any_source) for e in document.endpoints if e.netns},
        {(e.sir, e.cgroup) for e in document.endpoints if e.cgroup},
        {(one.cgroup, rules_of(one, FRAME)) for one in document.limits},
    )


@settings(
    max_examples=WALKS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    # To look for a smaller example takes longer than to read this one.
    phases=[Phase.generate],
)
@given(texts=st.lists(_documents(), min_size=STEPS, max_size=STEPS))
def test_a_walk(lab: Lab, folder: Cgroups, tmp_path: Path, texts: list[str]) -> None:
    file = tmp_path / "host.toml"

    def run(*arguments: str) -> str:
        done = lab.ilax(*arguments)
        assert done.exit_code == 0, (arguments, done.exception, done.output, file.read_text())
        return done.output

    for number in range(1, 6):
        name = f"{TAG}-n{number}"
        if not Path("/run/netns", name).exists():
            ip("netns", "add", name)  # the lab removes them
    for text in texts:
        file.write_text(text)
        run("apply", "--prune", str(file))
        assert run("plan", "--prune", "--exit-code", str(file)).splitlines()[0] == "nothing to do"
        assert_tidy(read(lab.instance))
        exported = run("export")
        assert "# Left out" not in exported
        wanted = _meaning(reader.read(str(file))[0])
        file.write_text(exported)
        assert run("plan", "--prune", "--exit-code", str(file)).splitlines()[0] == "nothing to do"
        assert _meaning(reader.read(str(file))[0]) == wanted
