# SPDX-License-Identifier: Apache-2.0
"""Nothing stays behind: signals unwind like errors, dead runs are swept up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from lab.netns import FOLDER, Namespace, run

PREFIX = "ilx"
_LOCKS = Path("/run/ilax-lab")
_PINS = Path("/sys/fs/bpf/ilax")


@contextlib.contextmanager
def unwinding_signals() -> Iterator[None]:
    """SIGTERM, SIGHUP and SIGINT raise KeyboardInterrupt.

    So every context manager gets to clean up. SIGINT does so already, unless this runs in
    the background of a shell: then it is ignored, also by all commands that are started.
    Only the main thread may use this.
    """
    owner = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A fork, such as the one by which pyroute2 gets a socket in another
            # namespace, and which it ends so: nothing here is its to clean up.
            os._exit(128 + number)
        raise KeyboardInterrupt(signal.Signals(number).name)

    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    old = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Signals wait until this ends, so that a second Ctrl-C cannot stop a clean-up."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextlib.contextmanager
def owned(tag: str) -> Iterator[None]:
    """This process owns everything whose name begins with `tag`.

    Raises:
        RuntimeError: another process does already.
    """
    _LOCKS.mkdir(exist_ok=True)
    sweep()
    path = _LOCKS / tag
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"a lab named {tag} runs already") from None
        remove_all(tag)
        try:
            yield
        finally:
            with undisturbed():
                remove_all(tag)
                path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def remove_all(tag: str) -> None:
    """Remove namespaces and pins whose names begin with `tag` and a hyphen."""
    for path in sorted(FOLDER.glob(f"{tag}-*")) if FOLDER.is_dir() else []:
        Namespace(path.name).remove()
    for path in sorted(_PINS.glob(f"{tag}-*")) if _PINS.is_dir() else []:
        run("rm", "-rf", path)
    if _PINS.is_dir():
        with contextlib.suppress(OSError):
            _PINS.rmdir()


def sweep() -> None:
    """Remove what runs left behind that were killed."""
    for path in _LOCKS.glob(f"{PREFIX}*"):
        fd = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            remove_all(path.name)
            path.unlink(missing_ok=True)
        finally:
            os.close(fd)
