# SPDX-License-Identifier: Apache-2.0
"""The kernel's pktgen: a typed driver of its control files, and a generator made of it.

`control` writes lines and reads what the kernel says about them, `settings` has the
lines that a device takes, `driver` the files, `presets` well-known arrangements, and
`generator` sends a `Traffic`.
"""
