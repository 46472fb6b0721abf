# SPDX-License-Identifier: Apache-2.0
"""What the host's own configuration must grant: routes, addresses, sysctls."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ilax import address
from ilax.address import Address, IdentifierType, Prefix
from ilax.check import restore
from ilax.check.model import Finding, Needs, Severity, check, kind
from ilax.check.view import View
from ilax.contract import schema
from ilax.system import sysctls

LOOP = kind(
    "route.locator-loops", Severity.WARNING,
    "packets for addresses of a locator that nobody has go back to the router, again and again",
)  # fmt: skip
NO_WAY_OUT = kind(
    "route.locator-unreachable", Severity.ERROR,
    "mappings lead to a locator that the host has no route to; the kernel drops these packets",
)  # fmt: skip
IN_LOCATOR = kind(
    "address.in-locator", Severity.ERROR,
    "an address of the host looks like that of a task: what comes for it is dropped as an "
    "unknown identifier",
)  # fmt: skip
IN_SIR = kind(
    "address.no-row", Severity.WARNING,
    "the host has a SIR address without a row: nobody elsewhere reaches it",
)  # fmt: skip
FORWARDING = kind(
    "sysctl.forwarding", Severity.WARNING,
    "the host does not forward: no Time Exceeded, no Packet Too Big, no traffic between tasks "
    "and other networks",
)  # fmt: skip
ACCEPT_RA = kind(
    "sysctl.accept-ra", Severity.WARNING,
    "routes learned by router advertisements will expire: a forwarding host ignores them",
)  # fmt: skip
NO_IPV6 = kind("sysctl.disable-ipv6", Severity.ERROR, "IPv6 is switched off on the uplink")

# An identifier of type 0 that no host is likely to have.
_NOBODY = 0x00FF_FEFF_FFFF_FFFE

# Locators of other hosts that are looked at; more would only repeat the answer.
_MOST_LOCATORS = 256


@check(Needs.HOME)
def own_locators(view: View) -> Iterator[Finding]:
    """An address that nobody has must end here."""
    if view.uplink is None or sysctls.read("all", "forwarding") != 1:
        return
    for locator in view.fabric.locators if view.fabric.typed else ():
        nobody = Address(locator.upper, _NOBODY)
        taken = view.here.lookup(str(nobody))
        if taken is not None and taken.index == view.uplink_index and taken.gateway:
            yield LOOP.found(
                locator,
                seen=f"{nobody} leaves via {taken.gateway} dev {view.uplink.name}",
                expected="a route that ends here",
                command=f"ip -6 route add unreachable {locator} dev lo metric 4096",
            )


@check(Needs.HOME)
def other_locators(view: View) -> Iterator[Finding]:
    """Every locator that mappings lead to has a route."""
    import numpy as np

    # Then nobody asks the routes; or there is no way out at all, which is told as that.
    if view.config["gateway"]["prefix"] or view.uplink is None:
        return
    forward = schema.enum("ilax_action")["ILAX_ACTION_FORWARD"]
    _, rows = view.mappings
    halves = np.unique(rows["wire"]["prefix"][rows["action"] == forward])
    for upper in halves[:_MOST_LOCATORS].tolist():
        taken = view.here.lookup(str(Address(upper, 1)))
        if taken is None or not taken.unicast:
            locator = Prefix(upper)
            yield NO_WAY_OUT.found(
                locator,
                seen="no route",
                expected="a route to the locator, or a default route",
                command=f"ip -6 route add {locator} via ROUTER dev {quote(view.uplink.name)}",
            )


@check(Needs.HOME)
def addresses(view: View) -> Iterator[Finding]:
    """The host's own addresses are none that the datapath takes for tasks'."""
    known = view.fabric
    rows = {e.sir for e in view.endpoints} | {e.wire for e in view.endpoints}
    for text, device in view.here.own_addresses():
        own = address.parse(text)
        if own in rows:
            continue
        remove = f"ip -6 address del {text} dev {quote(device)}"
        if known.is_local(own) and not (known.typed and own.type is IdentifierType.INTERFACE_ID):
            yield IN_LOCATOR.found(
                text,
                seen=f"on {device}; its identifier says {own.type.label}"
                if known.typed
                else f"on {device}; every identifier of a locator is a task's (--untyped)",
                expected="an identifier of type 0" if known.typed else "an address elsewhere",
                command=remove,
            )
        elif any(own in prefix for prefix in known.sir_prefixes):
            yield IN_SIR.found(
                text,
                seen=f"on {device}",
                expected="a row of ilax_endpoints",
                command=view.command(f"endpoint add {text} --host"),
            )


@check(Needs.HOME)
def settings(view: View) -> Iterator[Finding]:
    """Settings of the kernel that the datapath relies on."""
    if sysctls.read("all", "forwarding") == 0:
        yield FORWARDING.found(
            "net.ipv6.conf.all.forwarding",
            seen="0",
            expected="1 (and accept_ra 2 where routes come from advertisements)",
            command="sysctl -w net.ipv6.conf.all.forwarding=1",
        )
    if view.uplink is None:
        return
    name = view.uplink.name
    learned = view.here.learned_by(view.uplink_index)
    accept = sysctls.read(name, "accept_ra")
    if learned and sysctls.read(name, "forwarding") == 1 and accept != 2:
        yield ACCEPT_RA.found(
            sysctls.name(name, "accept_ra"),
            seen=f"{accept}, and route {learned[0].destination} was learned so",
            expected="2",
            command=f"sysctl -w {quote(sysctls.name(name, 'accept_ra'))}=2",
        )
    if sysctls.read(name, "disable_ipv6"):
        yield NO_IPV6.found(
            sysctls.name(name, "disable_ipv6"),
            seen="1",
            expected="0",
            command=f"sysctl -w {quote(sysctls.name(name, 'disable_ipv6'))}=0 && "
            f"{restore.command(view)}",
        )
