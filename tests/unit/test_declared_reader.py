# SPDX-License-Identifier: Apache-2.0
"""Files of `ilax apply`: what they say, and all that can be wrong with them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ilax import address
from ilax.address import parse, parse_prefix
from ilax.declared import cross_checks, keys, reader
from ilax.declared.difference_limits import as_options
from ilax.declared.document import Document
from ilax.declared.problems import DeclarationError
from ilax.limiting import limit_rules

_ROOT = Path(__file__).resolve().parents[2]

UP = """\
version = 1
[up]
uplink = "eth0"
sir-prefix = "2001:db8:5a5a:1::/64"
locator = ["2001:db8:42:7::/64"]
block = ["2001:db8:42::/48"]
"""


def _sir(number: int) -> str:
    return f"2001:db8:5a5a:1:2000::{number:x}"


def _read(text: str, folder: Path = Path("/nonexistent")) -> Document:
    return reader.parse(text.encode(), "host.toml", folder)[0]


def _refused(text: str | bytes, folder: Path = Path("/nonexistent")) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(DeclarationError) as caught:
        reader.parse(raw, "host.toml", folder)
    return caught.value.lines


def test_the_example_is_valid_and_complete() -> None:
    file = _ROOT / "examples" / "host.toml"
    document, _ = reader.read(str(file))
    assert len(document.endpoints) > 1
    assert len(document.limits) > 1
    assert len(document.placement.sir) > 1
    assert not document.notes
    # Each key there is stands in it, so that nobody has to look elsewhere.
    text = file.read_text()
    for table in (keys.UP, keys.ENDPOINT, keys.MAPPING, keys.limit()):
        for key in table:
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), key


def test_defaults_are_those_of_the_commands() -> None:
    document = _read(f"{UP}[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 4711\n")
    assert (document.up.cbit, document.up.typed, document.up.xdp) == (True, True, "auto")
    endpoint = document.endpoints[0]
    assert (endpoint.netns, endpoint.device, endpoint.delivery) == ("4711", "eth0", "stack")
    assert endpoint.link == "veth"


def test_an_editor_may_have_marked_it_as_utf_8() -> None:
    document, _ = reader.parse(b"\xef\xbb\xbf" + UP.encode(), "host.toml", Path())
    assert document.up.uplink


def test_mappings_of_rows_and_files(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        f"sir,locator\n{_sir(3)},2001:db8:42:8::/64\n{_sir(1)},2001:db8:42:7::/64\n"
        f"{_sir(2)},2001:db8:42:9::/64\n"
    )
    document = _read(
        f"{UP}[[mapping]]\nfile = 'm.csv'\n"
        f"[[mapping]]\nsir = '{_sir(2)}'\nlocator = '2001:db8:42:9::/64'\n"
        f"[[endpoint]]\nsir = '{_sir(1)}'\nhost = true\n",
        tmp_path,
    )
    # One stands there twice and agrees; another is that of an endpoint of this host.
    first = parse(_sir(2))
    assert document.placement.sir.tolist() == [
        [first.prefix, first.identifier + n] for n in range(2)
    ]


def test_rows_name_wire_addresses_or_locators_side_by_side() -> None:
    """And each is what a command makes of it."""
    locator = parse_prefix("2001:db8:42:8::/64")
    tasks = [parse(_sir(number)) for number in (1, 2, 3)]
    wires = [address.to_wire(sir, locator.upper) for sir in tasks]
    rows = [
        f"[[mapping]]\nsir = '{sir}'\n"
        + (f"wire = '{wire}'\n" if number % 2 else f"locator = '{locator}'\n")
        for number, (sir, wire) in enumerate(zip(tasks, wires, strict=True))
    ]
    placement = _read(UP + "".join(rows)).placement
    assert placement.sir.tolist() == [[sir.prefix, sir.identifier] for sir in tasks]
    assert placement.wire.tolist() == [[wire.prefix, wire.identifier] for wire in wires]


# (text behind UP, line in it, what the message must say)
WRONG = [
    ("[upp]\n", 1, "did you mean 'up'"),
    ("tc-order = 'between'\n", 1, "is no order (use first, last"),
    ("tc = 'clsact'\ntc-order = 'first'\n", 2, "needs tcx"),
    ("xdp = 'native'\nxdp-chain = '/sys/fs/bpf/a:1'\n", 2, 'goes with xdp = "auto" only'),
    ("[[endpoints]]\n", 1, "did you mean 'endpoint'"),
    ("[endpoint]\n", 1, "two brackets"),
    ("[[endpoint]]\nnetns = 'a'\n", 1, "lacks the key 'sir'"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\n", 1, "either netns or"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\nhost = true\n", 1, "either netns or"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nhost = true\nmtu = 1500\n", 4, "no meaning"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = true\n", 3, "not a boolean"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\nmtu = 1279\n", 4, "1280..65535"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\ndelivery = 'pigeon'\n", 4, "stack, xdp"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\ndevice = 'a/b'\n", 4, "no name for an inter"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\nlink = 'rope'\n", 4, "veth, netkit"),
    (f"[[endpoint]]\nsir = '{_sir(1)}'\nhost = true\nlink = 'netkit'\n", 4, "no meaning"),
    (
        f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\nlink = 'netkit'\ndelivery = 'xdp'\n",
        5,
        "cannot redirect into a netkit device (deliver to the stack",
    ),
    ("[[endpoint]]\nsir = '2001:db8:9::1'\nnetns = 'a'\n", 2, "outside of the SIR prefixes"),
    ("[[endpoint]]\nsir = '2001:db8:5a5a:1::1'\nnetns = 'a'\n", 2, "type 0"),
    (
        f"[[endpoint]]\nsir = '{_sir(1)}'\nhost = true\n"
        f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\n",
        5,
        "an endpoint already (line 8)",
    ),
    (
        f"[[endpoint]]\nsir = '{_sir(1)}'\nnetns = 'a'\n"
        f"[[endpoint]]\nsir = '{_sir(2)}'\nnetns = 'a'\ndevice = 'eth1'\n",
        6,
        "namespace a has an endpoint already (line 9)",
    ),
    (
        f"[[endpoint]]\nsir = '{_sir(1)}'\nhost = true\n"
        f"[[mapping]]\nsir = '{_sir(1)}'\nlocator = '2001:db8:42:8::/64'\n",
        4,
        "mapped elsewhere",
    ),
    (
        f"[[mapping]]\nsir = '{_sir(1)}'\nlocator = '2001:db8:42:8::/64'\n"
        f"[[mapping]]\nsir = '{_sir(1)}'\nlocator = '2001:db8:42:9::/64'\n",
        4,
        "two wire addresses, also by line 7",
    ),
    (f"[[mapping]]\nsir = '{_sir(1)}'\n", 1, "either a wire address or a locator"),
    (f"[[mapping]]\nsir = '{_sir(1)}'\nwire = '2001:db8:42:8:3000::1'\n", 3, "not the neutral"),
    (f"[[mapping]]\nsir = '{_sir(1)}'\nlocator = '2001:db8:5a5a:1::/64'\n", 3, "is a SIR address"),
    (
        f"[[mapping]]\nsir = '{_sir(1)}'\nlocator = '2001:db8:42:8::/64'\n"
        f"[[mapping]]\nsir = '{_sir(2)}'\nlocator = '2001:db8:5a5a:1::/64'\n",
        6,
        "is a SIR address",
    ),
    ("[[mapping]]\nfile = 'no.csv'\n", 2, "No such file"),
    ("[[mapping]]\nfile = 'a'\nlocator = '2001:db8:42:8::/64'\n", 3, "beside a file"),
    ("[[mapping]]\nformat = 'csv'\n", 1, "either sir (one row) or file"),
    ("[[limit]]\ncgroup = 'a'\n", 1, "needs a rate or packets/s"),
    ("[[limit]]\ncgroup = 'a'\nrate = '5 parsec'\n", 3, "no rate"),
    ("[[limit]]\ncgroup = 'a'\nrate = 1.5\n", 3, "not a float"),
    ("[[limit]]\ncgroup = 'a'\npps = 5000\nburst = 7\n", 4, "no unit"),
    ("[[limit]]\ncgroup = 'a'\nrate = '1mbit'\nburst = '1us'\n", 1, "does not hold one"),
    ("[[limit]]\ncgroup = 'a'\npps = 5000\ntag-mark = 1\n", 1, "no meaning for action drop"),
    ("[[limit]]\ncgroup = 'a'\npps = 5000\nparent = 'b'\n", 4, "has no [[limit]]"),
    (
        "[[limit]]\ncgroup = 'a/'\npps = 5000\nparent = './b'\n"
        "[[limit]]\ncgroup = 'b'\npps = 5000\nparent = 'a'\n",
        4,
        "its own parent",
    ),
    ("[[limit]]\ncgroup = 'a'\npps = 9\n[[limit]]\ncgroup = './a'\npps = 9\n", 5, "already (line"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=range(len(WRONG)))
def test_file_line_and_rule(text: str, line: int, words: str) -> None:
    told = _refused(UP + text)
    expected = f"host.toml:{UP.count(chr(10)) + line}: "
    assert any(one.startswith(expected) and words in one for one in told), told


HEAD = [
    ("", "must say `version = 1`"),
    ("version = 2\n", "version 1 only"),
    ("version = true\n", "version 1 only"),
    ("version = 1\n", "must have a table [up]"),
    ("version = 1\nup = 1\n", "must have a table [up]"),
    ("version = 1\nendpoint = 1\n", "must be tables"),
    ("version = 1\nendpoint = [1]\n", "must be a table [[endpoint]]"),
    (UP.replace('"2001:db8:5a5a:1::/64"', "[]"), "must not be empty"),
    (UP.replace("uplink", "uplnk"), "did you mean 'uplink'"),
    (UP.replace("5a5a:1::/64", "5a5a:1::/65"), "must be a /64"),
    (UP.replace("5a5a:1::/64", "42:9::/64"), "overlap"),
    (UP.replace("2001:db8:42::/48", "ff00::/8"), "not for global unicast"),
    (f"{UP}max-limits = 1\n", "must be in 2.."),
    (f"{UP}gateway = 'ff02::1'\n", "cannot be a next hop"),
    (f"{UP}host-address = '2001:db8::1'\n", "outside of the SIR prefixes"),
    (f"{UP}max-endpoints = 1\n" + "".join(
        f"[[endpoint]]\nsir = '{_sir(n)}'\nhost = true\n" for n in (1, 2)
    ), "there are 2 endpoints"),
    (f"{UP}max-mappings = 1\n" + "".join(
        f"[[mapping]]\nsir = '{_sir(n)}'\nlocator = '2001:db8:42:8::/64'\n" for n in (1, 2)
    ), "there are 2 mappings"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), HEAD, ids=range(len(HEAD)))
def test_what_a_file_must_have(text: str, words: str) -> None:
    told = _refused(text)
    assert any(words in one for one in told), told


def test_all_problems_are_told_in_the_order_of_lines() -> None:
    text = (
        f"{UP.replace('eth0', '')}xpd = 'auto'\n"
        f"[[endpoint]]\nsir = 'x'\nnetns = ''\n[[limit]]\ncgroup = 'a'\nrate = 'y'\npps = []\n"
    )
    told = _refused(text)
    assert [int(one.split(":")[1]) for one in told] == [3, 7, 9, 10, 13, 14]


def test_a_ring_of_parents_is_told_once_for_each_of_it() -> None:
    """And a long chain that leads into it is no part of it."""
    parents = {"a": "b", "b": "c", "c": "a", **{f"x{n}": f"x{n + 1}" for n in range(3000)}}
    parents["x3000"] = "a"
    tables = [
        f'[[limit]]\ncgroup = "{name}"\nrate = "1mbit"\nparent = "{above}"'
        for name, above in parents.items()
    ]
    found = _refused("\n".join([UP, *tables]))
    assert [line.rpartition("limit of ")[2] for line in found] == [
        f"{name} would be its own parent" for name in "abc"
    ]


def test_doubts_forbid_nothing() -> None:
    text = UP.replace("2001:db8:42::/48", "2001:db8:43::/48")
    document = _read(f"{text}[[mapping]]\nsir = '{_sir(1)}'\nlocator = '2001:db8:44::/64'\n")
    assert [note.split(":")[1] for note in document.notes] == ["5", "7"]
    assert all("outside of every block" in note for note in document.notes)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"version = 1\nx = = 1\n", 2),
        (b"version = 1\n\xff\n", 2),
        (b"version = 1\nx = '''\n\n", 2),
        (b"x = " + b"[" * 100_000, 1),
        (b"x = " + b"9" * 10_000, 1),
        (b"x = 1\nx = 2\n", 2),
    ],
)
def test_no_toml(raw: bytes, line: int) -> None:
    told = _refused(raw)
    assert len(told) == 1
    assert told[0].startswith(f"host.toml:{line}: "), told


_NS = st.one_of(st.sampled_from([0, 1, 500_000, 10**9]), st.integers(0, 0xFFFFFFFF))


@given(
    st.builds(
        limit_rules.Rules,
        byte_cost=st.just(0) | st.integers(10**4, 10**12).map(limit_rules.byte_cost),
        packet_cost=st.just(0) | st.integers(128, 1 << 38),
        burst=_NS,
        mark=_NS,
        drop=_NS,
        small=_NS,
        action=st.sampled_from(["drop", "mark", "count", "tag"]),
        tag_mark=st.integers(1, 0xFFFFFFFF),
        tag_priority=_NS,
    )
)
def test_rules_become_keys_that_give_the_same_rules(rules: limit_rules.Rules) -> None:
    if rules.action != "tag":
        rules = replace(rules, tag_mark=0, tag_priority=0)
    if rules.action != "drop":
        rules = replace(rules, mark=min(rules.mark, rules.drop))
    rules = replace(rules, burst=max(rules.burst, rules.time_of(1538)))
    assume(rules.limits and rules.burst <= 0xFFFFFFFF)
    pairs = (f'{key} = "{text}"' for key, text in as_options(rules).items())
    text = "\n".join([UP, "[[limit]]", 'cgroup = "a"', *pairs])
    assert cross_checks.rules_of(_read(text).limits[0], 1538) == rules


# --- whatever is written ------------------------------------------------------------


def _clean(raw: bytes) -> None:
    """A document, or one error that tells a line for each problem."""
    try:
        reader.parse(raw, "host.toml", Path("/nonexistent"))
    except DeclarationError as error:
        assert error.lines
        last = raw.count(b"\n") + 1
        for line in error.lines:
            found = re.match(r"host\.toml:(\d+): .", line)
            assert found, line
            assert 1 <= int(found[1]) <= last


@given(st.binary())
def test_any_bytes(raw: bytes) -> None:
    _clean(raw)


@given(st.text())
def test_any_text(text: str) -> None:
    _clean(text.encode("utf-8", "surrogatepass"))


_NAMES = st.sampled_from(
    [*keys.UP, *keys.ENDPOINT, *keys.MAPPING, *keys.limit(), "version", "sir_prefix", "x"]
)
_TEXTS = st.one_of(
    st.sampled_from(
        [_sir(1), _sir(2), "2001:db8:42:7::/64", "2001:db8:5a5a:1::/64", "auto", "none", "a", "b",
         "stack", "200mbit", "1ms", "50k", "0x10", "drop", "eth0", "::", "", "-", "/", "csv",
         "\\u0000"]
    ),
    st.text(st.characters(blacklist_categories=["Cc", "Cs"], blacklist_characters='"\\')),
).map(lambda text: f'"{text}"')  # fmt: skip
_PLAIN = st.one_of(
    _TEXTS,
    st.integers().map(str),
    st.sampled_from(["true", "false", "1.5", "nan", "07:00:00", "[]", "{}", "[[1]]", "1", "2000"]),
)
_ANY = st.one_of(
    _PLAIN,
    st.lists(_PLAIN, max_size=3).map(lambda made: f"[{', '.join(made)}]"),
    st.tuples(_NAMES, _PLAIN).map(lambda made: f"{{ {made[0]} = {made[1]} }}"),
)
_HEADERS = st.sampled_from(
    ["[up]", "[[endpoint]]", "[[mapping]]", "[[limit]]", "[endpoint]", "[[up]]", "[x]"]
)


def _table(header: str, pairs: dict[str, str]) -> str:
    return "\n".join([header, *(f"{key} = {value}" for key, value in pairs.items())])


_TABLES = st.builds(_table, _HEADERS, st.dictionaries(_NAMES, _ANY, max_size=6))


@given(st.booleans(), st.lists(_TABLES, max_size=5))
@example(True, [f"[[mapping]]\nsir = '{_sir(1)}'\nwire = '::'"])
def test_any_tables(begins_well: bool, tables: list[str]) -> None:
    _clean("\n".join([UP if begins_well else "version = 1", *tables]).encode())
