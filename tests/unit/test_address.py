# SPDX-License-Identifier: Apache-2.0
"""Address arithmetic: text forms, refusals, and translation there and back."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilax import address, address_bulk
from ilax.address import Address, IdentifierError, IdentifierType, Prefix
from ilax.errors import AddressError

SIR = address.parse("2001:db8:5a5a:1:2000:7:a1b2:c3d4")
LOCATOR = address.parse_prefix("2001:db8:42:7::/64").upper

halves = st.integers(0, address.HALF_MASK)
# Prefixes of real networks: neither all zeros nor all ones.
prefixes = st.integers(1, address.HALF_MASK - 1)


@pytest.mark.parametrize(
    ("cbit", "wire"),
    [
        (True, "2001:db8:42:7:3000:7:a1b2:de7"),
        (False, "2001:db8:42:7:2000:7:a1b2:1de7"),
    ],
)
def test_the_worked_example(cbit: bool, wire: str) -> None:
    translated = address.to_wire(SIR, LOCATOR, cbit=cbit)
    assert str(translated) == wire
    assert translated.checksum == SIR.checksum == 0x0DA3
    assert address.to_sir(translated, SIR.prefix, cbit=cbit) == SIR


@pytest.mark.parametrize("locator", [LOCATOR, SIR.prefix])
@pytest.mark.parametrize("cbit", [True, False])
def test_every_last_word_comes_back_except_zero(cbit: bool, locator: int) -> None:
    base = SIR.identifier & ~0xFFFF
    for word in range(1, 0x10000):
        sir = Address(SIR.prefix, base | word)
        wire = address.to_wire(sir, locator, cbit=cbit)
        assert wire.checksum == sir.checksum
        assert address.to_sir(wire, SIR.prefix, cbit=cbit) == sir
    with pytest.raises(IdentifierError, match="last 16 bits"):
        address.to_wire(Address(SIR.prefix, base), locator, cbit=cbit)


@given(prefixes, prefixes, halves, st.booleans())
def test_round_trip(prefix: int, locator: int, identifier: int, cbit: bool) -> None:
    if cbit:
        identifier &= ~address.CBIT
    sir = Address(prefix, identifier & ~0xFFFF | (identifier & 0xFFFF or 1))
    wire = address.to_wire(sir, locator, cbit=cbit, typed=False)
    assert wire.prefix == locator
    assert wire.cbit is cbit or not cbit
    assert wire.checksum == sir.checksum
    assert address.to_sir(wire, prefix, cbit=cbit) == sir


@pytest.mark.parametrize(
    ("identifier", "options", "why"),
    [
        (0x2000_0007_A1B2_0000, {}, "last 16 bits"),
        (0x0000_0007_A1B2_C3D4, {}, "type 0"),
        (0x3000_0007_A1B2_C3D4, {}, "C-bit"),
        (0x2000_0007_A1B2_0000, {"typed": False, "cbit": False}, "last 16 bits"),
    ],
)
def test_identifiers_without_a_neutral_mapping_are_refused(
    identifier: int, options: dict[str, bool], why: str
) -> None:
    with pytest.raises(IdentifierError, match=why):
        address.to_wire(Address(SIR.prefix, identifier), LOCATOR, **options)
    rows = np.array([[SIR.prefix, SIR.identifier], [SIR.prefix, identifier]], ">u8")
    assert address_bulk.refused_rows(rows, **options).tolist() == [1]
    with pytest.raises(IdentifierError, match=r"1 of 2 addresses .* row 1"):
        address_bulk.to_wire(rows, LOCATOR, **options)


def test_type_and_cbit_are_free_where_they_are_not_used() -> None:
    for identifier in (0x0000_0007_A1B2_C3D4, 0x3000_0007_A1B2_C3D4):
        sir = Address(SIR.prefix, identifier)
        wire = address.to_wire(sir, LOCATOR, cbit=False, typed=False)
        assert address.to_sir(wire, SIR.prefix, cbit=False) == sir


@pytest.mark.parametrize(
    ("identifier", "cbit"), [(SIR.identifier, True), (0x3000_0007_A1B2_0000, False)]
)
def test_what_no_mapping_made_is_not_undone(identifier: int, cbit: bool) -> None:
    with pytest.raises(IdentifierError):
        address.to_sir(Address(LOCATOR, identifier), SIR.prefix, cbit=cbit)
    with pytest.raises(IdentifierError, match="1 of 1 addresses"):
        address_bulk.to_sir(np.array([[LOCATOR, identifier]], ">u8"), SIR.prefix, cbit=cbit)


@pytest.mark.parametrize("number", range(8))
def test_types(number: int) -> None:
    kind = Address(SIR.prefix, number << 61 | 1).type
    assert kind is IdentifierType(number)
    assert kind.label
    assert (kind.label == "reserved") == (number in (6, 7))


@pytest.mark.parametrize(
    "text",
    ["", "::g", "1:2:3", "2001:db8::1::2", "2001:db8::1/64", " ::1", "::1\n", "::1%eth0",
     "10.0.0.1", "\0", "::\0", "\ud800"],
)  # fmt: skip
def test_malformed_addresses(text: str) -> None:
    with pytest.raises(AddressError):
        address.parse(text)
    with pytest.raises(AddressError, match="row 1"):
        address_bulk.parse_texts(["::1", text])


@pytest.mark.parametrize(
    "text",
    ["2001:db8::", "2001:db8::/", "2001:db8::/x", "2001:db8::/0", "2001:db8::/65", "2001:db8::/-1",
     "2001:db8::1/64", "2001:db8:0:1::/48", "/64", "2001:db8::/64/64", "2001:db8::/\u0664"],
)  # fmt: skip
def test_malformed_prefixes(text: str) -> None:
    with pytest.raises(AddressError):
        address.parse_prefix(text)


def test_prefixes() -> None:
    block = address.parse_prefix("2001:db8::/32")
    assert str(block) == "2001:db8::/32"
    assert block.mask == 0xFFFFFFFF00000000
    assert SIR in block
    assert Prefix(SIR.prefix) in block
    assert block not in Prefix(SIR.prefix)
    assert address.parse("2001:db9::1") not in block
    assert "2001:db8::1" not in block
    assert address.parse_prefix("2001:db8::", length=64) == Prefix(block.upper)
    with pytest.raises(AddressError, match="must be a /64"):
        address.parse_prefix("2001:db8::/48", length=64)


def test_halves_and_bytes_are_checked() -> None:
    assert Address.from_bytes(SIR.packed) == SIR
    with pytest.raises(AddressError, match="16 bytes"):
        Address.from_bytes(b"\0" * 15)
    for prefix, identifier in ((-1, 0), (1 << 64, 0), (0, -1), (0, 1 << 64)):
        with pytest.raises(AddressError, match="64 bits"):
            Address(prefix, identifier)
    with pytest.raises(AddressError, match="64 bits"):
        address.to_wire(SIR, 1 << 64)


def test_encode_and_decode_explain() -> None:
    there = address.encode(str(SIR), "2001:db8:42:7::/64")
    assert there.wire == "2001:db8:42:7:3000:7:a1b2:de7"
    assert there.type_name == "locally unique identifier"
    assert (there.adjustment, there.difference, there.cbit) == (0x0DE7, 0x4A12, True)
    assert address.decode(there.wire, "2001:db8:5a5a:1::/64") == there
    seen = address.decode(str(SIR), "2001:db8:5a5a:1::/64")
    assert (seen.sir, seen.wire, seen.locator, seen.cbit) == (str(SIR), None, None, False)
    assert seen.adjustment == 0xC3D4
    with pytest.raises(AddressError, match="must be a /64"):
        address.decode(str(SIR), "2001:db8::/32")


@pytest.mark.parametrize("dtype", [">u8", "<u8"])
@pytest.mark.parametrize("cbit", [True, False])
def test_arrays_agree_with_single_addresses(dtype: str, cbit: bool) -> None:
    random = np.random.default_rng(20261123)
    sir = random.integers(1, 1 << 63, (4096, 2), np.uint64).astype(dtype)
    sir[:, 1] &= np.uint64(0x6FFF_FFFF_FFFF_FFFF)
    sir[:, 1] |= np.uint64(0x2000_0000_0000_0001)
    locators = random.integers(1, 1 << 63, 4096, np.uint64)
    for rows, locator in ((sir, locators), (sir, LOCATOR)):
        wire = address_bulk.to_wire(rows, locator, cbit=cbit)
        assert wire.dtype == rows.dtype
        for row in range(0, 4096, 7):
            single = Address(*map(int, rows[row]))
            target = locator if isinstance(locator, int) else int(locator[row])
            assert Address(*map(int, wire[row])) == address.to_wire(single, target, cbit=cbit)
        assert (address_bulk.to_sir(wire, rows[:, 0], cbit=cbit) == rows).all()
    sir[:, 0] = SIR.prefix
    wire = address_bulk.to_wire(sir, LOCATOR, cbit=cbit)
    assert (address_bulk.to_sir(wire, SIR.prefix, cbit=cbit) == sir).all()


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=8))
def test_bulk_text(raw: list[bytes]) -> None:
    rows = np.frombuffer(b"".join(raw), ">u8").reshape(-1, 2)
    texts = address_bulk.format_texts(rows)
    assert texts == [str(Address.from_bytes(item)) for item in raw]
    assert (address_bulk.parse_texts(texts) == rows).all()


def test_arrays_of_other_shapes_are_refused() -> None:
    for rows in (np.zeros(2, ">u8"), np.zeros((2, 3), ">u8"), np.zeros((2, 2), "<i8")):
        with pytest.raises(AddressError):
            address_bulk.refused_rows(rows)
    with pytest.raises(AddressError, match="64 bits"):
        address_bulk.to_wire(np.array([[SIR.prefix, SIR.identifier]], ">u8"), 1 << 64)


def test_no_rows_is_not_an_error() -> None:
    none = np.empty((0, 2), ">u8")
    assert address_bulk.to_wire(none, LOCATOR).shape == (0, 2)
    assert address_bulk.parse_texts([]).shape == (0, 2)


def test_single_addresses_do_not_need_numpy() -> None:
    code = "import sys, ilax.address; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
