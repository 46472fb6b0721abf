# SPDX-License-Identifier: Apache-2.0
"""Run the fuzzers: `make fuzz`, with SECONDS= or RUNS= for each target.

What they find stays in build/fuzz/found/<target> and is where the next run begins.
A crash leaves its input there; `build/fuzz/<target> FILE` runs it again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from datapath.test_table import ROWS
from fuzz import build, population

LONGEST = {"packets": 1600, "limits": 1500, "addresses": 64}
_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")
_COVERED = re.compile(r"\bcov: (\d+)")


@dataclass(frozen=True)
class Report:
    """What a fuzzer did.

    Attributes:
        executions: inputs that were run.
        covered: edges of the programs and of what stands around them.
        log: all that it said.
    """

    failed: bool
    executions: int
    covered: int
    log: str


def prepare(targets: list[str]) -> dict[str, Path]:
    """Write population and seeds, and compile; returns executables."""
    population.write(build.OUTPUT, ROWS)
    return build.build(targets)


def fuzz(target: str, executable: Path, *limits: str, found: Path) -> Report:
    """Run one fuzzer.

    Args:
        limits: options of libFuzzer that end it.
        found: folder of inputs that reach something new; crashes go there, too.
    """
    found.mkdir(parents=True, exist_ok=True)
    corpus = [str(build.OUTPUT / "corpus")] if target == "packets" else []
    command = [
        *(str(executable), *limits, f"-max_len={LONGEST[target]}", "-print_final_stats=1"),
        *(f"-artifact_prefix={found}/", str(found), *corpus),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    executed, covered = _EXECUTED.search(done.stderr), _COVERED.findall(done.stderr)
    return Report(
        bool(done.returncode),
        int(executed[1]) if executed else 0,
        int(covered[-1]) if covered else 0,
        done.stderr,
    )


def main() -> int:
    """Run as a program; exit code 1 when something was found."""
    parser = argparse.ArgumentParser(description="Fuzz the datapath in user space.")
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=int, default=0, help="for each target, default 60")
    parser.add_argument("--runs", type=int, default=0, help="executions of each target")
    args = parser.parse_args()
    targets = args.targets or list(build.TARGETS)
    seconds = args.seconds or (0 if args.runs else 60)
    limits = [f"-max_total_time={seconds}"] if seconds else []
    limits += [f"-runs={args.runs}"] if args.runs else []
    failed = False
    for target, executable in prepare(targets).items():
        report = fuzz(target, executable, *limits, found=build.OUTPUT / "found" / target)
        print(f"{target}: {report.executions} executions, {report.covered} edges", flush=True)
        if report.failed:
            failed = True
            print(report.log[-6000:], file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
