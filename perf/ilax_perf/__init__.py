# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: what ilax costs, beside bare programs and the kernel's own routing.

Run as `python -m ilax_perf`; perf/README.md says what each row means.
"""
