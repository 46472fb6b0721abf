# SPDX-License-Identifier: Apache-2.0
"""The programs of this installation: their tags in this kernel, and the maps that they use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.bpf import Object
from ilax.contract import schema
from ilax.hooks.program_set import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ilax.bpf import Map


@dataclass(frozen=True, slots=True)
class Installed:
    """One program.

    Attributes:
        tag: the kernel's hash of its instructions.
        maps: name of each map of the instance that it uses, in the order of their first
            use; "" for one of its own (constants).
    """

    tag: str
    maps: tuple[str, ...]


# Once for a process: neither its objects nor the kernel change.
_known: dict[str, Installed] = {}


def programs(maps: Mapping[str, Map]) -> dict[str, Installed]:
    """Each program, by name.

    The kernel makes tags when it loads a program, after libbpf has fitted it to the
    kernel. So each is loaded, attached to nothing, and let go.

    Args:
        maps: to load them over; which ones makes no difference to the answer.

    Raises:
        VerifierError: the kernel refused a program.
        PrivilegeError: a capability is missing.
    """
    if not _known:
        found = {}
        names = {opened.id: name for name, opened in maps.items()}
        for object_name, name in OBJECTS.items():
            with Object.open(schema.object_path(object_name)) as obj:
                obj.reuse_maps(dict(maps))
                obj.load()
                with obj.programs[name].open() as program:
                    used = tuple(names.get(number, "") for number in program.map_ids())
                    found[name] = Installed(program.tag, used)
        _known.update(found)
    return dict(_known)
