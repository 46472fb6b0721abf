# SPDX-License-Identifier: Apache-2.0
"""What bash is told to offer behind a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ilax.cli import cli, completion

# As bash has it, and what it calls.
BREAKS = " \t\n\"'><=;|&(:"
_ASK = """
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$2
_ilax_completion ilax
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(line: str, breaks: str = BREAKS) -> list[str]:
    """Words that would stand for the last one of a line.

    Args:
        breaks: where bash splits words.
    """
    program = f"{completion.script(cli, 'bash')}\n{_ASK}"
    done = subprocess.run(
        ["bash", "--norc", "-c", program, "bash", line, breaks],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    return done.stdout.split()
