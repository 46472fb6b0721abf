# SPDX-License-Identifier: Apache-2.0
"""Every error that ilax raises on purpose, and the exit code each one means.

An error says what was wrong, what was left unchanged, and what to do. It names
the object and the action, so that a log line alone is enough to act on.
"""

from __future__ import annotations

import errno as errno_module
import os
import re

# How a message ends that tells what an error left as it was.
_NO_EFFECT = re.compile(r"[;,] (?:so )?nothing was (?:changed|written)\b")


def without_effect(text: str) -> str:
    """A message without the words that nothing was changed, for where that goes without saying."""
    return _NO_EFFECT.sub("", text)


class IlaxError(Exception):
    """Base of all errors meant for an operator."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def leave_effect_out(self) -> None:
        """Drop the words that nothing was changed."""
        self.args = (without_effect(self.args[0]), *self.args[1:])


class UsageError(IlaxError):
    """The request itself makes no sense; nothing was touched."""

    exit_code = 2


class AddressError(UsageError, ValueError):
    """A malformed address, prefix or identifier."""


class NotFoundError(IlaxError):
    """The named instance, endpoint, mapping or interface does not exist."""

    exit_code = 3


class ConflictError(IlaxError):
    """Something else stands where this would go (a row, a foreign program)."""

    exit_code = 4


class PrivilegeError(IlaxError):
    """A capability is missing."""

    exit_code = 5


class LayoutError(IlaxError):
    """Pinned maps have another layout than this ilax; nothing was written."""

    exit_code = 6

    def __init__(self, message: str, differences: list[str]) -> None:
        super().__init__(
            message,
            hint="use the ilax that made these maps, or `ilax down` with it first; where that "
            "ilax is lost, docs/operations.md says how to remove them by hand",
        )
        self.differences = differences

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *self.differences])


class OlderMinorError(LayoutError):
    """Pinned maps lack what a newer minor of the contract has added."""

    def __init__(self, message: str, differences: list[str]) -> None:
        super().__init__(message, differences)
        self.hint = "run `ilax up` again: it adds what is missing and keeps all rows"


# Errors that are libbpf's own (<bpf/libbpf.h>); the C library has no words for them.
_LIBBPF = {
    4000: ("the file cannot be read as ELF", "LIBBPF_ERRNO__LIBELF"),
    4001: ("the file is no BPF object", "LIBBPF_ERRNO__FORMAT"),
    4003: ("the object is for another byte order", "LIBBPF_ERRNO__ENDIAN"),
    4004: ("libbpf failed", "LIBBPF_ERRNO__INTERNAL"),
    4005: ("a relocation failed", "LIBBPF_ERRNO__RELOC"),
}


class SystemCallError(IlaxError):
    """A kernel or library call failed.

    Attributes:
        action: what was tried, in words.
        errno: positive errno value.
    """

    exit_code = 7

    def __init__(self, action: str, errno: int, *, hint: str | None = None) -> None:
        known = os.strerror(errno), errno_module.errorcode.get(errno, str(errno))
        words, name = _LIBBPF.get(errno, known)
        super().__init__(f"cannot {action}: {words} ({name})", hint=hint)
        self.action = action
        self.errno = errno


class MapFullError(SystemCallError):
    """A map has no room for another row.

    Attributes:
        written: rows that were written before the map was full.
    """

    exit_code = 8

    def __init__(self, action: str, errno: int, written: int) -> None:
        super().__init__(
            action,
            errno,
            hint="`ilax export > FILE` keeps the rows; write a larger max-endpoints, max-mappings "
            "or max-limits into it, then `ilax down` and `ilax apply FILE`",
        )
        self.written = written

    def __str__(self) -> str:
        # "Argument list too long" is what E2BIG says, and is of no help here.
        return f"cannot {self.action}: the map is full; {self.written or 'no'} rows were written"


class VerifierError(SystemCallError):
    """The kernel refused a program.

    Attributes:
        log: the verifier's whole log; the message ends with its last lines.
    """

    exit_code = 9
    LINES_SHOWN = 12

    def __init__(self, action: str, errno: int, log: str) -> None:
        super().__init__(action, errno)
        self.log = log

    def __str__(self) -> str:
        tail = [line for line in self.log.splitlines() if line.strip()][-self.LINES_SHOWN :]
        return "\n    ".join([super().__str__(), *tail])


class GuardError(IlaxError):
    """A guard has tripped after an upgrade; the programs of before are at work again."""

    exit_code = 10


class SelfTestError(IlaxError):
    """Programs do with a packet of the self test what they should not; nothing was changed."""

    exit_code = 11


class EndpointsError(IlaxError):
    """Some endpoints could not be made as declared; the others were.

    Args:
        failed: address and error of each; the first one gives the exit code.
    """

    def __init__(self, failed: list[tuple[object, IlaxError]]) -> None:
        number = len(failed)
        super().__init__(f"{number} endpoint{' is' if number == 1 else 's are'} not as declared")
        self.exit_code = failed[0][1].exit_code
        self.failed = failed

    def __str__(self) -> str:
        lines = [super().__str__()]
        for sir, error in self.failed:
            # Of this endpoint nothing was; of others much may have been.
            lines.append(f"endpoint {sir}: {without_effect(str(error))}")
            lines += [
                f"  {more}" for more in (*getattr(error, "__notes__", ()), error.hint) if more
            ]
        return "\n        ".join(lines)


class TracingError(IlaxError):
    """What `ilax trace` takes from the host is missing, or unfit; nothing was attached."""

    exit_code = 10

    def __init__(self, message: str, details: list[str], *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.details = details

    def __str__(self) -> str:
        return "\n    ".join([super().__str__(), *self.details])


def check_system_call(result: int, action: str, *, admin: bool = False) -> int:
    """Return `result`, or raise for a negative errno.

    Args:
        admin: the call needs CAP_SYS_ADMIN, too.

    Raises:
        PrivilegeError: for EPERM, which the bpf and netlink calls use for a
            missing capability only.
        SystemCallError: for every other errno.
    """
    if result >= 0:
        return result
    if -result in (errno_module.EPERM, errno_module.EACCES):
        from ilax.system.privileges import missing_capabilities

        missing = missing_capabilities(admin=admin)
        if missing:
            raise PrivilegeError(
                f"cannot {action}: missing {', '.join(missing)}",
                hint="run as root, or grant these capabilities",
            )
    raise SystemCallError(action, -result)
