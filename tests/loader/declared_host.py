# SPDX-License-Identifier: Apache-2.0
"""A host and its file: tables of it, and the commands that compare the two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ilax.address import parse
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from ilax.translation import mappings

from .conftest import FILE_HEAD, OTHER_LOCATOR, TAG, Lab, ip, sir

CHANGES = 10

UP = f"{FILE_HEAD}max-limits = 64\n"


def task(number: int, *more: str) -> str:
    lines = ["[[endpoint]]", f'sir = "{sir(number)}"', f'netns = "{TAG}-n{number}"']
    return "\n".join([*lines, f'device = "eth{number}"', *more])


def row(number: int, locator: str = OTHER_LOCATOR) -> str:
    return f'[[mapping]]\nsir = "{sir(number)}"\nlocator = "{locator}"'


def limited(cgroup: str, *more: str) -> str:
    return "\n".join(["[[limit]]", f'cgroup = "{cgroup}"', *more])


class Host:
    """A lab and its file."""

    def __init__(self, lab: Lab, file: Path) -> None:
        self.lab = lab
        self.file = file

    @classmethod
    def with_tasks(cls, lab: Lab, folder: Path, *numbers: int) -> Host:
        """Also make the namespaces of so many tasks; the lab removes them."""
        for number in numbers:
            ip("netns", "add", f"{TAG}-n{number}")
        return cls(lab, folder / "host.toml")

    def write(self, *tables: str, up: str = UP) -> None:
        self.file.write_text("\n".join([up, *tables]))

    def plan(self, *options: str, code: int = 0) -> dict[str, Any]:
        done = self.lab.ilax("--json", "plan", *options, "--exit-code", str(self.file))
        assert done.exit_code in ((0, CHANGES) if not code else (code,)), done.output
        told: dict[str, Any] = json.loads(done.stdout or "{}")
        if not code:
            assert (done.exit_code == CHANGES) == told["changes"]
            assert not told["blocked"]
        return told

    def apply(self, *options: str) -> str:
        """Apply, and see that nothing is left to do."""
        done = self.lab.ilax("apply", *options, str(self.file))
        assert done.exit_code == 0, (done.output, done.stderr)
        again = self.plan(*options)
        assert not again["changes"], again
        return done.output

    def export(self) -> str:
        done = self.lab.ilax("export")
        assert done.exit_code == 0, done.output
        return done.output

    def endpoint(self, number: int) -> endpoints.Endpoint:
        with Instance.open(self.lab.instance) as opened:
            return endpoints.find(opened, parse(sir(number)))

    def wire(self, number: int) -> mappings.Mapping | None:
        with Instance.open(self.lab.instance) as opened:
            return mappings.get(opened, parse(sir(number)))
