# SPDX-License-Identifier: Apache-2.0
"""Kill a command at a chosen step: at one of the calls by which it changes something."""

from __future__ import annotations

from dataclasses import dataclass

from lab.ilax import Ilax


@dataclass(frozen=True)
class Step:
    """One call whose effect outlives the process that makes it.

    Attributes:
        number: it is the n-th one of its command.
        text: the call, with what it is about.
    """

    number: int
    text: str

    @property
    def call(self) -> str:
        """Name of the system call."""
        return self.text.partition("(")[0]

    def __str__(self) -> str:
        return f"{self.number}: {self.text}"


def some(found: list[Step], count: int) -> list[Step]:
    """`count` of many steps, evenly spread, with the first and the last one."""
    if len(found) <= count:
        return found
    return [found[round(i * (len(found) - 1) / (count - 1))] for i in range(count)]


def steps(ilax: Ilax, *args: object, code: int = 0) -> list[Step]:
    """Run a command to its end and list the steps it took.

    Args:
        code: with which it ends.

    Raises:
        AssertionError: it ended with another one.
    """
    done, texts = ilax.stepwise(0, *args)
    assert done.returncode == code, done
    return [Step(number, text) for number, text in enumerate(texts, 1)]


def kill_at(ilax: Ilax, step: Step, *args: object, alike: bool = True) -> None:
    """Run a command that is killed when it enters a step.

    Args:
        alike: it takes the steps that it took before; otherwise it goes on from where
            another kill left it, and `step` only says how far.

    Raises:
        AssertionError: it was not killed, or elsewhere: it does not repeat its steps.
    """
    done, texts = ilax.stepwise(step.number, *args)
    assert done.returncode == -9, (step, done)
    if alike:
        assert Step(step.number, texts[-1]).call == step.call, (step, texts[-1])
