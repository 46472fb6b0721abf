# SPDX-License-Identifier: Apache-2.0
"""What the host's kernel offers: devices, routes, cgroups, privileges."""
