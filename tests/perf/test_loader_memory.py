# SPDX-License-Identifier: Apache-2.0
"""The programs whose memory is measured do what their rows claim."""

from __future__ import annotations

import os

import pytest

from ilax.instances.instance import Instance
from ilax_perf.loader_memory import peak
from lab.operator import Options, up_arguments
from lab.topology import Lab, Plan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

COUNT = 5000


def test_mappings_are_put_from_arrays_and_a_command_runs() -> None:
    with Lab.make("ilxperfk", Plan(hosts=1, containers=0)) as lab:
        (host,) = lab.hosts
        host.ilax(*up_arguments(lab, host, Options(extra=("--max-mappings", "8192"))))
        name, locator = host.ilax.instance, int(lab.plan.locator(2).network_address) >> 64
        with host.ns.entered():
            put = peak(["put", name, str(COUNT), str(locator)])
            status = peak(["command", "--instance", name, "status"])
            with Instance.open(name) as instance:
                assert len(instance.mappings.rows()[0]) == COUNT
    # numpy is loaded for arrays, and not for what needs none.
    assert 1 < status < put < 1000
