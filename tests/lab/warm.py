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
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from lab import notices
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
        return self._run(namespace, args, text_in, timeout, None)[0]

    def run_stepwise(
        self, namespace: Path, args: Sequence[str], stop: int
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """Run it under the eyes of `lab.notices`, which see.

        Returns:
            How it has ended, and the steps it took.
        """
        return self._run(namespace, args, None, 300, stop)

    def _run(
        self,
        namespace: Path,
        args: Sequence[str],
        text_in: str | None,
        timeout: float,
        stop: int | None,
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        streams = [os.memfd_create(name) for name in ("in", "out", "err", "steps")]
        ended, reply = os.pipe()
        try:
            os.write(streams[0], (text_in or "").encode())
            os.lseek(streams[0], 0, os.SEEK_SET)
            message = json.dumps([str(namespace), list(args), stop]).encode()
            with self._lock:
                socket.send_fds(self._control, [message], [*streams, reply])
            os.close(reply)
            reply = -1
            if not select.select([ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(["ilax", *args], timeout)
            code = int(os.read(ended, 16) or b"255")
            out, err, steps = (_whole_file(fd) for fd in streams[1:])
        finally:
            for fd in (*streams, ended, *([reply] if reply >= 0 else [])):
                os.close(fd)
        done = subprocess.CompletedProcess(["ilax", *args], code, out, err)
        return done, json.loads(steps or "[]")

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
    _learn_tags()
    while True:
        message, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 5)
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


def _learn_tags() -> None:
    """What `ilax check` compares programs with: half of its time, each time the same."""
    from ilax.bpf import Object
    from ilax.check import installed
    from ilax.contract import schema

    with Object.open(schema.object_path("abi")) as contract, ExitStack() as held:
        for name in ("ilax_endpoints", "ilax_mappings", "ilax_traffic", "ilax_limits"):
            contract.maps[name].set_max_entries(2)
        contract.load()
        maps = {name: held.enter_context(one.open()) for name, one in contract.maps.items()}
        installed.programs(maps)


def _supervise(request: tuple[str, list[str], int | None], fds: list[int]) -> NoReturn:
    """Report how the command has ended, however that was."""
    *streams, steps, reply = fds
    namespace, args, stop = request
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        _command(namespace, args, streams, None if stop is None else theirs)
    theirs.close()
    if stop is not None:
        _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        os.write(steps, json.dumps(notices.follow(listener, pid, stop)).encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(reply, str(code).encode())
    os._exit(0)


def _command(
    namespace: str, args: list[str], streams: list[int], listener: socket.socket | None
) -> NoReturn:
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

        if listener is not None:
            with listener:
                socket.send_fds(listener, [b"."], [notices.listen()])
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
