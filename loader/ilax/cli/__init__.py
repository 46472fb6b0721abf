# SPDX-License-Identifier: Apache-2.0
"""The `ilax` command. It holds no state; every module here is one noun.

Commands are imported when they are used, so that none pays for another's
libraries at start-up.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from typing import NoReturn

import click

from ilax import __version__
from ilax.cli import offers
from ilax.cli.context import JSON_HELP, Context, accept_json, legible
from ilax.errors import IlaxError, PrivilegeError, SystemCallError, UsageError
from ilax.instances.instance_name import DEFAULT_INSTANCE
from ilax.instances.pins import BPFFS

# Name of a command: module in this package, and object in it.
_COMMANDS = {
    "up": ("lifecycle", "up"),
    "down": ("lifecycle", "down"),
    "upgrade": ("upgrade", "upgrade"),
    "rollback": ("upgrade", "rollback"),
    "selftest": ("upgrade", "selftest"),
    "status": ("status", "status"),
    "endpoint": ("endpoint", "endpoint"),
    "mapping": ("mapping", "mapping"),
    "limit": ("limit", "limit"),
    "check": ("check", "check"),
    "plan": ("apply", "plan"),
    "apply": ("apply", "apply"),
    "export": ("apply", "export"),
    "address": ("address", "address"),
    "counters": ("counters", "counters"),
    "monitor": ("monitor", "monitor"),
    "top": ("top", "top"),
    "capture": ("capture", "capture"),
    "explain": ("explain", "explain"),
    "trace": ("trace", "trace"),
    "exporter": ("exporter", "exporter"),
    "version": ("version", "version"),
    "completion": ("completion", "completion"),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table above."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry
        command: click.Command = getattr(importlib.import_module(f"ilax.cli.{module}"), attribute)
        return accept_json(command)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--instance",
    default=DEFAULT_INSTANCE,
    envvar="ILAX_INSTANCE",
    show_default=True,
    show_envvar=True,
    help="Which datapath of this machine.",
    shell_complete=offers.INSTANCES,
)
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
@click.option("--verbose", "-v", is_flag=True, help="Log what is done.")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, instance: str, as_json: bool, verbose: bool) -> None:
    """Manage the ilax datapath of this host.

    The pinned BPF maps are the state; this command reads and writes them.

    \b
    Exit codes:
      0 done                      5 missing capability
      1 other error               6 pinned maps of another layout
      2 wrong usage or address    7 a kernel call failed
      3 not found                 8 a map is full
      4 conflict                  9 the kernel refused a program
      From 10 on a command has codes of its own: see its --help.

    \b
    Example:
      ilax up --uplink eth0 --sir-prefix 2001:db8:5a5a:1::/64 \\
              --locator 2001:db8:42:7::/64 --block 2001:db8:42::/48
      ilax endpoint add 2001:db8:5a5a:1:2000::5 --netns web1
      ilax counters --json
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(name)s: %(message)s"
    )
    ctx.obj = Context(instance, as_json)


def main() -> None:
    """Entry point: errors become one clear message and an exit code."""
    try:
        cli(prog_name="ilax")
    except IlaxError as error:
        _fail(error)
    except UnicodeDecodeError as error:
        _fail(UsageError(f"the input is no UTF-8 text ({error.reason}); nothing was written"))
    except PermissionError as error:
        _fail(
            PrivilegeError(
                f"cannot open {error.filename}: {error.strerror}",
                hint="pins are readable by their owner only: run as root"
                if str(error.filename).startswith(str(BPFFS))
                else "run as root, with all capabilities",
            )
        )
    except OSError as error:
        what = f"open {error.filename}" if error.filename else "go on"
        if not error.filename and error.errno in _NO_ROOM:
            # Writing tells no name, and nothing else of ours runs out of room without one.
            what = "write to standard output, or to the file that was named for output"
        _fail(SystemCallError(what, error.errno or errno.EIO))


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _fail(error: IlaxError) -> NoReturn:
    lines = [f"ilax: {error}", *getattr(error, "__notes__", [])]
    if error.hint:
        lines.append(error.hint)
    click.echo(legible("\n      ".join(lines)), err=True)
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try that again at the end, and end with a code of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(error.exit_code)
