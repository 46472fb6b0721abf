# SPDX-License-Identifier: Apache-2.0
"""All or nothing over things that know no transactions: pins, links, routes, rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from ilax.errors import IlaxError

P = ParamSpec("P")
H = TypeVar("H", bound=AbstractContextManager[object])


class Transaction:
    """A block whose steps are undone unless all of them hold.

    Every step says how it is undone, right after it was done. Taking away what
    a step replaced is put off until the end: until then, going back needs it. One that
    fails there does not keep the others from being taken.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self._undo: list[Callable[[], object]] = []
        self._finish: list[Callable[[], object]] = []

    def on_failure(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a step if the block fails; the newest one runs first."""
        self._undo.append(partial(step, *args, **kwargs))

    def on_success(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a step when the block has succeeded; the oldest one runs first."""
        self._finish.append(partial(step, *args, **kwargs))

    def hold(self, handle: H) -> H:
        """Keep open what going back needs, and close it in the end."""
        self._held.enter_context(handle)
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            if error is None:
                self._take_away()
                return
            for step in reversed(self._undo):
                try:
                    step()
                # Also a second Ctrl-C: half undone is worse than late.
                except BaseException as second:
                    error.add_note(f"going back was not complete: {_said(second)}")

    def _take_away(self) -> None:
        first: BaseException | None = None
        for step in self._finish:
            try:
                step()
            # Also a Ctrl-C: the next steps belong to what has been done already.
            except BaseException as error:
                if first is None:
                    first = error
                    first.add_note("the change is made; some of what it replaced is left")
                else:
                    first.add_note(f"left as well: {_said(error)}")
        if first is not None:
            raise first


def _said(error: BaseException) -> str:
    """What an error says; others than ours may say no more than a key."""
    return str(error) if isinstance(error, IlaxError) else repr(error)
