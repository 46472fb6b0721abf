# SPDX-License-Identifier: Apache-2.0
"""Follow a process through the calls by which it changes something, and end it at one.

The kernel stops the process at each such call and asks us (seccomp's user notification),
so a step is killed before it was taken, and nothing of the process runs slower between
its steps.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import re
import select
import signal
import struct
from pathlib import Path

# Number of each call on x86-64 and on arm64, which lacks the older ones.
_NUMBERS: dict[str, tuple[int, int | None]] = {
    "write": (1, 64), "ioctl": (16, 29), "sendto": (44, 206), "rename": (82, None),
    "mkdir": (83, None), "rmdir": (84, None), "unlink": (87, None), "chmod": (90, None),
    "mount": (165, 40), "mkdirat": (258, 34), "unlinkat": (263, 35), "fchmodat": (268, 53),
    "renameat2": (316, 276), "bpf": (321, 280),
}  # fmt: skip
_SECCOMP = (317, 277)
_ON_ARM = platform.machine() == "aarch64"
_CALLS = {
    number: name
    for name, pair in _NUMBERS.items()
    if (number := pair[1] if _ON_ARM else pair[0]) is not None
}

# enum bpf_cmd: those that change something.
_COMMANDS = {
    0: "MAP_CREATE", 2: "MAP_UPDATE_ELEM", 3: "MAP_DELETE_ELEM", 5: "PROG_LOAD", 6: "OBJ_PIN",
    8: "PROG_ATTACH", 9: "PROG_DETACH", 18: "BTF_LOAD", 22: "MAP_FREEZE",
    26: "MAP_UPDATE_BATCH", 27: "MAP_DELETE_BATCH", 28: "LINK_CREATE", 29: "LINK_UPDATE",
    34: "LINK_DETACH",
}  # fmt: skip
# They make or change what nobody else sees before it is pinned, and what ends with the process.
_PRIVATE = {"MAP_CREATE", "PROG_LOAD", "BTF_LOAD", "MAP_FREEZE"}
# Where union bpf_attr has the descriptor of the map.
_MAP_AT = {"MAP_UPDATE_ELEM": 0, "MAP_DELETE_ELEM": 0,
           "MAP_UPDATE_BATCH": 36, "MAP_DELETE_BATCH": 36}  # fmt: skip

# <linux/seccomp.h>, <linux/filter.h>
_SET_FILTER, _NEW_LISTENER = 1, 8
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_LOAD, _EQUAL, _GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_ARGUMENTS = 16  # offset in struct seccomp_data

# <linux/sockios.h>, <linux/ethtool.h>: the driver, GRO.
_ETHTOOL, _ETHTOOL_ASKS = 0x8946, (0x03, 0x2B)
_NAME_BYTES = 16

_PINS = "/sys/fs/bpf/"
_SYSCTLS = "/proc/sys/"
_MESSAGE = struct.Struct("=IHH")


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def listen() -> int:
    """From now on, this process waits for an answer at each such call.

    Returns:
        A descriptor for `follow`, in another process.
    """
    code = [_code(_LOAD, 0)]
    for number, name in _CALLS.items():
        block = [_code(_RETURN, _NOTIFY)]
        if name == "bpf":
            block = [_code(_LOAD, _ARGUMENTS)]
            for command in _COMMANDS:
                block += [_code(_EQUAL, command, 0, 1), _code(_RETURN, _NOTIFY)]
            block.append(_code(_RETURN, _ALLOW))
        elif name == "write":
            # Not to the standard streams.
            block = [_code(_LOAD, _ARGUMENTS), _code(_GREATER, 2, 0, 1),
                     _code(_RETURN, _NOTIFY), _code(_RETURN, _ALLOW)]  # fmt: skip
        code += [_code(_EQUAL, number, 0, len(block)), *block]
    code.append(_code(_RETURN, _ALLOW))
    program = _Filter(len(code), b"".join(code))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(_SECCOMP[_ON_ARM], _SET_FILTER, _NEW_LISTENER, ctypes.byref(program)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


def _code(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_true, if_false, value)


def follow(listener: int, pid: int, stop: int) -> list[str]:
    """Answer until the process has ended; kill it when it is about to take a step.

    Args:
        stop: number of that step, from 1 on; 0 = none.

    Returns:
        The steps that it took, and the one at which it was killed: those calls whose
        effect outlives the process.
    """
    steps: list[str] = []
    watch = _Watch(pid)
    poll = select.poll()
    ended = os.pidfd_open(pid)
    for fd in (listener, ended):
        poll.register(fd, select.POLLIN)
    try:
        while not any(fd == ended for fd, _ in poll.poll()):
            notice = bytearray(80)
            with contextlib.suppress(FileNotFoundError):
                fcntl.ioctl(listener, _RECEIVE, notice)
                number, thread = struct.unpack_from("=QI", notice)
                step = watch.step(thread, *struct.unpack_from("=i12x6Q", notice, 16))
                if step is not None:
                    steps.append(step)
                    if len(steps) == stop:
                        os.kill(pid, signal.SIGKILL)
                        break
                fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", number, 0, 0, _CONTINUE))
    finally:
        os.close(ended)
    return steps


class _Watch:
    """What is known of one process while it runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pinned = _pinned_maps()

    def step(self, thread: int, number: int, *args: int) -> str | None:
        """How a call is written down; None if its effect does not outlive the process."""
        call = _CALLS[number]
        with contextlib.suppress(OSError):
            if call == "bpf":
                return self._bpf(thread, *args[:2])
            if call == "sendto":
                return self._netlink(thread, args[1])
            if call == "write":
                path = str(Path(f"/proc/{thread}/fd/{args[0]}").readlink())
                return f"write({path})" if path.startswith(_SYSCTLS) else None
            if call == "ioctl":
                return self._ioctl(thread, args[1], args[2])
            return self._path(thread, call, args)
        return None

    def _bpf(self, thread: int, number: int, attributes: int) -> str | None:
        command = _COMMANDS[number]
        if command in _PRIVATE:
            return None
        at = _MAP_AT.get(command)
        if at is not None:
            fd = int.from_bytes(_read(thread, attributes + at, 4), "little")
            found = _map_of(thread, fd)
            if found not in self.pinned:
                return None
            return f"bpf(BPF_{command} {_name_of(found)})"
        if command == "OBJ_PIN":
            where, fd = struct.unpack("=QI", _read(thread, attributes, 12))
            self.pinned.add(_map_of(thread, fd))
            return f"bpf(BPF_OBJ_PIN {_text(thread, where)})"
        return f"bpf(BPF_{command})"

    def _netlink(self, thread: int, message: int) -> str | None:
        _, kind, _ = _MESSAGE.unpack(_read(thread, message, _MESSAGE.size))
        # Of each object: new, delete, get, set.
        return None if kind % 4 == 2 else f"sendto(netlink message {kind})"

    def _ioctl(self, thread: int, request: int, argument: int) -> str | None:
        if request != _ETHTOOL:
            return None  # the others of ilax ask
        where = int.from_bytes(_read(thread, argument + _NAME_BYTES, 8), "little")
        command = int.from_bytes(_read(thread, where, 4), "little")
        return None if command in _ETHTOOL_ASKS else f"ioctl(ethtool {command:#x})"

    def _path(self, thread: int, call: str, args: tuple[int, ...]) -> str | None:
        places = {"renameat2": (1, 3), "rename": (0, 1), "mkdirat": (1,), "unlinkat": (1,),
                  "fchmodat": (1,), "mount": (1,)}  # fmt: skip
        paths = [_text(thread, args[at]) for at in places.get(call, (0,))]
        if not any(path.startswith(_PINS) for path in paths):
            return None
        # Those that fail change nothing.
        if call.startswith("mkdir") and Path(paths[0]).exists():
            return None
        if call.startswith(("unlink", "rmdir")):
            path = Path(paths[0])
            if not path.exists() or (path.is_dir() and any(path.iterdir())):
                return None
        return f"{call}({' '.join(paths)})"


def _read(thread: int, address: int, size: int) -> bytes:
    fd = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    try:
        return os.pread(fd, size, address)
    finally:
        os.close(fd)


def _text(thread: int, address: int) -> str:
    text = b""
    while b"\0" not in text:
        # To the end of a page: there may be nothing behind it.
        text += _read(thread, address + len(text), 4096 - (address + len(text)) % 4096)
    return text.partition(b"\0")[0].decode()


def _map_of(thread: int, fd: int) -> int:
    text = Path(f"/proc/{thread}/fdinfo/{fd}").read_text()
    found = re.search(r"^map_id:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _pinned_maps() -> set[int]:
    from ilax.bpf import Map
    from ilax.errors import IlaxError

    found = set()
    # Unlike Path.rglob, it does not mind folders that others are just taking away.
    for folder, _, names in os.walk(_PINS):
        for name in names:
            # Programs and links are pinned as well.
            with contextlib.suppress(IlaxError), Map.open_pinned(Path(folder, name)) as opened:
                found.add(opened.id)
    return found


def _name_of(number: int) -> str:
    from ilax.bpf import Map

    with Map.by_id(number) as opened:
        return opened.name
