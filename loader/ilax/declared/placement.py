# SPDX-License-Identifier: Apache-2.0
"""The mappings of a document: inline rows and those of other files, as two arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from ilax.address import Address, Prefix
from ilax.declared.document import MappingWish, Placement, Raw
from ilax.declared.problems import Problems
from ilax.errors import UsageError
from ilax.fabric import Fabric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Halves = NDArray[np.uint64]
    Rule = Callable[[str, int], str]


def read(found: Raw, fabric: Fabric, folder: FilePath, problems: Problems) -> Placement:
    """Read all mappings of a document.

    Rows of this host's own endpoints are left out, since the endpoints make them;
    so one file can serve all hosts.

    Args:
        folder: what the names of files are relative to.

    Returns:
        All that could be read, in the order of the SIR addresses.
    """
    import numpy as np

    inline = [wish for wish in found.mappings if wish.sir is not None]
    files = [wish for wish in found.mappings if wish.file is not None]
    # The number of its [[mapping]] goes with each row, to say where it stands.
    parts = [_inline(inline, fabric, problems)]
    for wish in files:
        loaded = problems.attempt((*wish.path, "file"), _file, wish, fabric, folder) or []
        parts += [(sir, wire, np.full(len(sir), wish.path[1])) for sir, wire in loaded]
    sir, wire, source = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((sir[:, 1], sir[:, 0]))
    sir, wire, source = sir[order], wire[order], source[order]
    sir, wire, source = _without_twins(sir, wire, source, problems)
    keep = _others(found, fabric, sir, wire, source, problems)
    sir, wire = sir[keep], wire[keep]
    _check_reach(found, wire, problems)
    most = found.up.max_mappings if found.up is not None else 0
    # Each endpoint has a mapping of its own.
    if most and len(sir) + len(found.endpoints) > most:
        problems.add(
            ("up", "max-mappings"), f"there are {len(sir) + len(found.endpoints)} mappings"
        )
    return Placement(sir, wire)


def _inline(
    wishes: list[MappingWish], fabric: Fabric, problems: Problems
) -> tuple[Halves, Halves, NDArray[np.int64]]:
    import numpy as np

    from ilax.mappings import check_wire

    rows, numbers = [], []
    for wish in wishes:
        assert wish.sir is not None
        try:
            fabric.check_sir(wish.sir)
        except UsageError as error:
            problems.add((*wish.path, "sir"), error)
            continue
        try:
            wire = wish.wire or fabric.to_wire(wish.sir, wish.locator)
            check_wire(fabric, wish.sir, wire)
        except UsageError as error:
            problems.add((*wish.path, "wire" if wish.wire else "locator"), error)
            continue
        rows.append((wish.sir.prefix, wish.sir.identifier, wire.prefix, wire.identifier))
        numbers.append(wish.path[1])
    halves = np.array(rows, np.uint64).reshape(-1, 4)
    return halves[:, :2], halves[:, 2:], np.array(numbers, np.int64)


def _file(wish: MappingWish, fabric: Fabric, folder: FilePath) -> list[tuple[Halves, Halves]]:
    from ilax import mapping_files

    assert wish.file is not None
    path = folder / wish.file
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return mapping_files.read(
                fabric, stream, wish.format or mapping_files.format_of(wish.file)
            )
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (UsageError, ValueError) as error:
        # ValueError: a NUL in the name.
        raise UsageError(f"{path}: {error}", hint=getattr(error, "hint", None)) from error


def _without_twins(
    sir: Halves, wire: Halves, source: NDArray[np.int64], problems: Problems
) -> tuple[Halves, Halves, NDArray[np.int64]]:
    """Each address once; twice is fine if both say the same."""
    import numpy as np

    if len(sir) < 2:
        return sir, wire, source
    again = np.zeros(len(sir), bool)
    again[1:] = (sir[1:] == sir[:-1]).all(axis=1)
    contrary = again.copy()
    contrary[1:] &= (wire[1:] != wire[:-1]).any(axis=1)
    _tell(
        contrary, sir, source, problems,
        lambda text, at: f"{text} is mapped to two wire addresses, also by line "
        f"{problems.line(('mapping', int(source[at - 1])))}",
    )  # fmt: skip
    return sir[~again], wire[~again], source[~again]


def _others(
    found: Raw,
    fabric: Fabric,
    sir: Halves,
    wire: Halves,
    source: NDArray[np.int64],
    problems: Problems,
) -> NDArray[np.bool_]:
    """Which rows are not those of endpoints of this host."""
    import numpy as np

    keep = np.ones(len(sir), bool)
    own = {wish.sir for wish in found.endpoints}
    if found.up is not None and found.up.host_address is not None:
        own.add(found.up.host_address)
    if not own or not len(sir):
        return keep
    keep = ~np.isin(sir[:, 1], np.array([address.identifier for address in own], np.uint64))
    contrary = np.zeros(len(sir), bool)
    for at in np.flatnonzero(~keep).tolist():
        # Identifiers may be equal below two prefixes.
        keep[at] = Address(*sir[at].tolist()) not in own
        contrary[at] = not keep[at] and not fabric.is_local(Address(*wire[at].tolist()))
    _tell(
        contrary, sir, source, problems,
        lambda text, _: f"{text} is an endpoint of this host, and is mapped elsewhere",
    )  # fmt: skip
    return keep


_SHOWN = 3


def _tell(
    wrong: NDArray[np.bool_], sir: Halves, source: NDArray[np.int64], problems: Problems, rule: Rule
) -> None:
    """One problem for each [[mapping]] would be too many where files are wrong."""
    import numpy as np

    from ilax import address_bulk

    places = np.flatnonzero(wrong)
    texts = address_bulk.format_texts(sir[places[:_SHOWN]])
    for at, text in zip(places[:_SHOWN].tolist(), texts, strict=True):
        more = len(places) - _SHOWN
        last = at == places[:_SHOWN][-1] and more > 0
        rest = f"; so are {more} more" if last else ""
        problems.add(("mapping", int(source[at])), f"{rule(text, at)}{rest}")


def _check_reach(found: Raw, wire: Halves, problems: Problems) -> None:
    """Note mappings to locators that no block covers."""
    import numpy as np

    if found.up is None or not found.up.blocks:
        return
    for upper in np.unique(wire[:, 0]).tolist():
        locator = Prefix(upper)
        if not any(locator in cover for cover in (*found.up.blocks, *found.up.locators)):
            problems.note(
                ("mapping",),
                f"locator {locator} is outside of every block: tasks can address it, and errors "
                "that quote it are not translated back",
            )
            return
