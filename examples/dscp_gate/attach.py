# SPDX-License-Identifier: Apache-2.0
"""Put dscp_gate_xdp in the place of the ingress program of a running instance.

The program works on the instance's own maps, because it declares them by the
same names. The link that `ilax up` pinned stays; only the program in it is
swapped, so no packet is lost. Another `ilax up` swaps it back.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ilax.bpf import Link, Object
from ilax.errors import IlaxError
from ilax.instance import Instance

PROGRAM = "dscp_gate_xdp"
OWN_MAPS = ("dscp_classes", "dscp_refused")
PINS = Path("/sys/fs/bpf/dscp_gate")


def attach(object_path: Path, instance: str, refused: list[int]) -> Path:
    """Load the object over the maps of an instance and swap it in.

    Args:
        object_path: the compiled gate_xdp.bpf.c.
        instance: name of an instance that is up, with XDP.
        refused: DSCP values to drop, 0..63.

    Returns:
        The folder where the example's own maps are pinned.

    Raises:
        IlaxError: the instance is not up, or the kernel refused the program.
    """
    folder = PINS / instance
    with Instance.open(instance) as opened, Object.open(object_path) as gate:
        gate.reuse_maps(opened.maps)
        gate.load()
        with gate.maps["dscp_refused"].open() as table:
            for dscp in refused:
                table.update(dscp.to_bytes(4, sys.byteorder), (1).to_bytes(4, sys.byteorder))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in OWN_MAPS:
            (folder / name).unlink(missing_ok=True)
            with gate.maps[name].open() as own:
                own.pin(folder / name)
        with (
            gate.programs[PROGRAM].open() as program,
            Link.open_pinned(opened.pins.links / "xdp_ingress") as link,
        ):
            link.update(program)
    return folder


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("object", type=Path, help="the compiled gate_xdp.bpf.c")
    parser.add_argument("--instance", default="default")
    parser.add_argument(
        "--refuse", type=int, choices=range(64), action="append", default=[], metavar="DSCP"
    )
    args = parser.parse_args()
    try:
        print(f"own maps: {attach(args.object, args.instance, args.refuse)}")
    except IlaxError as error:
        print(f"attach: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
