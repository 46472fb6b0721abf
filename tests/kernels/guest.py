# SPDX-License-Identifier: Apache-2.0
"""Runs jobs on the kernel that runs: inside of a virtual machine, or right here.

    python tests/kernels/guest.py FOLDER JOB...

Outcomes go to FOLDER/outcomes.jsonl, what the jobs print to FOLDER/JOB.log. Standard
library only, and nothing of the product: what cannot be imported must not hide the rest.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tests"))

from kernels import job as jobs  # noqa: E402
from kernels.job import Job  # noqa: E402
from kernels.outcome import FAILED, SKIPPED, Outcome, append, read  # noqa: E402

# pytest's word for a run that had no tests to run.
_NO_TESTS = 5
_BPFFS = Path("/sys/fs/bpf")


def main() -> int:
    """Run as a program; what it leaves in the folder tells how it went."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    _mount_bpffs()
    (folder / "release").write_text(platform.release())
    for name in names:
        run(jobs.read(jobs.FOLDER / f"{name}.toml"), folder)
    (folder / "finished").touch()
    return 0


def run(job: Job, folder: Path) -> None:
    """Run one job; every way in which it can end leaves an outcome."""
    outcomes = folder / "outcomes.jsonl"
    if missing := [name for name in job.modules if not _load_module(name)]:
        reason = f"this kernel has no module {', '.join(missing)}"
        append(outcomes, Outcome(job.name, job.name, SKIPPED, reason))
        return
    print(f"kernels: {platform.release()}: {job.name}", flush=True)
    start, before = time.monotonic(), len(read(outcomes))
    problem = _pytest(job, folder, outcomes)
    seconds = time.monotonic() - start
    if not problem and len(read(outcomes)) == before:
        problem = "no test ran"
    if problem:
        append(outcomes, Outcome(job.name, job.name, FAILED, problem, round(seconds, 2)))


def _pytest(job: Job, folder: Path, outcomes: Path) -> str:
    """Run pytest; return what stopped it, empty if each test could tell for itself."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(_ROOT / name) for name in ("loader", "tests")),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "ILAX_KERNEL_JOB": job.name,
        "ILAX_KERNEL_OUTCOMES": str(outcomes),
    }
    command = [
        *(sys.executable, "-m", "pytest", "-p", "kernels.recorder", "-p", "no:cacheprovider"),
        *job.pytest,
    ]
    with (folder / f"{job.name}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            code = process.wait(job.minutes * 60)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return f"not done after {job.minutes:g} minutes"
    if code in (0, 1, _NO_TESTS):
        return ""
    lines = (folder / f"{job.name}.log").read_text(errors="replace").splitlines()
    return f"pytest ended with {code}:\n" + "\n".join(lines[-20:])


def _load_module(name: str) -> bool:
    return not subprocess.run(["modprobe", "--quiet", name], check=False).returncode


def _mount_bpffs() -> None:
    if not os.path.ismount(_BPFFS):
        subprocess.run(["mount", "-t", "bpf", "bpf", str(_BPFFS)], check=True)


if __name__ == "__main__":
    sys.exit(main())
