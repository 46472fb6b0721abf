# SPDX-License-Identifier: Apache-2.0
"""What every command pays for: libraries of one are not imported for all."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["ilax.cli", "ilax.cli.mapping"])
def test_the_command_line_imports_what_all_commands_use(module: str) -> None:
    code = f"import sys, {module}; print({{'csv', 'numpy', 'tomllib'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
