# SPDX-License-Identifier: Apache-2.0
"""`ilax check`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ilax.cli import offers
from ilax.cli.context import Context, only_reading, pass_context, plain, table

if TYPE_CHECKING:
    from ilax.check import Finding, Report

# Beyond the exit codes of errors, which every command shares.
WARNINGS, ERRORS = 10, 11

_LEVELS = ("error", "warning", "info")


@click.command()
@click.option("--fix", is_flag=True, help="Mend what is safe, then check again.")
@click.option("--list", "as_list", is_flag=True, help="Print all kinds of findings; check nothing.")
@click.option(
    "--fail-on", type=click.Choice([*_LEVELS, "never"]), default="warning", show_default=True,
    help="The least severity that makes the exit code 10 or 11.",
)  # fmt: skip
@click.option(
    "--ignore", "ignored", multiple=True, metavar="ID", shell_complete=offers.FINDINGS,
    help="Leave out findings of a kind that is known and accepted. May be repeated.",
)  # fmt: skip
@click.option(
    "--report", "report_file", type=click.Path(path_type=Path, readable=False), metavar="FILE",
    help="Also write the counts there, for `ilax exporter`; in one step.",
)  # fmt: skip
@pass_context
def check(
    context: Context,
    fix: bool,
    as_list: bool,
    fail_on: str,
    ignored: tuple[str, ...],
    report_file: Path | None,
) -> None:
    """Compare what is wanted with what is there; say how to mend it.

    Reads only, unless --fix is given. That mends what can be mended without
    touching what is not ours and without disturbing traffic that flows; the rest
    has a command.

    \b
    Exit codes, beside those of all commands:
      0   clean, or nothing as bad as --fail-on
      10  warnings (or infos, with --fail-on info)
      11  errors

    \b
    Example:
      ilax check
      ilax check --fix
      ilax check --fail-on error --ignore hook.foreign-before --json
      ilax check --fail-on never --report /run/ilax/check-default.json
    """
    from ilax import check as checking
    from ilax.errors import UsageError

    if as_list:
        _list(context)
        return
    unknown = sorted(set(ignored) - checking.KINDS.keys())
    if unknown:
        raise UsageError(
            f"there is no finding {unknown[0]}",
            hint="`ilax check --list` shows all",
        )
    start = time.perf_counter()
    if fix:
        report = checking.mend(context.instance)
    else:
        with only_reading():
            report = checking.look(context.instance)
    findings = [f for f in report.findings if f.id not in ignored]
    if report_file is not None:
        from ilax.check import record

        record.write(report_file, report, findings, time.perf_counter() - start, ignored)
    context.show(_facts(report, findings), _text(report, findings))
    sys.exit(_exit_code(findings, fail_on))


def _list(context: Context) -> None:
    from ilax.check import KINDS

    kinds = sorted(KINDS.values(), key=lambda kind: kind.id)
    rows = [(k.id, k.severity, k.remedy, k.meaning) for k in kinds]
    context.show(kinds, table(("id", "severity", "--fix", "meaning"), rows))


def _exit_code(findings: list[Finding], fail_on: str) -> int:
    if fail_on == "never":
        return 0
    counted = [f for f in findings if _LEVELS.index(f.severity) <= _LEVELS.index(fail_on)]
    if any(f.severity == "error" for f in counted):
        return ERRORS
    return WARNINGS if counted else 0


def _facts(report: Report, findings: list[Finding]) -> dict[str, object]:
    import platform

    from ilax import __version__
    from ilax.bpf import _libbpf

    lib = _libbpf.lib
    return {
        "instance": report.instance,
        "ilax": __version__,
        "kernel": platform.release(),
        "libbpf": f"{lib.libbpf_major_version()}.{lib.libbpf_minor_version()}",
        "checks": report.checks,
        "mended": plain(report.mended),
        "findings": [{k: v for k, v in plain(f).items() if k != "step"} for f in findings],
    }


def _below(text: str) -> str:
    """Text of several lines, those after the first below it."""
    return "\n".join(
        line if not number else f"{'':19}{line.strip()}"
        for number, line in enumerate(text.splitlines())
    )


def _text(report: Report, findings: list[Finding]) -> str:
    lines = [
        f"mended   {m.id}  {m.object}" if not m.problem
        else f"tried    {m.id}  {m.object}\n         {m.problem}"
        for m in report.mended
    ]  # fmt: skip
    for found in findings:
        lines += [
            f"{found.severity:8} {found.id}  {found.object}",
            f"         seen      {_below(found.seen)}",
            f"         expected  {_below(found.expected)}",
            f"         mend      {_below(found.command)}"
            + ("" if found.remedy == "nothing" else "  (or --fix)"),
        ]
    counts = {level: sum(f.severity == level for f in findings) for level in _LEVELS}
    words = ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n)
    lines.append(f"{report.checks} checks of instance {report.instance}: {words or 'clean'}")
    return "\n".join(lines)
