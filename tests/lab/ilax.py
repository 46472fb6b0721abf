# SPDX-License-Identifier: Apache-2.0
"""The `ilax` command on one host, run as an operator would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.netns import CommandError, Namespace

_LOADER = Path(__file__).parents[2] / "loader"


class Ilax:
    """Runs `ilax --instance NAME ...` in the namespace of a host.

    Args:
        ns: the host.
        instance: name of the instance, one for each host of the lab.
        wrapper: command line in front of it, such as `("setpriv", ...)`.
    """

    def __init__(self, ns: Namespace, instance: str, wrapper: tuple[str, ...] = ()) -> None:
        self.ns = ns
        self.instance = instance
        self.wrapper = wrapper

    def argv(self, *args: object, as_json: bool = False) -> list[str]:
        """The whole command line, without entering the namespace."""
        options = ["--instance", self.instance, *(["--json"] if as_json else [])]
        return [*self.wrapper, sys.executable, "-m", "ilax", *options, *map(str, args)]

    def try_(
        self, *args: object, text_in: str | None = None, as_json: bool = False, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run it; the caller looks at the exit code."""
        argv = self.argv(*args, as_json=as_json)
        return self.ns.run(*argv, check=False, text_in=text_in, env=environment(), timeout=timeout)

    def __call__(self, *args: object, text_in: str | None = None) -> str:
        """Run it and return its output.

        Raises:
            CommandError: it failed.
        """
        done = self.try_(*args, text_in=text_in)
        if done.returncode:
            raise CommandError(done)
        return done.stdout

    def json(self, *args: object) -> Any:
        """Run it with --json and return the decoded answer.

        Raises:
            CommandError: it failed.
        """
        done = self.try_(*args, as_json=True)
        if done.returncode:
            raise CommandError(done)
        return json.loads(done.stdout)

    @property
    def pins(self) -> Path:
        """Folder of all pins of this instance."""
        return Path("/sys/fs/bpf/ilax") / self.instance


def environment() -> dict[str, str]:
    """Environment in which `python -m ilax` finds this source tree."""
    paths = [str(_LOADER), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1"}
