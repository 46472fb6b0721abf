# SPDX-License-Identifier: Apache-2.0
"""What each shipped program costs the verifier: measured, committed, compared.

perf/verifier_cost.csv has a row for each object and kernel minor version:

    kernel   release it was measured on, without the distributor's suffix
    object   name of its file, without endings
    program  the one in it that is attached
    insns    instructions the verifier processed (its limit is 1,000,000)
    states   states it kept
    stack    bytes of stack, all functions added up (the limit is 512 a chain)
    bytes    size of the program after the verifier's rewriting

Figures of two kernels are not comparable, so rows of other minor versions are
kept as they are, and --check judges only those of the running one. Those of other
kernels come from the result files of `make test-kernels`, by --results. Loading
programs needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ilax.bpf import Object
from ilax.contract import schema
from ilax.hooks import program_set
from small_maps import shrink

COSTS = Path(__file__).resolve().parent.parent / "perf" / "verifier_cost.csv"
# The last one takes the place of "ingress" in slots whose owner knows no frames in pieces.
OBJECTS = tuple(program_set.object_paths())
MEASURES = ("insns", "states", "stack", "bytes")
TOLERANCE = 0.10
# Name under which a test on another kernel records rows.
FIGURE = "verifier_cost"
# BPF_LOG_STATS: the closing lines of the verifier's log and nothing else.
LOG_STATS = 4
# Sizes do not matter to the verifier.
ROWS = 16


@dataclass(frozen=True)
class Cost:
    """One row of the file."""

    kernel: str
    object: str
    program: str
    insns: int
    states: int
    stack: int
    bytes: int

    @property
    def minor(self) -> str:
        """The part of the kernel's version within which figures are comparable."""
        return minor_of(self.kernel)


def kernel_release() -> str:
    """Return the numbers of the running kernel's release, such as 6.18.44.

    Debian's older releases end at the second one; its build's name has all of them.
    """
    system = os.uname()
    if debian := re.search(r" Debian (\d+(\.\d+)+)", system.version):
        return debian.group(1)
    match = re.match(r"\d+(\.\d+)*", system.release)
    return match.group() if match else os.uname().release


def minor_of(release: str) -> str:
    """Return the first two numbers of a release."""
    return ".".join(release.split(".")[:2])


def parse_log(log: str) -> tuple[int, int, int]:
    """Return instructions, states and stack bytes from the verifier's closing lines.

    Raises:
        ValueError: the log has no such lines.
    """
    counts = re.search(r"processed (\d+) insns .* total_states (\d+)", log)
    stack = re.search(r"stack depth ([\d+]+)", log)
    if not counts or not stack:
        raise ValueError(f"no statistics in the verifier's log: {log!r}")
    return (
        int(counts.group(1)),
        int(counts.group(2)),
        sum(int(part) for part in stack.group(1).split("+")),
    )


def measure(name: str) -> list[Cost]:
    """Load one object and read what its programs cost.

    Args:
        name: as for `ilax.contract.schema.object_path`.

    Raises:
        VerifierError: the kernel refuses a program.
    """
    costs = []
    with Object.open(schema.object_path(name)) as obj:
        shrink(obj, ROWS)
        obj.load(log_level=LOG_STATS)
        for program in obj.programs.values():
            insns, states, stack = parse_log(program.log)
            with program.open() as loaded:
                size = loaded.xlated_bytes
            costs.append(Cost(kernel_release(), name, program.name, insns, states, stack, size))
    return costs


def read_costs(text: str) -> list[Cost]:
    """Parse the committed file."""
    return [
        Cost(row["kernel"], row["object"], row["program"], *(int(row[name]) for name in MEASURES))
        for row in csv.DictReader(io.StringIO(text))
    ]


def read_results(folder: Path) -> list[Cost]:
    """What tests recorded on other kernels.

    Args:
        folder: of result files of `make test-kernels`.
    """
    tests = [
        test
        for path in sorted(folder.glob("*.json"))
        for test in json.loads(path.read_text())["tests"]
    ]
    return [Cost(**row) for test in tests for row in test["figures"].get(FIGURE, ())]


def write_costs(costs: list[Cost]) -> str:
    """Return the file's text; rows are sorted by kernel and object."""
    out = io.StringIO()
    names = [field.name for field in fields(Cost)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for cost in sorted(costs, key=lambda cost: ([*map(int, cost.kernel.split("."))], cost.object)):
        writer.writerow(asdict(cost))
    return out.getvalue()


def compare(committed: list[Cost], current: list[Cost]) -> list[str]:
    """One line for each object of this kernel that costs too much or has no row."""
    known = {(cost.minor, cost.object): cost for cost in committed}
    found = []
    for cost in current:
        before = known.pop((cost.minor, cost.object), None)
        if before is None:
            found.append(f"{cost.object}: not in the file for kernel {cost.minor}")
            continue
        for name in MEASURES:
            old, new = getattr(before, name), getattr(cost, name)
            if new > old * (1 + TOLERANCE):
                found.append(f"{cost.object}: {name} {old} -> {new}")
    minors = {cost.minor for cost in current}
    found += [f"{name}: no longer shipped" for minor, name in known if minor in minors]
    return found


def main() -> int:
    """Run as a program; with --check the exit code is 1 when a cost has grown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--results", type=Path, help="take what tests on other kernels recorded")
    args = parser.parse_args()
    committed = read_costs(COSTS.read_text()) if COSTS.exists() else []
    if args.results:
        current = read_results(args.results)
    else:
        current = [cost for name in OBJECTS for cost in measure(name)]
    minor = minor_of(kernel_release())
    if not args.check:
        minors = {cost.minor for cost in current}
        others = [cost for cost in committed if cost.minor not in minors]
        COSTS.parent.mkdir(exist_ok=True)
        COSTS.write_text(write_costs([*others, *current]))
        return 0
    if not any(cost.minor == minor for cost in committed):
        print(f"verifier cost: no rows for kernel {minor} to compare with; measured now:")
        print(write_costs(current), end="")
        return 0
    found = compare(committed, current)
    if found:
        print(
            "\n".join(found) + "\nIf the growth is wanted: `make verifier-cost`, and say why in "
            "the commit.",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
