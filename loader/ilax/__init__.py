# SPDX-License-Identifier: Apache-2.0
"""ilax: an eBPF/XDP datapath for containers on IPv6-only networks."""

__version__ = "0.1.0"
