# SPDX-License-Identifier: Apache-2.0
"""One loader at a time, although the folder that is locked comes and goes."""

from __future__ import annotations

import os
from pathlib import Path

from ilax.instances.pins import PinFolder

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
