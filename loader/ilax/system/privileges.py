# SPDX-License-Identifier: Apache-2.0
"""Which capabilities this process has of those that ilax needs."""

from __future__ import annotations

from pathlib import Path

from ilax.errors import PrivilegeError

# Numbers of <linux/capability.h>. CAP_SYS_ADMIN stands in for CAP_BPF and
# CAP_PERFMON, as it does in the kernel.
_CAP_NET_ADMIN = 12
_CAP_SYS_ADMIN = 21
_CAP_PERFMON = 38
_CAP_BPF = 39

NEEDED = {"CAP_BPF": _CAP_BPF, "CAP_NET_ADMIN": _CAP_NET_ADMIN, "CAP_PERFMON": _CAP_PERFMON}


def _effective() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def missing_capabilities(*, admin: bool = False) -> list[str]:
    """Names of the needed capabilities that are not in the effective set.

    Args:
        admin: also ask for CAP_SYS_ADMIN, which entering the network namespace of
            a container (setns) needs, and opening a BPF object by its number.
    """
    effective = _effective()

    def has(bit: int) -> bool:
        return bool(effective >> bit & 1)

    missing = [
        name
        for name, bit in NEEDED.items()
        if not has(bit) and not (bit != _CAP_NET_ADMIN and has(_CAP_SYS_ADMIN))
    ]
    if admin and not has(_CAP_SYS_ADMIN):
        missing.append("CAP_SYS_ADMIN")
    return missing


def require_capabilities(action: str, *, admin: bool = False) -> None:
    """Raise before anything is touched.

    Raises:
        PrivilegeError: names every missing capability.
    """
    missing = missing_capabilities(admin=admin)
    if missing:
        raise PrivilegeError(
            f"cannot {action}: missing {', '.join(missing)}; nothing was changed",
            hint="run as root, or grant these capabilities",
        )
