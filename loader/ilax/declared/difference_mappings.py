# SPDX-License-Identifier: Apache-2.0
"""Mappings: a million declared ones against a million rows, in arrays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ilax.address import Address
from ilax.declared.document import Placement
from ilax.translation import mappings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ilax.declared.live import Live
    from ilax.translation.fabric import Fabric


@dataclass(frozen=True)
class MappingsDifference:
    """Rows by what has to happen; all addresses are uint64, (n, 2).

    Attributes:
        added, added_wire: rows that are not there.
        changed, old_wire, new_wire: rows that say something else.
        surplus, surplus_rows: rows that nobody declared, but those of endpoints.
        wanted: all that are declared.
    """

    added: NDArray[np.uint64]
    added_wire: NDArray[np.uint64]
    changed: NDArray[np.uint64]
    old_wire: NDArray[np.uint64]
    new_wire: NDArray[np.uint64]
    surplus: NDArray[np.uint64]
    surplus_rows: NDArray[np.void]
    wanted: Placement

    def wanted_wire(self, sir: Address) -> Address | None:
        """The wire address that is declared for a SIR address."""
        asked = np.array([[sir.prefix, sir.identifier]], np.uint64)
        place = int(_match(asked, self.wanted.sir)[0])
        return None if place < 0 else Address(*self.wanted.wire[place].tolist())

    @property
    def count(self) -> int:
        """Rows to be written."""
        return len(self.added) + len(self.changed)


def compare(
    wanted: Placement, fabric: Fabric, live: Live | None, of_endpoints: Collection[Address]
) -> MappingsDifference:
    """Compare declared mappings with the rows in force.

    Args:
        fabric: as declared; tells which wire addresses are this host's.
        of_endpoints: SIR addresses whose row belongs to an endpoint.
    """
    none = np.zeros((0, 2), np.uint64)
    sir = live.sir if live is not None else none
    place = _match(wanted.sir, sir)
    fresh = place < 0
    known, place = np.flatnonzero(~fresh), place[~fresh]
    old_wire, differs = none, np.zeros(0, bool)
    if live is not None and len(known):
        rows = live.mappings[place]
        old_wire = np.stack([rows["wire"]["prefix"], rows["wire"]["identifier"]], axis=1)
        old_wire = old_wire.astype(np.uint64)
        differs = (old_wire != wanted.wire[known]).any(axis=1)
        differs |= rows["action"] != mappings.actions_of(fabric, wanted.wire[known])
    surplus = np.ones(len(sir), bool)
    surplus[place] = False
    own = np.array([(a.prefix, a.identifier) for a in sorted(of_endpoints)], np.uint64)
    surplus &= _match(sir, own.reshape(-1, 2)) < 0
    return MappingsDifference(
        added=wanted.sir[fresh],
        added_wire=wanted.wire[fresh],
        changed=wanted.sir[known][differs],
        old_wire=old_wire[differs],
        new_wire=wanted.wire[known][differs],
        surplus=sir[surplus],
        surplus_rows=live.mappings[surplus] if live is not None else np.zeros(0, np.void),
        wanted=wanted,
    )


def _match(asked: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Where each address stands among others, -1 for nowhere; both are in order."""
    found = np.full(len(asked), -1, np.intp)
    # Both halves are in order, so the rows of a prefix stand together.
    for prefix in np.unique(asked[:, 0]):
        first, end = (np.searchsorted(among[:, 0], prefix, side) for side in ("left", "right"))
        start, stop = (np.searchsorted(asked[:, 0], prefix, side) for side in ("left", "right"))
        places = first + np.searchsorted(among[first:end, 1], asked[start:stop, 1])
        hit = places < end
        hit[hit] = among[places[hit], 1] == asked[start:stop, 1][hit]
        found[start:stop][hit] = places[hit]
    return found
