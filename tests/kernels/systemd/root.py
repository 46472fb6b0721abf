# SPDX-License-Identifier: Apache-2.0
"""What a machine that systemd boots has beyond the host's files.

The Debian package of ilax, unpacked; systemd and udev as fetch.sh got them; what lies in
etc/ beside this file; and a unit that runs the jobs when the machine is up.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[2]
# Under whatever name the distribution would start it: the first process of the machine.
INIT = _HERE / "init.sh"

_ENABLED = (
    *("systemd-networkd.service", "systemd-networkd-wait-online.service"),
    *("ilax.service", "ilax-exporter.service"),
)
# What an emulated CPU has no time for, and ilax no need of. What is made later has its
# events by udev without its look at the machine's devices.
_MASKED = (
    *("systemd-udev-trigger.service", "kmod-static-nodes.service", "systemd-binfmt.service"),
    *("dbus.service", "dbus.socket", "systemd-logind.service", "systemd-user-sessions.service"),
    *("systemd-random-seed.service", "systemd-update-utmp.service", "systemd-pstore.service"),
    *("systemd-update-utmp-runlevel.service", "systemd-tmpfiles-clean.timer"),
    *(f"modprobe@{name}.service" for name in ("configfs", "dm_mod", "drm", "fuse", "loop")),
)

_UNIT = """\
[Unit]
Description=jobs of tests/kernels
After=multi-user.target
Requires=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=exec
ExecStart={command}
ExecStopPost=sh -c 'journalctl --boot --no-pager >{work}/journal.log'
"""


def prepare(folder: Path, kernel: str, guest: list[str], work: Path) -> None:
    """Make what init.sh takes.

    Args:
        folder: what fetch.sh filled.
        kernel: name of a folder there.
        guest: the command that runs the jobs.
        work: the folder that the machine can write to.
    """
    root = work / "root"
    packages = work / "package"
    subprocess.run(
        [sys.executable, str(_ROOT / "tools/deb.py"), str(packages)],
        check=True,
        # It is unpacked at once.
        env={**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"},
        stdout=subprocess.DEVNULL,
    )
    for package in (*(folder / "systemd").glob("*.deb"), *packages.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True)
    # The distribution may still name these as they were before /usr was merged.
    for name in ("bin", "lib", "sbin"):
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)
    # A first run would do it, and take minutes of an emulated CPU.
    subprocess.run(
        [
            *("/usr/bin/python3", "-m", "compileall", "-qq"),
            *("-s", str(root), "-p", "/", str(root / "usr/lib/ilax")),
        ],
        check=True,
    )
    shutil.copytree(_HERE / "etc", root / "etc", dirs_exist_ok=True)
    # Without one systemd would take this for the first boot and enable what it likes.
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / "modules").write_text(str(folder / kernel / "lib/modules").lstrip("/"))
    units = root / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    (units / "kernels.service").write_text(_UNIT.format(command=shlex.join(guest), work=work))
    for verb, chosen in (("enable", _ENABLED), ("mask", _MASKED)):
        subprocess.run(["systemctl", f"--root={root}", "--quiet", verb, *chosen], check=True)
