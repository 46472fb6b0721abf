# SPDX-License-Identifier: Apache-2.0
"""What each reason means, and what to do about it: the only place for these words.

`docs/troubleshooting.md` has the same table (a test compares them); commands that
explain a verdict print it.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One reason in words.

    Attributes:
        cause: why a packet gets it.
        remedy: what an operator does about it; NOTHING where all is well.
    """

    cause: str
    remedy: str = NOTHING

    @property
    def sentences(self) -> list[str]:
        """The same to be read as text; the remedy only if there is one."""
        parts = [self.cause] if self.remedy == NOTHING else [self.cause, self.remedy]
        return [part[0].upper() + part[1:] + "." for part in parts]


# Labels as `ilax counters` prints them, in the order of the contract.
MEANINGS: dict[str, Meaning] = {
    "pass_not_ipv6": Meaning("other protocols are left to the host's stack"),
    "pass_not_ours": Meaning("no wire address and no SIR address of a task here"),
    "pass_link_scope": Meaning("multicast, neighbour discovery, link-local"),
    "pass_host": Meaning("for a task in the host's namespace"),
    "pass_hop_limit": Meaning(
        "hop limit used up, the stack answers (traceroute)", "many: look for a routing loop"
    ),
    "pass_too_big": Meaning(
        "larger than the next MTU, the stack answers", "check the MTU of uplink and containers"
    ),
    "pass_wire": Meaning("leaves with a wire address already"),
    "pass_not_linear": Meaning(
        "headers out of XDP's reach; tc does the job", "many: the driver splits headers"
    ),
    "pass_no_metadata": Meaning(
        "the driver has no room for metadata; tc does the job", "nothing, or `--xdp off`"
    ),
    "pass_malformed": Meaning("broken IPv6 header, left to the stack", "look for the sender"),
    "pass_other_host": Meaning(
        "frame for another station",
        "promiscuous mode? At a container: `ilax check` tells whether somebody has changed the "
        "hardware address of the host's side (`endpoint.host-mac`)",
    ),
    "pass_many_tags": Meaning(
        "more than two VLAN tags, or a cut one; behind XDP tc looks again",
        "nothing; at tc and from a container it is `drop_malformed`",
    ),
    "pass_handover": Meaning(
        "an earlier hook has done its part: XDP rewrote it for the host's stack, or its limit was "
        "charged where it arrived"
    ),
    "send_meta": Meaning(
        "XDP rewrote it and hands it over to tc",
        "nothing; `send_handover` should be near it (GRO merges)",
    ),
    "send_xdp": Meaning("delivered: redirected by XDP into the container's device"),
    "send_peer": Meaning("delivered by tc into the container's stack"),
    "send_handover": Meaning("XDP rewrote it, tc delivered it into the container's stack"),
    "send_local": Meaning("delivered from container to container on this host"),
    "send_forward": Meaning("rewritten and sent to another host"),
    "drop_unknown_identifier": Meaning(
        "our locator, but no such endpoint", "stale mapping somewhere, or a scan"
    ),
    "drop_spoofed_source": Meaning(
        "a task used an address that is not its own", "look at the task; `--any-source` for routers"
    ),
    "drop_locator_refused": Meaning("a task addressed a locator", "look at the task"),
    "drop_no_mapping": Meaning("SIR address that nobody published here", "add the mapping"),
    "drop_bad_action": Meaning(
        "mapping with an unknown action", "a daemon writes another contract"
    ),
    "drop_unknown_port": Meaning(
        "container program on a device without a row", "`endpoint del`, `endpoint add`"
    ),
    "drop_row_changed": Meaning(
        "an endpoint's row was recycled while in use", "a few during churn are normal"
    ),
    "drop_icmp_inner": Meaning(
        "ICMPv6 error about a mapping that is not in force", "after moves: normal; else forged"
    ),
    "drop_no_device": Meaning(
        "XDP delivery, but the device is gone from `ilax_devices`",
        "`endpoint del`, `endpoint add`",
    ),
    "drop_malformed": Meaning(
        "a container's broken IPv6 header, or more VLAN tags than are looked behind",
        "look at the task; at the uplink, at the sender",
    ),
    "drop_rewrite": Meaning("the kernel refused a rewrite", "report it"),
    "drop_limit": Meaning(
        "over the limit of its cgroup",
        "`ilax limit list` says whose; raise it, or look for the sender",
    ),
    "drop_no_local_route": Meaning(
        "for a task of this host, but the host's own route leads out of the uplink",
        "`ilax check` names what is missing",
    ),
    "drop_redirect": Meaning(
        "a redirect of this host's own to the next hop of its SIR routes, which does not exist",
        "nothing; a machine on the link uses this host as its router to SIR addresses",
    ),
    "drop_user": Meaning(
        "a stage of a third party refused it", "see the documentation of that stage"
    ),
}


def meaning(reason: str) -> Meaning:
    """The meaning of a label; stages of third parties have numbers of their own."""
    return MEANINGS.get(reason) or MEANINGS["drop_user"]


def markdown() -> str:
    """The table of `docs/troubleshooting.md`."""
    rows = [f"| `{name}` | {one.cause} | {one.remedy} |" for name, one in MEANINGS.items()]
    return "\n".join(["| reason | cause | what to do |", "|---|---|---|", *rows])
