#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Man pages of all commands, from what their `--help` is made of.

.venv/bin/python tools/man_pages.py build/man
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import ilax
from ilax.cli import cli

_SECTION = 8
_VERBATIM = "\b"


def main() -> None:
    """Write one page for each command into the folder that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: man_pages.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / f"{name}.{_SECTION}").write_text(text, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Name and text of each page, the command itself first."""
    yield from _walk(click.Context(cli, info_name="ilax"))


def _walk(context: click.Context) -> Iterator[tuple[str, str]]:
    command = context.command
    children: list[click.Context] = []
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                children.append(click.Context(child, info_name=name, parent=context))
    yield context.command_path.replace(" ", "-"), _page(context, children)
    for each in children:
        yield from _walk(each)


def _page(context: click.Context, children: list[click.Context]) -> str:
    path, command = context.command_path, context.command
    title = path.replace(" ", "-")
    lines = [
        f'.TH "{title.upper()}" {_SECTION} "" "ilax {ilax.__version__}" "ilax"',
        ".SH NAME",
        _escape(f"{title} - {command.get_short_help_str(limit=200).rstrip('.')}"),
        ".SH SYNOPSIS",
        f".B {_escape(path)}",
        _escape(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_description(command.help or ""),
    ]
    records = (p.get_help_record(context) for p in command.get_params(context))
    options = [record for record in records if record and record[1]]
    if options:
        lines.append(".SH OPTIONS")
    for names, text in options:
        lines += [".TP", f".B {_escape(names)}", _escape(text)]
    if children:
        lines.append(".SH COMMANDS")
    for child in children:
        lines += [
            ".TP",
            f".BR {_escape(child.command_path.replace(' ', '-'))} ({_SECTION})",
            _escape(child.command.get_short_help_str(limit=200)),
        ]
    if context.parent is not None:
        lines += [".SH SEE ALSO", f".BR ilax ({_SECTION})"]
    return "\n".join(lines) + "\n"


def _description(text: str) -> Iterator[str]:
    """Paragraphs as click has them: filled, or verbatim where click was told so."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        verbatim = paragraph.startswith(_VERBATIM)
        lines = paragraph.removeprefix(_VERBATIM).strip("\n").split("\n")
        if verbatim:
            yield from (".PP", ".nf", *(_escape(line) for line in lines), ".fi")
        else:
            yield from (".PP", _escape(" ".join(line.strip() for line in lines)))


def _escape(text: str) -> str:
    """Text that troff takes as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
