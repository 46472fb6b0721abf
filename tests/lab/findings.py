# SPDX-License-Identifier: Apache-2.0
"""`ilax check` as tests ask it, and the commands that it names, run by a shell."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ilax.check import KINDS
from lab.ilax import Ilax, environment
from lab.netns import CommandError, Namespace

CLEAN, WARNINGS, ERRORS = 0, 10, 11


@dataclass(frozen=True)
class Answer:
    """What `ilax --json check` said."""

    code: int
    findings: list[dict[str, Any]]
    mended: list[dict[str, Any]]

    @property
    def ids(self) -> set[str]:
        """Which kinds were found."""
        return {found["id"] for found in self.findings}

    def one(self, name: str) -> dict[str, Any]:
        """The only finding of a kind."""
        (found,) = [found for found in self.findings if found["id"] == name]
        return found


def check(ilax: Ilax, *options: str) -> Answer:
    """Run it; the severities and the exit code must fit what was found."""
    done = ilax.try_("check", *options, as_json=True)
    assert "Traceback" not in done.stderr, done.stderr
    facts = json.loads(done.stdout)
    for found in facts["findings"]:
        assert found["severity"] == KINDS[found["id"]].severity, found
        assert found["object"] and found["seen"] and found["expected"] and found["command"], found
    worst = {found["severity"] for found in facts["findings"]}
    expected = ERRORS if "error" in worst else WARNINGS if "warning" in worst else CLEAN
    assert done.returncode == expected, done
    assert all(not step["problem"] for step in facts["mended"]), facts["mended"]
    return Answer(done.returncode, facts["findings"], facts["mended"])


def shell(ns: Namespace, command: str) -> None:
    """Run a command line of a finding, as root would on that host."""
    # The `ilax` of this source tree, whatever is installed.
    script = f'ilax() {{ {shlex.quote(sys.executable)} -m ilax "$@"; }}\n{command}'
    env = {**environment(), "PATH": os.environ["PATH"]}
    done = ns.run("bash", "-c", script, env=env, check=False)
    # A command may end with a check, which finds what other commands are to mend.
    if done.returncode not in (CLEAN, WARNINGS, ERRORS):
        raise CommandError(done)


def obey(ns: Namespace, findings: Iterable[dict[str, Any]]) -> None:
    """Do what the findings say, each command once."""
    for command in dict.fromkeys(found["command"] for found in findings):
        shell(ns, command)
