# SPDX-License-Identifier: Apache-2.0
"""Hosts, routers and containers as network namespaces, and tools to look at them.

Everything made here is removed again when its context ends, also after an
error or a signal; what a killed run left behind is removed by the next one.
Interfaces are configured with iproute2 and programs are run with nsenter, as an
operator would do it.
"""
