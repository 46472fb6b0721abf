# SPDX-License-Identifier: Apache-2.0
"""Parents of limits: they follow the cgroups, keep what was chosen, and never cycle."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilax.contract import schema
from ilax.errors import UsageError
from ilax.limiting.limit_tree import LEVELS, LimitTree, Parent

# 1 is the root; a cgroup's folder is in that of a smaller number.
COUNT = 12
SHAPES = st.tuples(*(st.integers(1, n) for n in range(1, COUNT)))


def ancestors(shape: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {1: ()}
    for number, folder in enumerate(shape, 2):
        found[number] = (folder, *found[folder])
    return found


def test_levels_are_those_of_the_contract() -> None:
    assert schema.enum("ilax_size")["ILAX_LIMIT_PARENTS"] == LEVELS


@given(SHAPES, st.lists(st.tuples(st.integers(1, COUNT), st.booleans()), max_size=30))
def test_the_order_of_commands_does_not_matter(
    shape: tuple[int, ...], steps: list[tuple[int, bool]]
) -> None:
    """Whoever chooses nothing gets the nearest limit above, whatever came first."""
    tree = LimitTree(ancestors=ancestors(shape))
    for cgroup, add in steps:
        if add:
            tree = tree.add(cgroup, limited=True, parent=None)
        elif cgroup in tree.limited:
            tree = tree.remove([cgroup])
    for cgroup in tree.parents:
        above = [c for c in tree.ancestors[cgroup] if c in tree.limited]
        assert tree.parents[cgroup] == (above[0] if above else 0)
        assert tree.nested(cgroup) == any(cgroup in tree.ancestors[c] for c in tree.limited)


@given(
    SHAPES,
    st.lists(
        st.tuples(st.integers(1, COUNT), st.sampled_from(["limit", "empty", "remove"]),
                  st.one_of(st.none(), st.sampled_from(["auto", "none"]), st.integers(1, COUNT))),
        max_size=30,
    ),
)  # fmt: skip
def test_a_tree_that_is_accepted_is_one(
    shape: tuple[int, ...], steps: list[tuple[int, str, object]]
) -> None:
    tree = LimitTree(ancestors=ancestors(shape))
    for cgroup, step, parent in steps:
        try:
            if step == "remove":
                changed = tree.remove([cgroup]) if cgroup in tree.parents else tree
            elif step == "empty":
                known = cgroup in tree.parents
                changed = tree if known else tree.add(cgroup, limited=False, parent=None)
            else:
                changed = tree.add(cgroup, limited=True, parent=parent)  # type: ignore[arg-type]
            chains = changed.chains()
        except UsageError:
            continue
        tree = changed
        for number, chain in chains.items():
            assert len(chain) <= LEVELS
            assert number not in chain
            assert len(set(chain)) == len(chain)
            assert set(chain) <= tree.limited
            # Each level sees the same levels above as its children do.
            assert not chain or chain[1:] == chains[chain[0]]


LINE = {n: tuple(range(n - 1, 0, -1)) for n in range(1, 8)}


PARENTS = st.one_of(st.sampled_from(["auto", "none"]), st.integers(1, COUNT))


@given(SHAPES, st.lists(st.tuples(st.integers(1, COUNT), PARENTS), max_size=8),
       st.dictionaries(st.integers(1, COUNT), PARENTS))  # fmt: skip
def test_many_at_once_are_as_one_after_the_other(
    shape: tuple[int, ...],
    before: list[tuple[int, Parent]],
    wanted: dict[int, Parent],
) -> None:
    tree = LimitTree(ancestors=ancestors(shape))
    for cgroup, parent in before:
        with contextlib.suppress(UsageError):
            tree = tree.add(cgroup, limited=True, parent=parent)
    slow, refused = tree, False
    try:
        # The right parent may come later.
        for cgroup in wanted:
            slow = slow.add(cgroup, limited=True, parent="none")
        for cgroup, parent in wanted.items():
            slow = slow.add(cgroup, limited=True, parent=parent)
    except UsageError:
        refused = True
    try:
        assert tree.add_all(wanted) == slow
        assert not refused
    except UsageError:
        assert refused


def test_ten_thousand_at_once() -> None:
    """By the square of their number this would take minutes."""
    count = 10_000
    above = {n: (n // 10 * 10,) if n % 10 else () for n in range(10, count + 10)}
    tree = LimitTree(ancestors=above).add_all(dict.fromkeys(above, "auto"))
    assert tree.parents == {n: n // 10 * 10 if n % 10 else 0 for n in above}


def test_a_choice_stays() -> None:
    tree = LimitTree(ancestors=LINE)
    for cgroup in (2, 3):
        tree = tree.add(cgroup, limited=True, parent=None)
    tree = tree.add(6, limited=True, parent=2)
    tree = tree.add(7, limited=True, parent="none")
    tree = tree.add(5, limited=True, parent=None)
    assert tree.parents == {2: 0, 3: 2, 5: 3, 6: 2, 7: 0}
    assert tree.add(6, limited=True, parent="auto").parents[6] == 5


def test_an_explicit_cycle_is_refused() -> None:
    tree = LimitTree(ancestors={1: (), 2: (1,), 3: (1,), 4: (1,)})
    tree = tree.add(2, limited=True, parent=None)
    tree = tree.add(3, limited=True, parent=2).add(4, limited=True, parent=3)
    for parent in (2, 3, 4):
        with pytest.raises(UsageError, match="its own parent"):
            tree.add(2, limited=True, parent=parent).chains()


def test_a_fifth_level_is_refused_wherever_it_comes_in() -> None:
    tree = LimitTree(ancestors=LINE)
    for cgroup in (1, 2, 4, 5, 6):
        tree = tree.add(cgroup, limited=True, parent=None)
    assert len(tree.chain(6)) == LEVELS
    for new in (3, 7):
        with pytest.raises(UsageError, match="5 levels"):
            tree.add(new, limited=True, parent=None).chains()
    assert tree.add(7, limited=True, parent="none").chain(7) == ()


def test_only_a_limit_can_be_a_parent() -> None:
    tree = LimitTree(ancestors=LINE).add(2, limited=False, parent=None)
    for parent in (2, 3):
        with pytest.raises(UsageError, match="has no limit"):
            tree.add(4, limited=True, parent=parent)
    assert tree.add(4, limited=True, parent=None).parents[4] == 0


def test_children_go_to_the_parent_of_what_was_removed() -> None:
    tree = LimitTree(ancestors=LINE)
    for cgroup in (1, 2, 3, 4):
        tree = tree.add(cgroup, limited=True, parent=None)
    assert tree.remove([2, 3]).parents == {1: 0, 4: 1}
    assert tree.remove([3], keep=[3]).parents == {1: 0, 2: 1, 3: 2, 4: 2}
