# SPDX-License-Identifier: Apache-2.0
"""The `ilax up` that would make what the maps say: as a command, and done."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from ilax.address import Address
from ilax.bpf import Program
from ilax.check import installed
from ilax.check.model import Needs
from ilax.hooks import clsact, program_set, switch, xdp_slot
from ilax.hooks.modes import TcMode, XdpMode
from ilax.hooks.places import UPLINK_TC, XDP_INGRESS, beside, uplink_hooks
from ilax.instances import bring_up, take_down
from ilax.instances.transaction import Transaction
from ilax.instances.up_options import UpOptions
from ilax.system.privileges import require_capabilities

if TYPE_CHECKING:
    from ilax.check.view import View


def options(view: View) -> UpOptions | None:
    """What `up` was asked for last; None if that is not known, or its uplink is gone."""
    if view.level < Needs.HOME or view.uplink is None:
        return None
    gateway = Address(*(int(half) for half in view.config["gateway"]))
    return UpOptions(
        uplink=view.uplink.name,
        fabric=view.fabric,
        gateway=gateway if gateway.is_unicast else None,
        xdp=_xdp(view),
        tc=_tc(view),
    )


def _xdp(view: View) -> XdpMode:
    names = (XDP_INGRESS.link, beside(XDP_INGRESS.link))
    ours = [view.links[name] for name in names if name in view.links]
    at_uplink = any(link.ifindex == view.uplink_index for link in ours)
    if view.slots and not at_uplink:
        return XdpMode.AUTO  # stays in its slot
    if not ours:
        return XdpMode.OFF
    free = view.uplink is not None and not view.uplink.xdp_program
    # Where somebody else holds the hook by now, tc has to do.
    return XdpMode.NATIVE if at_uplink or free else XdpMode.AUTO


def _tc(view: View) -> TcMode:
    if any(name.startswith(kind.link) for kind in UPLINK_TC for name in view.links):
        return TcMode.TCX
    hooks = uplink_hooks(view.uplink_index)
    if any(item.ours for hook in hooks for item in clsact.filters(view.network, hook)):
        return TcMode.CLSACT
    return TcMode.AUTO


def command(view: View) -> str:
    """The command line; with a gap where the maps do not tell."""
    wanted = options(view)
    if wanted is None:
        return view.command("up --uplink DEV ...")
    known = wanted.fabric
    words = ["up", "--uplink", quote(wanted.uplink)]
    for flag, prefixes in (
        ("--sir-prefix", known.sir_prefixes),
        ("--locator", known.locators),
        ("--block", known.blocks),
    ):
        for prefix in prefixes:
            words += [flag, str(prefix)]
    words += [] if known.cbit else ["--no-cbit"]
    words += [] if known.typed else ["--untyped"]
    words += ["--gateway", str(wanted.gateway)] if wanted.gateway else []
    words += ["--xdp", wanted.xdp.value, "--tc", wanted.tc.value]
    return view.command(" ".join(words))


def is_safe(view: View) -> bool:
    """Whether `up` would only complete what is there, and bring no other programs.

    Other programs are an upgrade, which the operator decides; so are other prefixes.
    """
    # It would take rows away that somebody else has written.
    if options(view) is None or view.prefixes.bad:
        return False
    ours = installed.programs(view.instance.maps)
    return all(view.programs[name].tag == ours[name].tag for name in ours if name in view.programs)


def up(view: View) -> None:
    """Bring the instance up as it was. The caller holds the lock since it looked.

    Raises:
        IlaxError: as `bring_up.up`.
    """
    wanted = options(view)
    assert wanted is not None, "only findings with a known `up` are mended by it"
    bring_up.prepare(wanted)
    bring_up.up_held(view.name, wanted)


def down(view: View) -> None:
    """Take away what is left of the instance. The caller holds the lock since it looked.

    Raises:
        IlaxError: as `take_down.down`.
    """
    require_capabilities("take an instance down")
    take_down.down_held(view.name)


def pinned_fit(view: View) -> bool:
    """Whether the set of programs that is pinned can be put on all hooks."""
    if not view.programs.keys() >= set(program_set.OBJECTS.values()):
        return False
    with Program.open_pinned(view.pins.programs / XDP_INGRESS.program) as program:
        return xdp_slot.refusing(view.pins, program) is None


def pinned_programs(view: View) -> None:
    """Put the set of programs that is pinned on all hooks.

    An upgrade pins the new set before the first hook has it, `up` and `rollback` after
    the last one: they are completed, or undone.
    """
    with program_set.pinned(view.pins.programs) as programs, Transaction() as change:
        switch.switch(view.network, view.instance, programs, {}, change)
