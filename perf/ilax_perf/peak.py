# SPDX-License-Identifier: Apache-2.0
"""A program that says at its end how much resident memory it had at most, in KiB.

    python -m ilax_perf.peak command ARGUMENTS...           # as `ilax ARGUMENTS...`
    python -m ilax_perf.peak put INSTANCE COUNT LOCATOR     # mappings from arrays, as a daemon may

The kernel counts what a process had before it became another program, too: that is the
memory of the benchmark which started it. So the program itself says what it had since.
Each way imports what it needs and nothing else, as that is what is measured.
"""

from __future__ import annotations

import atexit
import sys
from pathlib import Path


def _say() -> None:
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        print(*(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def _command(arguments: list[str]) -> None:
    from ilax.cli import main

    sys.argv[1:] = arguments
    main()


def _put(name: str, count: int, locator: int) -> None:
    from ilax.instances.instance import Instance
    from ilax.translation import fabric, mappings
    from ilax_perf.bulk import addresses

    with Instance.open(name) as instance:
        prefix = fabric.read(instance).sir_prefixes[0].upper
        mappings.put_bulk(instance, addresses(prefix, count), locator=locator)


def run() -> None:
    """Do as the arguments say."""
    atexit.register(_say)
    match sys.argv[1:]:
        case ["command", *arguments]:
            _command(arguments)
        case ["put", name, count, locator]:
            _put(name, int(count), int(locator))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run()
