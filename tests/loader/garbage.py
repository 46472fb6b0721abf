# SPDX-License-Identifier: Apache-2.0
"""Random input for the command line that is likely to get far: near misses and garbage."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from .conftest import BLOCK, CONTAINER, FILE_HEAD, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, sir

# What an argument of a command can hold.
anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
addresses = st.one_of(
    st.sampled_from(
        [
            *(sir(5), sir(6), sir(65535), "::", "::1", "fe80::1", "fe80::1%lo", "ff02::1"),
            *("2001:db8:5a5a:1::5", "2001:db8:42:7:3000::1de7", "2001:db8:42:9::1"),
            *("10.0.0.1", "::ffff:10.0.0.1", f"{sir(5)}/128", f" {sir(5)}", sir(5).upper(), ""),
        ]
    ),
    st.ip_addresses(v=6).map(str),
    anything,
)
prefixes = st.one_of(
    st.sampled_from([SIR_PREFIX, LOCATOR, OTHER_LOCATOR, BLOCK, "::/0", "2001:db8::/65", "/"]),
    st.builds("{}/{}".format, addresses, st.integers(-1, 200)),
    anything,
)
quantities = st.one_of(
    st.builds(
        "{}{}".format,
        st.one_of(st.integers(-1, 10**12), st.floats(), st.sampled_from(["", "1e400", "\u0663"])),
        st.sampled_from(
            ["", "mbit", "gbit", "k", "Kbit", "ms", "us", "s", "bit", "%", "MiB", " mbit"]
        ),
    ),
    anything,
)
# No cgroup and no namespace of the machine: what is applied stays in the lab.
nobody = st.builds("ilxunit-none{}".format, anything)
cgroups = st.one_of(nobody, st.just(""))
netns = st.one_of(nobody, st.sampled_from([CONTAINER, CONTAINER, "", "0"]))
names = st.one_of(nobody, anything)
scalars = st.one_of(
    addresses,
    prefixes,
    quantities,
    names,
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.dates(),
)


def seldom(draw: st.DrawFn, one_in: int) -> bool:
    """True about once in so many; never for the simplest example."""
    return draw(st.integers(1, one_in)) == one_in


def toml(value: object) -> str:
    """A value as TOML has it; strings with escapes, so that it is TOML at least."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        safe = "".join(
            char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}"
            for char in value
            if not 0xD800 <= ord(char) < 0xE000
        )
        return f'"{safe}"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value)


values = st.one_of(scalars, st.lists(scalars, max_size=3)).map(toml)
tasks = st.one_of(st.sampled_from([sir(5), sir(6), sir(7)]), addresses)
homes = st.one_of(st.sampled_from([OTHER_LOCATOR, "2001:db8:42:9::/64"]), prefixes)
_KEYS: dict[str, dict[str, st.SearchStrategy[object]]] = {
    "up": {
        "uplink": st.sampled_from([UPLINK, "lo", "nothing", ""]),
        "sir-prefix": prefixes,
        "locator": prefixes,
        "block": prefixes,
        "gateway": addresses,
        "max-endpoints": st.sampled_from([64, 0, -1, 2**40, "64"]),
        "max-mappings": st.sampled_from([1024, 1, 2**63]),
        "xdp": st.sampled_from(["off", "native", True, 7]),
        "typed": st.booleans(),
    },
    "endpoint": {
        "sir": tasks,
        "netns": netns,
        "host": st.booleans(),
        "delivery": st.sampled_from(["stack", "xdp", "pigeon", 1]),
        "link": st.sampled_from(["veth", "netkit", "rope", 1]),
        "mtu": st.sampled_from([1500, 1280, 1279, 65536, -1, "1500"]),
        "any-source": st.booleans(),
        "cgroup": cgroups,
        "device": st.one_of(st.just("eth0"), names),
    },
    "mapping": {"sir": tasks, "locator": homes, "wire": addresses, "file": names},
    "limit": {
        "cgroup": cgroups,
        "rate": quantities,
        "pps": quantities,
        "burst": quantities,
        "mark-at": quantities,
        "action": st.sampled_from(["drop", "mark", "tag", "count", "never"]),
        "parent": cgroups,
        "tag-mark": st.one_of(quantities, st.integers()),
    },
}
# Never anything else: a number may be a process or a cgroup of the machine.
PLACES = ("cgroup", "parent", "netns")
# What is right; without it hardly any file would be.
_RIGHT: dict[str, st.SearchStrategy[object]] = {
    "sir": st.sampled_from([sir(number) for number in range(5, 9)]),
    "locator": st.sampled_from([OTHER_LOCATOR, "2001:db8:42:9::/64"]),
    "netns": st.just(CONTAINER),
}
KINDS = ("mapping", "mapping", "mapping", "endpoint", "limit", "nonsense")


