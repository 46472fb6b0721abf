# SPDX-License-Identifier: Apache-2.0
"""Instances of one network namespace, and what only one of them can have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ilax import fabric
from ilax.address import parse_prefix
from ilax.instance import Instance

from .conftest import LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab
from .test_check import check

CONFLICT = 4
OTHER_SIR = "2001:db8:5a5a:2::/64"


@pytest.fixture
def second(running: Lab) -> Iterator[Lab]:
    """Another instance beside the one that runs, not up yet."""
    other = replace(running, instance=f"{running.instance}-b")
    yield other
    other.ilax("down")


def _up(lab: Lab, sir_prefix: str, locator: str, *more: str) -> tuple[int, str]:
    done = lab.ilax(
        "up", "--uplink", UPLINK, "--sir-prefix", sir_prefix, "--locator", locator, *more,
        "--max-endpoints", "64", "--max-mappings", "1024",
    )  # fmt: skip
    return done.exit_code, str(done.exception)


def test_a_prefix_is_one_instances(running: Lab, second: Lab) -> None:
    for sir_prefix, locators, word in (
        (SIR_PREFIX, (OTHER_LOCATOR,), f"SIR prefix {SIR_PREFIX}"),
        (OTHER_SIR, (LOCATOR,), f"locator {LOCATOR}"),
        (OTHER_SIR, (OTHER_LOCATOR, "--locator", LOCATOR), f"locator {LOCATOR}"),
    ):
        code, text = _up(second, sir_prefix, *locators)
        assert code == CONFLICT
        assert f"instance {running.instance} serves {word} in this network namespace" in text
        assert "nothing was changed" in text
        assert second.ilax("status").exit_code != 0
    assert _up(second, OTHER_SIR, OTHER_LOCATOR) == (0, "None")
    assert check(second) == check(running) == []
    # The same for a locator that comes later.
    assert _up(second, OTHER_SIR, LOCATOR)[0] == CONFLICT


def test_check_says_of_both_what_they_share(running: Lab, second: Lab) -> None:
    assert _up(second, OTHER_SIR, OTHER_LOCATOR) == (0, "None")
    with Instance.open(second.instance) as opened:
        known = fabric.read(opened)
        fabric.write(opened, replace(known, locators=(parse_prefix(LOCATOR),)))
    for lab, other in ((running, second), (second, running)):
        (found,) = check(lab)
        assert (found["id"], found["object"]) == ("prefixes.shared", LOCATOR)
        assert found["seen"] == f"a locator of instance {other.instance}, too"
        assert "--locator PREFIX" in found["command"]
