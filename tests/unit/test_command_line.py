# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common, as far as it needs no instance and no privilege."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import ilax
from ilax.address import parse, parse_prefix, to_wire
from ilax.cli import check, cli, limit, status
from ilax.cli.context import ReadingCommand, SecondsType
from ilax.errors import IlaxError, NotFoundError, UsageError
from ilax.instances.status import LinkStatus
from ilax.limiting.limit_readings import Rates
from lab.completion import offered

ROOT = Path(__file__).resolve().parents[2]
NOBODY = ("--instance", "no-such-instance")
ENCODE = ("2001:db8:5a5a:1:2000::5", "--locator", "2001:db8:42:7::/64")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="ilax")


def error_of(*arguments: str) -> IlaxError:
    error = run(*arguments).exception
    assert isinstance(error, IlaxError), error
    return error


def commands(context: click.Context | None = None) -> Iterator[click.Context]:
    """A context of every command and group below `ilax`."""
    context = context or click.Context(cli, info_name="ilax")
    assert isinstance(context.command, click.Group)
    for name in context.command.list_commands(context):
        command = context.command.get_command(context, name)
        assert command is not None
        child = click.Context(command, info_name=name, parent=context)
        yield child
        if isinstance(command, click.Group):
            yield from commands(child)


# What a command says of an error that changed nothing: only if it could have changed something.
CHANGING = {
    *("up", "down", "upgrade", "rollback", "apply", "check --fix", "limit gc"),
    *("endpoint add", "endpoint set", "endpoint del"),
    *("mapping add", "mapping del", "mapping import", "limit set", "limit del"),
}


def test_every_command_says_whether_it_only_reads() -> None:
    found = {
        context.command_path.removeprefix("ilax ")
        for context in commands()
        if not isinstance(context.command, click.Group | ReadingCommand)
    }
    # `check` and `limit gc` decide by their options.
    assert found == CHANGING - {"check --fix"} | {"check"}


def test_the_words_that_nothing_was_changed_can_be_left_out() -> None:
    for text, wanted in (
        ("no interface x; nothing was changed", "no interface x"),
        ("2 problems; nothing was changed\n  a:1: b", "2 problems\n  a:1: b"),
        ("cannot set it, so nothing was changed", "cannot set it"),
        ("nothing was exported", "nothing was exported"),
    ):
        error = NotFoundError(text, hint="a hint")
        error.leave_effect_out()
        assert (str(error), error.hint) == (wanted, "a hint")


# --- options of all commands ---------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "address", "encode", *ENCODE),
        ("address", "--json", "encode", *ENCODE),
        ("address", "encode", "--json", *ENCODE),
        ("address", "encode", *ENCODE, "--json"),
        ("--json", "address", "encode", *ENCODE, "--json"),
    ],
    ids=["first", "behind the noun", "behind the verb", "last", "twice"],
)
def test_json_may_stand_anywhere(arguments: tuple[str, ...]) -> None:
    shown = json.loads(run(*arguments).output)
    assert shown["wire"] == "2001:db8:42:7:3000::4a17"


def test_json_of_one_command_is_not_that_of_the_next() -> None:
    assert json.loads(run("version", "--json").output)["ilax"] == ilax.__version__
    assert run("version").output.startswith("ilax ")


def test_every_command_takes_json() -> None:
    without = [
        context.command_path
        for context in commands()
        if [p.opts for p in context.command.params].count(["--json"]) != 1
    ]
    assert not without


def test_the_version_is_an_option_too() -> None:
    assert run("--version").output == f"ilax {ilax.__version__}\n"


# --- values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("up", "--uplink", "x", "--sir-prefix", "2001:db8::/48"), "--sir-prefix: "),
        (("up", "--gateway", "nonsense"), "--gateway: "),
        (("endpoint", "show", "nonsense"), "SIR: "),
        (("mapping", "add", "2001:db8::1", "--locator", "2001:db8::"), None),
        (("mapping", "add", "2001:db8::1", "--locator", "2001:db8::1/64"), "--locator: "),
        (("address", "encode", ENCODE[0], "--locator", "2001:db8::/48"), "--locator: "),
        (("address", "encode", "nonsense", *ENCODE[1:]), "SIR: "),
        (("address", "decode", "2001:db8::1", "--sir-prefix", "x"), "--sir-prefix: "),
        (("monitor", "--src", "2001:db8::/129"), "--src: "),
        (("monitor", "--proto", "300"), "--proto: "),
        (("limit", "set", "x", "--rate", "fast"), "--rate: "),
        (("limit", "set", "x", "--tag-mark", "fast"), "--tag-mark: "),
        (("limit", "watch", "--interval", "1ms"), "--interval: "),
        (("top", "--interval", "10ms"), "--interval: "),
        (("monitor", "--duration", "0"), "--duration: "),
        (("upgrade", "--soak", "soon"), "--soak: "),
        (("upgrade", "--max-drop-rise", "1"), "--max-drop-rise: "),
    ],
)
def test_what_is_wrong_with_a_value_is_told_with_its_name(
    arguments: tuple[str, ...], named: str | None
) -> None:
    error = error_of(*NOBODY, *arguments)
    if named is None:
        assert isinstance(error, NotFoundError)
    else:
        assert isinstance(error, UsageError)
        assert str(error).startswith(named)


