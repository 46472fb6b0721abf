# SPDX-License-Identifier: Apache-2.0
"""Commands that wait for the lock decide by what is there when they have it."""

from __future__ import annotations

import json

from ilax.contract.tables import index_key
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.translation import fabric
from lab.line import line

from .conftest import BLOCK, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, ip, sir

OTHER_BLOCK = "2001:db8:40::/44"
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


def test_check_fix_does_not_undo_an_up_that_comes_after_its_look(running: Lab) -> None:
    """It runs unattended, by a timer and by the hook of network managers."""
    ip("link", "set", UPLINK, "mtu", "1480")
    with line(running.instance) as waiting:
        waiting.join("check", "--fix", "--fail-on", "never")
        waiting.join(*UP, "--locator", LOCATOR, "--block", OTHER_BLOCK, "--gateway", "fe80::1")
    assert waiting.codes() == [0, 0], waiting.ended
    assert "mended   uplink.mtu" in waiting.ended[0].stdout
    with Instance.open(running.instance) as opened:
        assert [str(block) for block in fabric.read(opened).blocks] == [OTHER_BLOCK]
        row = opened.config.get(index_key(0))
    assert row is not None
    assert (int(row["uplink_mtu"]), int(row["gateway"]["identifier"])) == (1480, 1)


def test_check_fix_ends_a_down_before_an_up_and_not_after_it(running: Lab) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    PinFolder(running.instance).doomed.mkdir()  # as a killed `down` leaves it
    with line(running.instance) as waiting:
        waiting.join("check", "--fix", "--fail-on", "never")
        waiting.join(*UP, "--locator", LOCATOR, "--block", BLOCK)
    assert waiting.codes() == [0, 0], waiting.ended
    assert "mended   instance.remains" in waiting.ended[0].stdout
    assert running.ilax("status").exit_code == 0
