# SPDX-License-Identifier: Apache-2.0
"""Network namespaces are found by their names and by the processes in them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ilax.system import namespaces
from ilax.system.netlink import NAMED, namespace_path
from lab.cleanup import owned, unwinding_signals
from lab.wait import until

from .conftest import TAG

NAME, LEFTOVER = f"{TAG}-n", f"{TAG}-x"
OWN = Path("/proc/self/ns/net")


def _running(*argv: str) -> Iterator[int]:
    """A process that sleeps in a namespace, as long as it is looked at."""
    with subprocess.Popen([*argv, "sleep", "600"]) as process:
        try:
            path = Path(f"/proc/{process.pid}/ns/net")
            until(lambda: path.stat().st_ino != OWN.stat().st_ino, "it is in its namespace")
            yield process.pid
        finally:
            process.terminate()


@pytest.fixture
def named() -> Iterator[int]:
    """A process in a namespace with a name, beside a file that only lies there."""
    with unwinding_signals(), owned(TAG), ExitStack() as undo:
        subprocess.run(["ip", "netns", "add", NAME], check=True)
        undo.callback(subprocess.run, ["ip", "netns", "del", NAME], check=True)
        (NAMED / LEFTOVER).touch()
        undo.callback((NAMED / LEFTOVER).unlink)
        yield from _running("ip", "netns", "exec", NAME)


@pytest.fixture
def nameless() -> Iterator[int]:
    """A process in a namespace without a name."""
    yield from _running("unshare", "--net")


def test_each_is_found_once_and_names_come_first(named: int, nameless: int) -> None:
    found = list(namespaces.each())
    paths = [path for _, path in found]
    assert len(dict(found)) == len(found)
    assert paths.index(NAMED / NAME) < paths.index(Path(f"/proc/{nameless}/ns/net"))
    assert not {NAMED / LEFTOVER, Path(f"/proc/{named}/ns/net")} & set(paths)


@pytest.mark.usefixtures("named")
def test_a_name_leads_back_to_its_namespace(nameless: int) -> None:
    process = Path(f"/proc/{nameless}/ns/net")
    for path, name in ((NAMED / NAME, NAME), (process, str(nameless))):
        assert namespaces.visible()[path.stat().st_ino] == path
        assert namespaces.name_of(path) == name
        assert namespace_path(name) == path
    # Digits alone would be the number of a process.
    assert namespaces.name_of(NAMED / "17") == "/run/netns/17"
