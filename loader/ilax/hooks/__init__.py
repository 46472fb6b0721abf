# SPDX-License-Identifier: Apache-2.0
"""Programs and the hooks they run on."""
