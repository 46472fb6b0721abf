# SPDX-License-Identifier: Apache-2.0
"""One loader at a time, although the folder that is locked comes and goes."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
from pathlib import Path

from ilax.instances import lock_wait
from ilax.instances.pins import PinFolder
from lab.line import line
from lab.wait import until

from .conftest import Lab, sir

LOADERS, ROUNDS = 6, 300


def _take_turns(folder: PinFolder, token: Path) -> None:
    for _ in range(ROUNDS):
        with folder.lock():
            os.close(os.open(token, os.O_CREAT | os.O_EXCL))
            token.unlink()


def test_nobody_shares_the_lock(tmp_path: Path) -> None:
    folder = PinFolder("unused")
    folder.root = tmp_path / "root"
    children = []
    for _ in range(LOADERS):
        child = os.fork()
        if not child:
            try:
                _take_turns(folder, tmp_path / "token")
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * LOADERS
    assert not folder.root.exists()


def test_a_long_wait_says_for_whom(running: Lab) -> None:
    with line(running.instance) as waiting:
        stream = waiting.join("mapping", "del", sir(1)).stderr
        assert stream is not None
        until(lambda: select.select([stream.fileno()], [], [], 0)[0], "word of the wait")
    (done,) = waiting.ended
    (told, *more) = done.stderr.splitlines()
    assert f"waiting for the lock on {PinFolder(running.instance).root}" in told
    own = Path("/proc/self/cmdline").read_text().split("\0")[0]
    assert f"which process {os.getpid()} has taken: {own} " in told
    # Once, and of the command itself only what it has to say anyway.
    assert not any("waiting" in text for text in more)


def test_a_lock_that_a_child_has_inherited_is_nobodys_by_name(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    hold, release = os.pipe()
    owner = os.fork()
    if not owner:
        # A lock of its own, which the child shares.
        mine = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(mine, fcntl.LOCK_EX)
        if not os.fork():
            os.close(release)
            os.read(hold, 1)
        os._exit(0)
    os.waitpid(owner, 0)
    try:
        assert f"which process {owner} has taken; it has ended" in lock_wait.holder(tmp_path)
    finally:
        os.close(release)
        os.close(hold)
    fcntl.flock(fd, fcntl.LOCK_EX)  # when the child has ended
    os.close(fd)
    assert "not in sight" in lock_wait.holder(tmp_path)


def test_what_a_process_calls_itself_is_no_order_to_a_terminal(tmp_path: Path) -> None:
    code = (
        "import fcntl,os,sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path, "\x1b[2J"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as job:  # fmt: skip
        assert job.stdout is not None
        job.stdout.readline()
        told = lock_wait.holder(tmp_path)
        job.kill()
    assert f"which process {job.pid} has taken: " in told
    assert told.endswith(f"{tmp_path} ?[2J")
