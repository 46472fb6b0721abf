# SPDX-License-Identifier: Apache-2.0
"""Command line of the benchmarks; `perf/ilax-perf` runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# The network labs are shared with the tests.
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT / "loader")]

_USAGE = """\
usage: ilax-perf COMMAND [ARGUMENT]...

  run       measure ilax, as root (`make bench`)
  compare   what changed between two results, beyond noise
  plots     draw the pictures of a result
  scale     compute the numbers of docs/scale.md anew
  generate  send packets out of a device, as root

`ilax-perf COMMAND --help` says more; perf/README.md says what each row means."""


def _command(name: str) -> Callable[[Sequence[str]], int] | None:
    """What a command runs; measuring needs much that the others do not."""
    if name == "run":
        from ilax_perf import main

        return main.main
    if name == "compare":
        from ilax_perf import compare_cli

        return compare_cli.main
    if name == "plots":
        from ilax_perf import plots

        return plots.main
    if name == "scale":
        from ilax_perf import scale

        return scale.main
    if name == "generate":
        from ilax_perf.generate import cli

        return cli.main
    return None


def main() -> int:
    """Run one of the commands; exit code 2 if there is no such command."""
    name, *words = sys.argv[1:] or [""]
    command = _command(name)
    if command is not None:
        return command(words)
    asked = name in ("-h", "--help")
    print(_USAGE, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
