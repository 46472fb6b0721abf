# SPDX-License-Identifier: Apache-2.0
"""Commands that wait for the lock decide by what is there when they have it."""

from __future__ import annotations

import json

from lab.line import line

from .conftest import BLOCK, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, sir

UP = ("up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX)


def test_an_endpoint_is_made_at_the_locator_that_an_up_before_it_has_left(running: Lab) -> None:
    both = (*UP, "--locator", OTHER_LOCATOR, "--locator", LOCATOR, "--block", BLOCK)
    assert running.ilax(*both).exit_code == 0
    with line(running.instance) as waiting:
        waiting.join(*UP, "--locator", LOCATOR, "--block", BLOCK)
        waiting.join("endpoint", "add", sir(7), "--netns", running.container)
    assert waiting.codes() == [0, 0], waiting.ended
    (made,) = json.loads(running.ilax("--json", "endpoint", "list").output)
    assert made["wire"].startswith(LOCATOR.removesuffix("::/64"))
