# SPDX-License-Identifier: Apache-2.0
"""Neutral arithmetic three times: the model, the product's Python, and the datapath.

The model anchors on the example that the draft's rules give on paper, and the
other two have to agree with it.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapath import packets as p
from datapath import plan
from datapath.fill import mapping_row
from datapath.plan import CBIT, DOMAINS, PLAN, Domain
from datapath.world import Packet, World
from ilax import address as product
from model import Hook, Mapping
from model import address as model

# For each combination of hook and SIR domain.
CASES = max(int(os.environ.get("ILAX_CASES", "1000")) // 4, 1)
SIR = model.address("2001:db8:5a5a:1:2000:7:a1b2:c3d4")
LOCATOR = model.upper("2001:db8:42:7::")
EDGES = (0x0001, 0x7FFF, 0x8000, 0xEFFF, 0xF000, 0xFFFE, 0xFFFF)
halves = st.binary(min_size=8, max_size=8)
each_domain = pytest.mark.parametrize("domain", DOMAINS, ids=["cbit", "auto", "untyped"])


def test_the_model_gives_the_worked_example() -> None:
    with_c, without = (model.to_wire(SIR, LOCATOR, c_bit) for c_bit in (True, False))
    assert with_c == model.address("2001:db8:42:7:3000:7:a1b2:de7")
    assert without == model.address("2001:db8:42:7:2000:7:a1b2:1de7")
    assert model.total(model.words(SIR)) == 0x0DA3
    assert model.total(model.words(with_c)) == 0x0DA3
    assert model.total(model.words(without)) == 0x0DA3


@pytest.mark.parametrize("c_bit", [True, False])
def test_the_model_restores_every_last_word_except_zero(c_bit: bool) -> None:
    lost = []
    for word in range(0x10000):
        sir = SIR[:14] + word.to_bytes(2, "big")
        if model.to_sir(model.to_wire(sir, LOCATOR, c_bit), SIR[:8], c_bit) != sir:
            lost.append(word)
    assert lost == [0]


@settings(max_examples=CASES, deadline=None)
@given(halves, halves, halves, st.booleans())
def test_the_product_agrees(sir_prefix: bytes, locator: bytes, low: bytes, c_bit: bool) -> None:
    # The draft has no prefix of ones or zeros alone, and neither has an operator.
    sir_prefix = b"\x20" + sir_prefix[1:]
    locator = b"\x20" + locator[1:]
    low = bytes([low[0] & (0x0F if c_bit else 0xFF) | 0x20]) + low[1:7] + bytes([low[7] | 1])
    sir = sir_prefix + low
    wire = model.to_wire(sir, locator, c_bit)
    number = int.from_bytes(locator, "big")
    assert product.to_wire(product.Address.from_bytes(sir), number, cbit=c_bit).packed == wire
    back = int.from_bytes(sir_prefix, "big")
    assert product.to_sir(product.Address.from_bytes(wire), back, cbit=c_bit).packed == sir


def _error_comes_back(world: World, domain: Domain, hook: Hook, low: bytes) -> None:
    """The datapath undoes a quoted wire address, or the lookup behind it misses."""
    sir = domain.sir + low
    wire = model.to_wire(sir, domain.far, domain.c_bit)
    mappings = world.maps["ilax_mappings"]
    known = mappings.lookup(sir)
    mappings.update(sir, mapping_row(Mapping(wire)))
    try:
        dst, after = CBIT.here(plan.STACK_TASK), CBIT.name(plan.STACK_TASK)
        result = world.run(hook, Packet(p.ether(p.error(p.quoted(wire))(dst, 64))))
        assert result.data == p.ether(p.error(p.quoted(sir))(after, 63))
    finally:
        if known is None:
            mappings.delete(sir)
        else:
            mappings.update(sir, known)


@each_domain
@pytest.mark.parametrize("hook", [Hook.XDP, Hook.UPLINK_IN], ids=lambda hook: hook.name.lower())
def test_the_datapath_agrees(world: World, domain: Domain, hook: Hook) -> None:
    world.use(PLAN)
    step = max(1, 0x10000 // CASES)
    for word in {*range(1, 0x10000, step), *EDGES}:
        low = model.address(f"::2000:7:0:{word:x}")[8:]
        _error_comes_back(world, domain, hook, low)


@each_domain
@settings(max_examples=CASES, deadline=None)
@given(low=halves)
def test_the_datapath_agrees_on_any_identifier(world: World, domain: Domain, low: bytes) -> None:
    world.use(PLAN)
    first = low[0] & 0xEF if domain.c_bit else low[0]
    if domain.typed and not first >> 5:
        first |= 0x20
    _error_comes_back(world, domain, Hook.XDP, bytes([first]) + low[1:7] + bytes([low[7] | 1]))
