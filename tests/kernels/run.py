# SPDX-License-Identifier: Apache-2.0
"""Runs the jobs on other kernels, in emulated machines, and on the running one.

    python tests/kernels/run.py [--ci] [--kernel 6.1] [--job NAME] build/kernels

Writes FOLDER/results/KERNEL.json. Exit code 0 if nothing failed and every kernel showed
something; with --ci it suffices that one of the others did. docs/kernels.md says more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tests"))

from kernels import job as jobs  # noqa: E402
from kernels import machine  # noqa: E402
from kernels.job import Job  # noqa: E402
from kernels.outcome import FAILED, PASSED, SKIPPED, Outcome, count, read  # noqa: E402
from lab.cleanup import unwinding_signals  # noqa: E402

RUNNING = "running"
KERNELS = ("6.1", "6.12", RUNNING)
INTERRUPTED = "interrupted"


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where fetch.sh put the kernels")
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="default: all")
    parser.add_argument("--job", action="append", help="name of a file in jobs/; default: all")
    parser.add_argument("--ci", action="store_true", help="only the jobs marked so")
    args = parser.parse_args()
    if os.geteuid():
        print("kernels: run as root: loading programs and making namespaces need it")
        return 1
    known = jobs.read_all()
    if unknown := set(args.job or ()) - {job.name for job in known}:
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    folder = args.folder.resolve()
    kernels = args.kernel or KERNELS
    counts = {}
    try:
        with unwinding_signals():
            for name in kernels:
                counts[name] = count(run_kernel(name, known, args.job, args.ci, folder))
    except KeyboardInterrupt:
        print(f"kernels: {INTERRUPTED}")
        return 1
    for problem in (found := problems(counts, args.ci)):
        print(f"kernels: {problem}")
    return int(bool(found))


def problems(counts: dict[str, dict[str, int]], only_ci: bool) -> list[str]:
    """Why the run as a whole has failed; empty if it has not.

    Args:
        counts: for each kernel that was asked for, how many tests passed and so on.
        only_ci: a kernel that is not here is fine, if another one is.
    """
    found = [f"{each[FAILED]} failed on {name}" for name, each in counts.items() if each[FAILED]]
    silent = [name for name in counts if not counts[name][PASSED]]
    others = [name for name in counts if name != RUNNING]
    if silent and (not only_ci or all(name in silent for name in others)):
        found.append(f"nothing passed on {', '.join(silent)}")
    return found


def choose(kernel: str, job: Job, names: list[str] | None, only_ci: bool) -> str:
    """Why a job is not to run on a kernel; empty if it is."""
    if names is not None and job.name not in names:
        return "not asked for"
    if job.kernels and kernel not in job.kernels:
        return f"is for {', '.join(job.kernels)}"
    if only_ci and kernel not in job.ci:
        return "not in the subset of CI"
    return ""


def run_kernel(
    kernel: str, known: list[Job], names: list[str] | None, only_ci: bool, folder: Path
) -> list[Outcome]:
    """Run what is to run on one kernel, write its result file and tell of it."""
    results = folder / "results"
    work = results / kernel
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    reasons = {job.name: choose(kernel, job, names, only_ci) for job in known}
    # Short ones first: an interruption costs least.
    chosen = sorted((j for j in known if not reasons[j.name]), key=lambda j: (j.minutes, j.name))
    start = time.monotonic()
    problem = ""
    if chosen and kernel != RUNNING and not machine.image(folder, kernel):
        reasons |= {job.name: f"there is no kernel {kernel} here" for job in chosen}
        chosen = []
    try:
        if chosen and kernel == RUNNING:
            problem = machine.run_here(chosen, work)
        else:
            for boots in (False, True):
                if alike := [job for job in chosen if job.systemd == boots]:
                    problem += machine.run_emulated(folder, kernel, alike, work)
    except KeyboardInterrupt:
        problem = INTERRUPTED
    outcomes = read(work / "outcomes.jsonl")
    told = {outcome.job for outcome in outcomes}
    untold = [job.name for job in chosen if job.name not in told]
    outcomes += [Outcome(name, name, FAILED, "it did not come to a result") for name in untold]
    if problem:
        outcomes.append(Outcome("machine", "machine", FAILED, problem))
    skipped = {name: reason for name, reason in reasons.items() if reason}
    outcomes += [Outcome(name, name, SKIPPED, reason) for name, reason in skipped.items()]
    release = (work / "release").read_text() if (work / "release").exists() else ""
    seconds = round(time.monotonic() - start)
    result = {
        "kernel": kernel,
        "release": release,
        "seconds": seconds,
        **count(outcomes),
        "tests": [asdict(outcome) for outcome in outcomes],
    }
    (results / f"{kernel}.json").write_text(json.dumps(result, indent=1) + "\n")
    report(kernel, release, seconds, outcomes)
    if problem == INTERRUPTED:
        raise KeyboardInterrupt
    return outcomes


def report(kernel: str, release: str, seconds: int, outcomes: list[Outcome]) -> None:
    """Print counts, and by name what failed and what was skipped."""
    counts = ", ".join(f"{number} {kind}" for kind, number in count(outcomes).items())
    print(f"\nkernels: {kernel} ({release or 'not booted'}): {counts} in {seconds} s")
    for outcome in outcomes:
        if outcome.outcome == SKIPPED:
            print(f"  skipped  {outcome.test}: {outcome.reason}")
    for outcome in outcomes:
        if outcome.outcome == FAILED:
            print(f"  FAILED   {outcome.test}: {outcome.reason}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
