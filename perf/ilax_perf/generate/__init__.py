# SPDX-License-Identifier: Apache-2.0
"""Packet generators behind one interface.

`Traffic` says what is to be sent, a `Generator` sends it, and `choose` finds the
generator that can. `perf/ilax-perf generate` is all of it on the command line.
"""
