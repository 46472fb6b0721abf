# SPDX-License-Identifier: Apache-2.0
"""The table of hooks says what the contract, the objects and the kernel say."""

from __future__ import annotations

import pytest

from ilax.bpf import Object
from ilax.contract import schema
from ilax.hooks import places
from ilax.hooks.places import ALL, CGROUP, CONTAINER, UPLINK_INGRESS, XDP_INGRESS, Kind
from ilax.watching.counters import hook_names

_by_name = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)


def test_each_hook_of_the_contract_has_its_row() -> None:
    # "user" is of programs of third parties.
    assert [kind.name for kind in ALL] == [n for n in hook_names().values() if n != "user"]


@_by_name
def test_objects_have_the_program(kind: Kind) -> None:
    for name in kind.objects:
        with Object.open(schema.object_path(name)) as obj:
            assert list(obj.programs) == [kind.program]


@_by_name
def test_a_link_tells_its_kind_and_number(kind: Kind) -> None:
    link = kind.link_of(17)
    assert places.of_link(link) is kind
    assert kind.number_of(link) == (17 if kind.many else None)
    assert all(other.number_of(link) is None for other in ALL if other is not kind)


def test_what_waits_beside_a_link_is_told_by_its_name() -> None:
    assert places.is_beside(places.beside(XDP_INGRESS.link))
    assert not any(places.is_beside(kind.link_of(17)) for kind in ALL)
    assert places.of_link(places.beside(UPLINK_INGRESS.link)) is None
    assert CONTAINER.number_of(places.beside(CONTAINER.link_of(17))) is None
    assert CGROUP.number_of("cgroup_") is None