@st.composite
def tables(draw: st.DrawFn, kinds: tuple[str, ...]) -> str:
    """One table; mostly with the keys that it needs, and now and then a value of any kind."""
    kind = draw(st.sampled_from(kinds))
    usual = draw(st.sampled_from((True, True, False)))
    wanted = {"mapping": ("sir", "locator"), "endpoint": ("sir", "netns")}.get(kind, ())
    lines = [f"[[{kind}]]" if kind != "up" else "[up]"]
    for key, values_of_key in _KEYS.get(kind, {}).items():
        if key not in wanted if usual and wanted else draw(st.booleans()):
            continue
        choice = (_RIGHT[key] if usual and wanted else values_of_key).map(toml)
        odd = key not in PLACES and seldom(draw, 10)
        value = draw(values if odd else choice)
        lines.append(f"{key} = {value}")
    if seldom(draw, 10):
        lines.append(f"{toml(draw(anything))} = {draw(values)}")
    return "\n".join(lines)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A file for `apply`: mostly whole, sometimes with bytes changed."""
    if not seldom(draw, 6):
        parts = [FILE_HEAD, *draw(st.lists(tables(KINDS), max_size=3))]
    else:
        parts = ["version = 1", *draw(st.lists(tables(("up", *KINDS)), max_size=3))]
    text = "\n".join([*parts, ""])
    raw = text.encode("utf-8", "replace")
    return raw if any(place in text for place in PLACES) else draw(changed(raw))


@st.composite
def changed(draw: st.DrawFn, data: bytes) -> bytes:
    """As it is, or with a few bytes changed, taken out, or cut."""
    raw = bytearray(data)
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2, 4)))):
        if not raw:
            break
        at = draw(st.integers(0, len(raw) - 1))
        if draw(st.booleans()):
            raw[at] = draw(st.integers(0, 255))
        else:
            del raw[at : at + draw(st.integers(1, 8))]
    return bytes(raw[: draw(st.integers(0, len(raw)))] if seldom(draw, 6) else raw)


@st.composite
def mapping_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Format and content of a file of mappings."""
    fields = draw(
        st.lists(
            st.sampled_from(["sir", "locator", "wire", "action", "generation", "x"]),
            min_size=1,
            max_size=4,
        )
    )
    cells = {"sir": addresses, "locator": prefixes, "wire": addresses}
    rows = [
        [draw(cells.get(field, anything)) for field in fields]
        for _ in range(draw(st.integers(0, 4)))
    ]
    if draw(st.booleans()):
        text = "\n".join([",".join(fields), *(",".join(row) for row in rows), ""])
        return "csv", draw(changed(text.encode("utf-8", "replace")))
    quoted = []
    for row in rows:
        pairs = [f"{toml(name)}: {toml(cell)}" for name, cell in zip(fields, row, strict=True)]
        quoted.append("{" + ", ".join(pairs) + "}")
    return "jsonl", draw(changed("\n".join(quoted).encode("utf-8", "replace")))


@st.composite
def captures(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    """A pcap file, now and then not quite."""
    order = draw(st.sampled_from("<>"))
    magic = draw(st.sampled_from((0xA1B2C3D4, 0xA1B23C4D, 0xA1B2C3D4, 0x0A0D0D0A)))
    link = draw(st.sampled_from((1, 1, 1, 101, 113, 276, 0, 999)))
    raw = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for frame in draw(st.lists(st.sampled_from(frames), max_size=4)):
        data = draw(changed(frame))
        length = draw(st.sampled_from((len(data), len(data), len(data), 0, 2**31)))
        raw += struct.pack(f"{order}IIII", 1, 2, length, len(frame)) + data
    return draw(changed(raw))
