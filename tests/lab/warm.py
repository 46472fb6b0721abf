# SPDX-License-Identifier: Apache-2.0
"""Runs many `ilax` commands without starting Python and importing each time.

A process that has everything imported forks for each command; the child enters
the namespace and runs the command like any other process: with arguments, three
streams and an exit code. Only the start-up is saved, which takes most of the
time of hundreds of small commands.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pkgutil
import select
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lab.netns import enter

_MESSAGE_BYTES = 1 << 16


class WarmRunner:
    """The process and the way to it; close it at the end.

    Args:
        env: added to the environment of all commands.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lab.warm", str(other.fileno())],
                pass_fds=[other.fileno()],
                start_new_session=True,
                env={**os.environ, **env, "OPENBLAS_NUM_THREADS": "1"},
            )

    def run(
        self, namespace: Path, args: Sequence[str], text_in: str | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `ilax` with arguments in a namespace; the caller looks at the exit code.

        Raises:
            subprocess.TimeoutExpired: it took longer than `timeout` seconds.
        """
        streams = [os.memfd_create(name) for name in ("in", "out", "err")]
        ended, reply = os.pipe()
        try:
            os.write(streams[0], (text_in or "").encode())
            os.lseek(streams[0], 0, os.SEEK_SET)
            message = json.dumps([str(namespace), list(args)]).encode()
            with self._lock:
                socket.send_fds(self._control, [message], [*streams, reply])
            os.close(reply)
            reply = -1
            if not select.select([ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(["ilax", *args], timeout)
            code = int(os.read(ended, 16) or b"255")
            out, err = (_whole_file(fd) for fd in streams[1:])
        finally:
            for fd in (*streams, ended, *([reply] if reply >= 0 else [])):
                os.close(fd)
        return subprocess.CompletedProcess(["ilax", *args], code, out, err)

    def close(self) -> None:
        """End the process."""
        self._control.close()
        self._process.wait(timeout=10)


def _whole_file(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0).decode()


def _serve(control: socket.socket) -> None:
    import ilax

    for module in pkgutil.walk_packages(ilax.__path__, "ilax."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    while True:
        message, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 4)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _supervise(json.loads(message), fds)
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _supervise(request: tuple[str, list[str]], fds: list[int]) -> NoReturn:
    """Report how the command has ended, however that was."""
    *streams, reply = fds
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        _command(*request, streams)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(reply, str(code).encode())
    os._exit(0)


def _command(namespace: str, args: list[str], streams: list[int]) -> NoReturn:
    code = 1
    try:
        with Path(namespace).open() as there:
            enter(there.fileno())
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
            os.close(fd)
        sys.stdin, sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(fd, mode, closefd=False), line_buffering=True)
            for fd, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        sys.argv = ["ilax", *args]
        from ilax.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
