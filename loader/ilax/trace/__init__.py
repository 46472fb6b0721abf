# SPDX-License-Identifier: Apache-2.0
"""What the kernel does with packets where ilax has no counter; by bcc, while asked to.

- `needs`: what this takes from the host, and what of it is missing
- `layout`: the running kernel's types: where fields lie, which probes there are
- `probes`: what is attached, and what each probe is good for
- `probes.c`: the programs; bcc compiles them here and now
- `devices`: which interfaces are the uplink
- `session`: compile, attach, read
- `histogram`, `report`: what was found
- `text`: the same, to be read

Nothing else in ilax imports bcc, and the datapath knows nothing of this.
"""
