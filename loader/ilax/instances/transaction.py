# SPDX-License-Identifier: Apache-2.0
"""All or nothing over things that know no transactions: pins, links, routes, rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self

P = ParamSpec("P")


class Transaction:
    """A block whose steps are undone unless all of them hold.

    Every step says how it is undone, right after it was done. Taking away what
    a step replaced is put off until the end: until then, going back needs it.
    """

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []
        self._finish: list[Callable[[], object]] = []

    def on_failure(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a step if the block fails; the newest one runs first."""
        self._undo.append(partial(step, *args, **kwargs))

    def on_success(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a step when the block has succeeded; the oldest one runs first."""
        self._finish.append(partial(step, *args, **kwargs))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            for step in self._finish:
                step()
            return
        for step in reversed(self._undo):
            try:
                step()
            # Also a second Ctrl-C: half undone is worse than late.
            except BaseException as second:
                error.add_note(f"going back was not complete: {second}")
