# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of the loader: one namespace, one instance, real maps."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ilax.cli import cli
from ilax.contract.tables import index_key
from ilax.errors import IlaxError
from ilax.instances.instance import Instance
from ilax.system import netlink
from lab.cgroups import Cgroups, own_cgroups
from lab.cleanup import PREFIX, owned, unwinding_signals

SIR_PREFIX = "2001:db8:5a5a:1::/64"
LOCATOR = "2001:db8:42:7::/64"
OTHER_LOCATOR = "2001:db8:42:8::/64"
BLOCK = "2001:db8:42::/48"
UPLINK = "up0"
TAG = f"{PREFIX}{os.getpid():x}unit"
CONTAINER = f"{TAG}-c"
# How a file for `ilax apply` begins that declares what `Lab.up` makes.
FILE_HEAD = f"""\
version = 1
[up]
uplink = "{UPLINK}"
sir-prefix = "{SIR_PREFIX}"
locator = "{LOCATOR}"
block = "{BLOCK}"
max-endpoints = 64
max-mappings = 1024
"""


def sir(number: int) -> str:
    """A SIR address with a valid identifier, for 1..65535."""
    return f"2001:db8:5a5a:1:2000::{number:x}"


@dataclass
class Lab:
    """A namespace with an uplink, entered by this process while the test runs."""

    instance: str
    namespace: str
    container: str

    def ilax(self, *arguments: str, text: str | None = None) -> Result:
        """Run the command line in this process; the result has its exit code.

        Errors are turned into exit codes as `ilax.cli.main` does.
        """
        result = CliRunner().invoke(
            cli, ["--instance", self.instance, *arguments], input=text, prog_name="ilax"
        )
        if isinstance(result.exception, IlaxError):
            result.exit_code = result.exception.exit_code
        elif result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def up(self, *arguments: str) -> Result:
        """`ilax up` with this lab's prefixes."""
        return self.ilax(
            "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR,
            "--block", BLOCK, "--max-endpoints", "64", "--max-mappings", "1024", *arguments,
        )  # fmt: skip

    def set_config(self, **fields: int) -> None:
        """Overwrite fields of the row of ilax_config, as no loader would."""
        with Instance.open(self.instance) as instance:
            row = instance.config.get(index_key(0))
            assert row is not None
            row = row.copy()
            for name, value in fields.items():
                row[name] = value
            instance.config.put(index_key(0), row)


def ip(*arguments: str) -> None:
    """Run `ip`; it must succeed."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session", autouse=True)
def _session() -> Iterator[None]:
    """A signal ends the tests like an error, so that nothing stays behind."""
    with unwinding_signals():
        yield


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Namespaces and an uplink; this process is inside of the host's namespace.

    What a run that was killed has left of them is removed first.
    """
    host = f"{TAG}-h"
    with owned(TAG):
        for name in (host, CONTAINER):
            ip("netns", "add", name)
        ip("link", "add", UPLINK, "netns", host, "type", "veth", "peer", "far", "netns", CONTAINER)
        ip("-n", host, "link", "set", UPLINK, "up")
        ip("-n", CONTAINER, "link", "set", "far", "up")
        with Path(f"/run/netns/{host}").open() as namespace, netlink.inside(namespace.fileno()):
            yield Lab(f"{TAG}-i", host, CONTAINER)


@pytest.fixture
def running(lab: Lab) -> Lab:
    """The lab with an instance that is up."""
    result = lab.up()
    assert result.exit_code == 0, result.output
    return lab


@pytest.fixture
def folder() -> Iterator[Cgroups]:
    """A cgroup of this run, for more of them inside."""
    with own_cgroups(TAG) as made:
        yield made


Runner = Callable[..., Result]