@pytest.mark.parametrize("text", ["2", "2s", "2000ms", "0.5", "1e1"])
@pytest.mark.parametrize(
    "command",
    [("top", "--interval"), ("monitor", "--duration"), ("limit", "watch", "--interval")],
    ids=" ".join,
)
def test_times_are_seconds_or_have_a_unit(command: tuple[str, ...], text: str) -> None:
    assert isinstance(error_of(*NOBODY, *command, text), NotFoundError)


def test_all_commands_read_times_alike() -> None:
    found = {
        f"{context.command_path} {parameter.opts[0]}": parameter.type
        for context in commands()
        for parameter in context.command.params
        if parameter.opts[0]
        in ("--interval", "--duration", "--soak", "--before", "--count-mappings")
    }
    assert len(found) == 7
    assert {type(kind) for kind in found.values()} == {SecondsType}


def test_the_example_of_explain_is_an_address_of_the_other_examples() -> None:
    wire = to_wire(parse("2001:db8:5a5a:1:2000::5"), parse_prefix("2001:db8:42:7::/64").upper)
    for text in (run("explain", "--help").output, (ROOT / "docs/watching.md").read_text()):
        (shown,) = re.findall(r"--in uplink .*?--dst (\S+)", text, re.DOTALL)[:1]
        assert shown == str(wire)


# --- what is printed -----------------------------------------------------------------


def test_links_of_many_containers_are_one_line() -> None:
    links = [
        LinkStatus("uplink_egress", "ilax_uplink_egress", "aa", 2, 0, "eth0"),
        *(LinkStatus(f"port_{n}", "ilax_from_task", "bb", n, 0) for n in range(300)),
        LinkStatus("port_999", "ilax_from_task", "cc", 999, 0),
    ]
    assert status._links(links, here=True) == [
        ("uplink_egress", "ilax_uplink_egress", "aa", "eth0"),
        # The device of port_0 is gone.
        ("port_*", "ilax_from_task", "bb", "300 interfaces, 1 gone"),
        ("port_999", "ilax_from_task", "cc", "interface 999 (gone)"),
    ]


def test_a_finding_of_several_lines_keeps_its_indentation() -> None:
    from ilax.check import Finding, Report
    from ilax.check.model import Severity

    finding = Finding("instance.layout", Severity.ERROR, "x", "one\n  two\nthree", "e", "c")
    lines = check._text(Report("i", 1, [finding]), [finding]).splitlines()
    assert [lines[1], lines[2], lines[3]] == [
        f"{'':9}seen      one",
        f"{'':19}two",
        f"{'':19}three",
    ]


def test_watch_fits_80_columns_and_keeps_the_ends_of_names() -> None:
    rates = [
        Rates(f"machine.slice/container-{n}.scope", n, 123e6, 123e3, 123e6, 123e3, 123e6, 123e3, n)
        for n in range(100_000, 100_003)
    ]
    whole = limit._rates_table(rates, None)
    assert rates[0].cgroup in whole
    header, *rows = limit._rates_table(rates, 80).splitlines()
    assert max(map(len, [header, *rows])) <= 80
    assert header.split()[1:3] == ["pass", "bit/s"]
    for row, one in zip(rows, rates, strict=True):
        name = row.split()[0]
        assert name[0] == "…"
        assert one.cgroup.endswith(name[1:])
        assert f"{one.id}.scope" in name


# --- ends ----------------------------------------------------------------------------


def test_an_interrupt_while_modules_are_imported_prints_no_traceback() -> None:
    program = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from ilax.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "Aborted!\n")


def test_an_output_that_is_full_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ilax", "version"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 7
    assert done.stderr.startswith("ilax: cannot write to standard output, ")
    assert done.stderr.endswith(": No space left on device (ENOSPC)\n")


# --- completion ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ilax endp", ["endpoint"]),
        ("ilax endpoint ", ["add", "del", "list", "set", "show"]),
        ("ilax up --xdp ", ["auto", "native", "off"]),
        ("ilax up --xdp=na", ["native"]),
        ("ilax monitor --reason drop_no_m", ["drop_no_mapping"]),
        ("ilax monitor --hook xdp", ["xdp_ingress"]),
        ("ilax check --ignore instance.lay", ["instance.layout"]),
        ("ilax up --uplink l", ["lo"]),
        ("ilax endpoint show 2001:", []),
        ("ilax --instance no-such-instance endpoint show ", []),
    ],
)
def test_bash_offers_values(line: str, expected: list[str]) -> None:
    assert offered(line) == expected
