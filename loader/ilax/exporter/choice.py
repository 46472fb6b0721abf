# SPDX-License-Identifier: Apache-2.0
"""Which rows get series of their own: `all`, `top:N` or `none`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Choice:
    """At most so many rows, those with the highest scores.

    Attributes:
        most: None = all of them.
    """

    most: int | None

    @property
    def none(self) -> bool:
        """Whether no row is ever chosen, so that scores need not be read."""
        return self.most == 0

    def left_out(self, count: int) -> int:
        """How many of `count` rows are not chosen."""
        return 0 if self.most is None else max(0, count - self.most)

    def pick(self, scores: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Indices of the chosen rows, shape (chosen,), in ascending order.

        Of equal scores the earlier row is chosen, so that a choice does not change
        without a reason.
        """
        import numpy as np

        if self.most is None or len(scores) <= self.most:
            return np.arange(len(scores))
        # Descending and stable; unsigned numbers have no negative.
        order = np.argsort(~scores.astype(np.uint64), kind="stable")
        return np.sort(order[: self.most])


def parse(text: str) -> Choice:
    """Read `all`, `top:N` or `none`.

    Raises:
        UsageError: something else stands there.
    """
    if text in ("all", "none"):
        return Choice(None if text == "all" else 0)
    match = re.fullmatch(r"top:(\d{1,9})", text, re.ASCII)
    if not match:
        raise UsageError(f"{text} is none of: all, top:N (such as top:100), none")
    return Choice(int(match[1]))
