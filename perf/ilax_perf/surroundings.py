# SPDX-License-Identifier: Apache-2.0
"""Where and with what was measured: all that may explain a difference between two results."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from ilax_perf.sampling import Settings

_ROOT = Path(__file__).resolve().parents[2]
_CPU = Path("/sys/devices/system/cpu")
_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_SYSCTL = Path("/proc/sys")

# What changes the path of a packet, or how much of it a core does at a time.
_SYSCTLS = (
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.default_qdisc",
    "net.core.dev_weight",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "kernel.bpf_stats_enabled",
    "kernel.sched_rt_runtime_us",
    "kernel.unprivileged_bpf_disabled",
    "vm.nr_hugepages",
)
_PYTHON_PACKAGES = ("numpy", "click", "pyroute2", "matplotlib")
_DEBIAN_PACKAGES = ("clang-19", "libbpf1", "iproute2", "iperf3", "nftables")


def about(settings: Settings) -> dict[str, Any]:
    """Members of bench.json before its rows."""
    return {
        "machine": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "kernel": platform.release(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "run": {
            "runs": settings.runs,
            "turns": settings.turns,
            "quick": settings.quick,
            "full": settings.full,
            "cpu": settings.cpu,
        },
        "settings": _settings(),
        "packages": _packages(),
    }


def _settings() -> dict[str, Any]:
    """What could be read; null where this kernel or machine does not tell."""
    sysctls = {name: _read(_SYSCTL / name.replace(".", "/")) for name in _SYSCTLS}
    return {
        "hz": _hz(),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "turbo_off": _read(_CPU / "intel_pstate/no_turbo"),
        "smt": _read(_CPU / "smt/active"),
        "isolated_cpus": _read(_CPU / "isolated"),
        "clocksource": _read(_CLOCK),
        "transparent_hugepages": _read(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        "mitigations": {
            path.name: text
            for path in sorted((_CPU / "vulnerabilities").glob("*"))
            if (text := _read(path)) != "Not affected"
        },
        **sysctls,
    }


def _read(path: Path) -> str | None:
    try:
        return " ".join(path.read_text().split())
    except OSError:
        return None


def _hz() -> int | None:
    """Ticks of the kernel's clock in a second: programs cannot ask for it."""
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")):
        with contextlib.suppress(OSError):
            raw = path.read_bytes()
            text = gzip.decompress(raw) if path.suffix == ".gz" else raw
            if found := re.search(rb"^CONFIG_HZ=(\d+)$", text, re.MULTILINE):
                return int(found[1])
    return None


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PYTHON_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    with contextlib.suppress(OSError):
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *_DEBIAN_PACKAGES],
            capture_output=True,
            text=True,
            check=False,
        )
        found |= dict(line.split(" ", 1) for line in done.stdout.splitlines() if line[-1] != " ")
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def _commit() -> str:
    """The commit, with "+" where the work tree differs; empty outside of git."""

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *args], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    name = git("rev-parse", "--short=12", "HEAD")
    return f"{name}+" if name and git("status", "--porcelain") else name
