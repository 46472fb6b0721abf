# SPDX-License-Identifier: Apache-2.0
"""Compile the BPF objects before a wheel, an sdist or an editable install is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ObjectsBuildHook(BuildHookInterface[Any]):
    """Runs the same recipe as `make objects`; a process, so that nothing is imported by path."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; the build fails with the compiler's messages when that fails."""
        command = [sys.executable, str(Path(self.root) / "tools" / "build_objects.py")]
        if version != "editable":
            command.append("--force")  # nothing left over goes into a package
        try:
            subprocess.run(command, check=True)
        except subprocess.CalledProcessError:
            raise SystemExit("ilax: the BPF objects could not be compiled, see above") from None
