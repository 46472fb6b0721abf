# SPDX-License-Identifier: Apache-2.0
"""The programs of this installation, as the kernel names them: by their tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax.bpf import Object
from ilax.contract import schema
from ilax.hooks.program_set import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ilax.bpf import Map

# Once for a process: neither its objects nor the kernel change.
_known: dict[str, str] = {}


def tags(maps: Mapping[str, Map]) -> dict[str, str]:
    """Tag of each program, by name.

    The kernel makes tags when it loads a program, after libbpf has fitted it to the
    kernel. So each is loaded, attached to nothing, and let go.

    Args:
        maps: to load them over; which ones makes no difference to the tags.

    Raises:
        VerifierError: the kernel refused a program.
        PrivilegeError: a capability is missing.
    """
    if not _known:
        found = {}
        for object_name, name in OBJECTS.items():
            with Object.open(schema.object_path(object_name)) as obj:
                obj.reuse_maps(dict(maps))
                obj.load()
                with obj.programs[name].open() as program:
                    found[name] = program.tag
        _known.update(found)
    return dict(_known)
