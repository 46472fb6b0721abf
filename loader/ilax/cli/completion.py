# SPDX-License-Identifier: Apache-2.0
"""`ilax completion`."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, get_completion_class

from ilax.cli.context import Context, ReadingCommand, pass_context

# As click's own, but for colons: bash splits words at them, and addresses are full of
# them. So words are taken from the line, and what bash holds for done is cut off again.
_BASH = """\
%(complete_func)s() {
    local IFS=$' \\t' line=${COMP_LINE:0:COMP_POINT} typed done_part="" type value
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    typed=${words[-1]}
    [[ $typed == -*=* ]] && typed=${typed#*=}
    [[ $COMP_WORDBREAKS == *:* ]] && done_part=${typed%%"${typed##*:}"}
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain) COMPREPLY+=("${value#"$done_part"}") ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    source_template = _BASH


@click.command(cls=ReadingCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
@pass_context
def completion(context: Context, ctx: click.Context, shell: str) -> None:
    """Print a completion script for a shell.

    It offers commands, options and values, such as endpoints of the instance that is up
    (to root) and cgroups. The Debian package has brought it along.

    \b
    Example:
      ilax completion bash > /etc/bash_completion.d/ilax
    """
    text = script(ctx.find_root().command, shell)
    context.show({"shell": shell, "script": text}, text)


def script(root: click.Command, shell: str) -> str:
    """The completion script for a shell: "bash", "zsh" or "fish"."""
    kind = _Bash if shell == "bash" else get_completion_class(shell)
    assert kind is not None
    return kind(root, {}, "ilax", "_ILAX_COMPLETE").source()
