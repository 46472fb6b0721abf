# SPDX-License-Identifier: Apache-2.0
"""A kernel to run jobs on: this one, or one that an emulated machine boots.

The emulated machine sees this root file system, read-only, with what it writes to /tmp
and the like in its own memory; only the folder of results can be written. So it runs the
very same interpreter, objects and tools.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from kernels.job import Job
from kernels.systemd import root

_GUEST = Path(__file__).resolve().parent / "guest.py"
_BOOT_SECONDS = 180
# Three hosts, each with maps of full size.
_MEMORY = "4G"
_CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}


def _guest(jobs: list[Job], work: Path) -> list[str]:
    return [sys.executable, str(_GUEST), str(work), *(job.name for job in jobs)]


def _seconds(jobs: list[Job]) -> float:
    # Each job ends itself; the minute is for those that do not want to.
    return sum(job.minutes * 60 + 60 for job in jobs)


def run_here(jobs: list[Job], work: Path) -> str:
    """Run jobs on the running kernel.

    Returns:
        What went wrong, apart from tests; empty if nothing did.
    """
    return _run(_guest(jobs, work), _seconds(jobs), work)


def image(folder: Path, kernel: str) -> Path | None:
    """The kernel that fetch.sh got; None if it did not."""
    return next((folder / kernel / "boot").glob("vmlinuz-*"), None)


def run_emulated(folder: Path, kernel: str, jobs: list[Job], work: Path) -> str:
    """Boot a kernel, run jobs and shut down.

    Args:
        folder: what fetch.sh filled.
        kernel: name of a folder there.
        jobs: all of them are for a machine that systemd boots, or none is.
        work: the only folder that the machine can write to.

    Returns:
        What went wrong, apart from tests; empty if nothing did.
    """
    kernel_image = image(folder, kernel)
    if kernel_image is None:
        raise FileNotFoundError(f"no kernel in {folder / kernel}")
    for told in ("release", "finished"):
        (work / told).unlink(missing_ok=True)
    guest = _guest(jobs, work)
    by_systemd = []
    if jobs[0].systemd:
        root.prepare(folder, kernel, guest, work)
        by_systemd = ["--qemu-opts=" + shlex.join(["-append", _by_systemd(work)])]
    machine = [
        *(
            "env",
            f"PATH={folder / 'vng' / 'bin'}:{os.environ['PATH']}",
            "vng",
            "--verbose",
            "--disable-kvm",
            "--force-9p",
        ),
        *("--run", str(kernel_image), "--user", "root", "--cpus", "1", "--memory", _MEMORY),
        *("--busybox", str(folder / "busybox" / "bin" / "busybox")),
        *("--rwdir", str(work), *by_systemd, "--", shlex.join(guest)),
    ]
    # It insists on a terminal.
    command = ["script", "-qec", shlex.join(machine), "/dev/null"]
    problem = _run(command, _BOOT_SECONDS + _seconds(jobs), work)
    if problem and not (work / "release").exists():
        problem = f"did not boot: {problem}"
    return problem


def _by_systemd(work: Path) -> str:
    """What the kernel is told instead of what vng would tell it: the emulator obeys the last."""
    return (
        f"virtme_hostname=ilax console={_CONSOLES[platform.machine()]} panic=-1 loglevel=4 "
        "systemd.unit=kernels.service systemd.getty_auto=no systemd.condition-needs-update=no "
        f"init={root.INIT} -- {work}"
    )


def _run(command: list[str], seconds: float, work: Path) -> str:
    """Run a command that ends itself on SIGTERM, with all that it started."""
    log = work / "machine.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"stopped after {seconds:.0f} s, see {log}"
        finally:
            # script(1) ends the session that it made, and the emulator with it.
            process.terminate()
            process.wait()
    # virtme-ng does not always get to know how the command ended.
    return "" if (work / "finished").exists() else f"ended with {code}, see {log}"
