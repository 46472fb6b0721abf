# SPDX-License-Identifier: Apache-2.0
"""Cgroups are found by path and number, and what is none is refused with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilax.errors import IlaxError, NotFoundError, UsageError
from ilax.system import cgroups
from ilax.system.cgroups import Tree
from lab.cgroups import Cgroups, own_cgroups


@pytest.fixture
def own() -> Iterator[Cgroups]:
    with own_cgroups(f"ilxcgroups{os.getpid():x}") as made:
        made.make("a/b")
        made.make("with blank")
        yield made


def test_every_way_to_name_one_leads_to_it(own: Cgroups, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(own.top / "a")
    number = own.id("a/b")
    for text in (
        f"{own.name}/a/b",
        f"{own.name}/a/./b/",
        f"{own.name}/a/../a/b",
        str(own.top / "a" / "b"),
        str(link / "b"),
        str(number),
    ):
        found = Tree.read().find(text)
        assert found.id == number
        assert (found.path, found.name) == (own.top / "a" / "b", f"{own.name}/a/b")
        assert found.ancestors == (own.id("a"), own.id(""), 1)
        assert found.depth == 3
    assert Tree.read().find(f"{own.name}/with blank").depth == 2


def test_the_root_is_a_cgroup(own: Cgroups) -> None:
    for text in (".", "1", str(own.top.parent)):
        found = Tree.read().find(text)
        assert (found.id, found.name, found.depth) == (1, ".", 0)


def test_all_are_in_the_tree(own: Cgroups) -> None:
    tree = Tree.read()
    for folder, _, _ in os.walk(cgroups.root()):
        assert Path(folder).stat().st_ino in tree.by_id
    gone = own.id("a/b")
    own.remove("a/b")
    assert gone not in Tree.read().by_id
    assert Tree.read().name(gone) == str(gone)


def test_what_is_none_is_refused(own: Cgroups) -> None:
    cases: list[tuple[str, type[IlaxError], str]] = [
        ("/tmp", UsageError, "is no cgroup"),
        (f"{own.name}/a/cgroup.procs", UsageError, "a file of a cgroup"),
        (f"{own.name}/no", NotFoundError, "does not exist"),
        (f"{own.name}/a/cgroup.procs/x", NotFoundError, "does not exist"),
        ("/no/such", NotFoundError, "does not exist"),
        ("../../..", UsageError, "is no cgroup"),
        ("18446744073709551615", NotFoundError, "no cgroup has number"),
    ]
    for text, kind, words in cases:
        with pytest.raises(kind, match=words) as refused:
            Tree.read().find(text)
        assert "nothing was changed" in str(refused.value)


def test_a_v1_hierarchy_is_told_apart(own: Cgroups, tmp_path: Path) -> None:
    """One of our own: a named hierarchy without controllers, gone with its mount."""
    mounted = tmp_path / "v1"
    mounted.mkdir()
    mount = ["mount", "-t", "cgroup", "-o", "none,name=ilxv1", "none", str(mounted)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this kernel has no cgroup v1")
    try:
        with pytest.raises(UsageError, match="cgroup v1 hierarchy") as refused:
            Tree.read().find(str(mounted))
        assert str(cgroups.root()) in str(refused.value.hint)
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_part_of_the_hierarchy_is_not_enough(own: Cgroups, tmp_path: Path) -> None:
    """In a cgroup namespace depths would be wrong, so it is said instead."""
    program = tmp_path / "program.py"
    program.write_text(
        "from ilax.system import cgroups\n"
        "try:\n    cgroups.root()\n"
        "except Exception as error:\n    print(error)\n"
    )
    # In mounts of its own: those of before would still show everything.
    inside = (
        "for m in $(awk '/ cgroup2 /{print $5}' /proc/self/mountinfo); do umount $m; done; "
        f"mount -t cgroup2 none {tmp_path} && exec {sys.executable} -"
    )
    joined = f"echo $$ > {own.top}/a/cgroup.procs && exec unshare --cgroup --mount sh -c"
    with program.open() as text:
        done = subprocess.run(
            ["sh", "-c", f'{joined} "$0"', inside],
            check=False, capture_output=True, text=True, stdin=text,
        )  # fmt: skip
    assert "shows only a part" in done.stdout, done
