# SPDX-License-Identifier: Apache-2.0
"""Jobs: what is run on each kernel. One file each in jobs/, see docs/kernels.md."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "jobs"


@dataclass(frozen=True)
class Job:
    """One file of jobs/.

    Attributes:
        name: of the file, without its suffix.
        proves: one sentence.
        pytest: arguments for pytest, from the root of the source tree.
        minutes: after that it is stopped and has failed; of an emulated CPU.
        modules: of the kernel, loaded before; without one of them the job is skipped.
        kernels: where it runs; empty: on all.
        systemd: it is for a machine that systemd boots, with the package installed.
        ci: kernels on which it belongs to the subset that runs for every change.
    """

    name: str
    proves: str
    pytest: tuple[str, ...]
    minutes: float
    modules: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    systemd: bool = False
    ci: tuple[str, ...] = ()


def read(path: Path) -> Job:
    """Read one file.

    Raises:
        ValueError: it has a key that jobs do not have, or lacks one.
    """
    known = {field.name for field in fields(Job)} - {"name"}
    items = tomllib.loads(path.read_text())
    if unknown := items.keys() - known:
        raise ValueError(f"{path}: no job has {', '.join(sorted(unknown))}")
    if missing := {"proves", "pytest", "minutes"} - items.keys():
        raise ValueError(f"{path}: {', '.join(sorted(missing))} missing")
    return Job(
        path.stem,
        proves=items["proves"],
        pytest=tuple(items["pytest"]),
        minutes=items["minutes"],
        modules=tuple(items.get("modules", ())),
        kernels=tuple(items.get("kernels", ())),
        systemd=items.get("systemd", False),
        ci=tuple(items.get("ci", ())),
    )


def read_all(folder: Path = FOLDER) -> list[Job]:
    """All jobs, by name."""
    return [read(path) for path in sorted(folder.glob("*.toml"))]
