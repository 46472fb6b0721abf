# SPDX-License-Identifier: Apache-2.0
"""The programs of this installation, as the kernel names them: by their tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilax import schema
from ilax.bpf import Object
from ilax.program_set import OBJECTS

if TYPE_CHECKING:
    from ilax.check.view import View


def tags(view: View) -> dict[str, str]:
    """Tag of each program, by name.

    The kernel makes tags when it loads a program, after libbpf has fitted it to the
    kernel. So each is loaded over the maps of the instance, attached to nothing, and
    let go.

    Raises:
        VerifierError: the kernel refused a program.
        PrivilegeError: a capability is missing.
    """
    if view.installed is None:
        found = {}
        for object_name, name in OBJECTS.items():
            with Object.open(schema.object_path(object_name)) as obj:
                obj.reuse_maps(view.instance.maps)
                obj.load()
                with obj.programs[name].open() as program:
                    found[name] = program.tag
        view.installed = found
    return view.installed
