# SPDX-License-Identifier: Apache-2.0
"""A packet's way over the hooks of this host, tried one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ilax.address import Address
from ilax.bpf.program import in_words
from ilax.contract.tables import index_key
from ilax.errors import ConflictError
from ilax.explain import kernel, loaded, strangers
from ilax.explain.packet import readdressed, with_hop_limit, without_outer_tag
from ilax.explain.rows import Missing
from ilax.explain.steps import Journey, Outcome, Step
from ilax.explain.trial import Trial, note_of
from ilax.frames import decode
from ilax.hooks.places import CONTAINER, UPLINK_EGRESS, UPLINK_INGRESS, XDP_INGRESS

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ilax.endpoint.endpoints import Endpoint
    from ilax.explain.kernel import Route
    from ilax.explain.loaded import Loaded
    from ilax.explain.sandbox import Sandbox
    from ilax.explain.strangers import Strangers
    from ilax.explain.twin import Run
    from ilax.hooks.places import Hook
    from ilax.instances.instance import Instance
    from ilax.system.netlink import Interface, Network

_LOOPBACK = Address(0, 1)
_ANSWERS = {
    "pass_hop_limit": "the kernel answers with Time Exceeded",
    "pass_too_big": "the kernel answers with Packet Too Big",
}


class Traveller:
    """Follows one packet; use each one once.

    Args:
        cpu: that this thread keeps to.
        held: closes what is opened on the way.
    """

    def __init__(
        self, instance: Instance, network: Network, sandbox: Sandbox, cpu: int, held: ExitStack
    ) -> None:
        self._instance, self._network, self._cpu = instance, network, cpu
        self._trial = Trial(network, sandbox, cpu, held)
        config = instance.config.get(index_key(0))
        assert config is not None
        self._gateway = bytes(config["gateway"].tobytes())
        self.uplink = self._interface(int(config["uplink_ifindex"]))
        self._steps: list[Step] = []
        self._endpoint: Endpoint | None = None
        self._vlan: int | None = None

    def _interface(self, index: int) -> Interface:
        found = self._network.interface_by_index(index)
        if found is None:
            raise ConflictError(
                f"interface {index} of instance {self._instance.name} is gone; nothing was run",
                hint="`ilax up` names another uplink; `ilax endpoint del` removes a dead endpoint",
            )
        return found

    # --- where packets come from ---

    def from_network(self, frame: bytes) -> Journey:
        """A frame arrives at the uplink."""
        name = self.uplink.name
        arrives = f"from the network at {name}"
        after = frame
        place = XDP_INGRESS.at(self.uplink.index)
        program = loaded.find(self._network, self._instance, place)
        if program is None:
            self._note(f"XDP at {name}", self._why_no_xdp())
        else:
            if program.attached == "slot":
                self._note(f"XDP at {name}", self._what_calls_us())
            run = self._try(f"XDP at {name}", place, program, frame)
            ended = self._end_of_xdp(run)
            if ended:
                return self._journey(frame, arrives, *ended)
            after = run.data
            if run.handover:
                return self._journey(frame, arrives, *self._handed_over(run))
        place = UPLINK_INGRESS.at(self.uplink.index)
        program = loaded.find(self._network, self._instance, place)
        if program is None:
            self._note(f"tc ingress at {name}", "no program of ours is attached: run `ilax up`")
            return self._journey(frame, arrives, *self._stack(after, self.uplink.index))
        run = self._try_ingress(f"tc ingress at {name}", place, program, after)
        return self._journey(frame, arrives, *self._end_of_tc(run, self.uplink.index))

    def from_container(self, endpoint: Endpoint, frame: bytes) -> Journey:
        """A container sends a frame."""
        device = self._interface(endpoint.ifindex)
        arrives = f"from container {endpoint.sir} at {device.name}"
        place = CONTAINER.at(device.index)
        program = loaded.find(self._network, self._instance, place)
        if program is None:
            self._note(
                f"tc ingress at {device.name}",
                "no program of ours is attached, so nothing is checked: `ilax up`",
            )
            return self._journey(frame, arrives, *self._stack(frame, device.index))
        run = self._try_ingress(f"tc ingress at {device.name}", place, program, frame)
        return self._journey(frame, arrives, *self._end_of_tc(run, device.index))

    def from_host(self, frame: bytes) -> Journey:
        """A process of the host sends a packet."""
        return self._journey(frame, "from the host's own processes", *self._stack(frame, 0))

    def _try(self, where: str, place: Hook, program: Loaded, frame: bytes) -> Run:
        """Run a twin, and write the step down."""
        run, step = self._trial.run(where, place, program, frame)
        if not isinstance(step.rows.endpoint, Missing):
            self._endpoint = step.rows.endpoint or self._endpoint
        self._steps.append(step)
        return run

    def _try_ingress(self, where: str, place: Hook, program: Loaded, frame: bytes) -> Run:
        """By tc: a test run cannot give it the tag that the kernel keeps beside a frame."""
        frame, self._vlan = without_outer_tag(frame)
        others = self._first_of_others(where, place, program)
        run = self._try(where, place, program, frame)
        if self._vlan is not None:
            note = f"the kernel keeps VLAN tag {self._vlan} beside the frame; tried without it"
            step = self._steps[-1]
            self._steps[-1] = replace(step, notes=(*step.notes, note))
        self._next_of_others(where, others, run.reason)
        return run

    def _first_of_others(self, where: str, place: Hook, program: Loaded) -> Strangers:
        """Steps of programs at a tc hook that run before ours."""
        others = strangers.around(self._network, place, program.number)
        for text in others.before:
            self._note(where, text)
        return others

    def _next_of_others(self, where: str, others: Strangers, reason: str) -> None:
        """Steps of those behind ours, if ours passes the packet on."""
        for text in others.behind if reason.startswith("pass") else ():
            self._note(where, text)

    # --- what comes next ---

    def _end_of_xdp(self, run: Run) -> tuple[Outcome, str] | None:
        if run.reason.startswith("drop"):
            return self._dropped()
        return self._delivered() if run.reason == "send_xdp" else None

    def _handed_over(self, run: Run) -> tuple[Outcome, str]:
        """A test run cannot carry metadata; what tc does with it is its first step."""
        ifindex, mark, priority = note_of(run.handover)
        where = f"tc ingress at {self.uplink.name}"
        place = UPLINK_INGRESS.at(self.uplink.index)
        program = loaded.find(self._network, self._instance, place)
        if program is None:
            self._note(where, "no program of ours is attached: nobody reads the note of XDP")
            return self._stack(run.data, self.uplink.index)
        others = self._first_of_others(where, place, program)
        # Proves that the loaded program is the one whose first step is known here.
        self._trial.twin(place, program)
        reason = "send_handover" if ifindex else "pass_handover"
        packet = decode(run.data)
        self._steps.append(
            Step(
                where=where,
                hook=place.name,
                loaded=program,
                before=packet,
                after=packet,
                frame=run.data,
                reason=reason,
                mark=mark,
                priority=priority,
                notes=("concluded from the note of XDP, which a test run cannot carry",),
            )
        )
        self._next_of_others(where, others, reason)
        if ifindex:
            return self._delivered()
        return self._stack(run.data, self.uplink.index, run.reason)

    def _end_of_tc(self, run: Run, arrived: int) -> tuple[Outcome, str]:
        if run.reason.startswith("drop"):
            return self._dropped()
        if run.reason in ("send_peer", "send_local"):
            return self._delivered()
        if run.reason == "send_forward":
            return self._leave(run.data)
        return self._stack(run.data, arrived, run.reason)

    def _stack(self, frame: bytes, arrived: int, reason: str = "") -> tuple[Outcome, str]:
        """The host's stack has it; it may send it out of the uplink, which has a hook."""
        packet = decode(frame)
        where = "the host's stack"
        if reason in _ANSWERS:
            text = f"{_ANSWERS[reason]}, to {packet.src}"
            if not kernel.forwards():
                text = "net.ipv6.conf.all.forwarding is 0: the kernel answers nothing"
            self._note(where, text)
            return "stack", f"{text}"
        if reason == "pass_other_host":
            self._note(where, "the kernel drops frames for other stations")
            return "stack", "left to the host's stack, which drops it"
        if arrived and packet.dst == _LOOPBACK:
            self._note(where, f"the kernel drops what comes by a device for {_LOOPBACK}")
            return "stack", "left to the host's stack, which drops it"
        # Tags of VLAN 0 tell a priority, and no interface.
        if self._vlan or any(packet.vlans):
            self._note(where, "goes to the interface of its VLAN, if there is one")
            return "stack", "left to the host's stack"
        if packet.dst is None or not packet.dst.is_unicast or packet.dst.prefix >> 54 == 0x3FA:
            self._note(where, "the kernel decides: no unicast packet of IPv6 beyond this link")
            return "stack", "left to the host's stack"
        route = kernel.route(self._network, packet.dst, arrived=arrived)
        notes = []
        if arrived and route.kind == "unicast" and not kernel.forwards():
            notes.append("net.ipv6.conf.all.forwarding is 0: the kernel drops it")
        elif arrived and route.kind == "unicast" and (packet.hop_limit or 0) <= 1:
            notes.append(f"{_ANSWERS['pass_hop_limit']}, to {packet.src}")
        if route.kind == "local" and len(self._instance.cgroups.lookup_batch()[0]):
            notes.append("a limit of the receiving process's cgroup is charged at its socket")
        ended = bool(notes) or route.ifindex != self.uplink.index
        self._steps.append(Step(where, before=packet, route=route, notes=tuple(notes)))
        if ended:
            return "stack", f"left to the host's stack: {notes[0] if notes else f'goes {route}'}"
        if arrived:
            frame = with_hop_limit(frame, (packet.hop_limit or 0) - 1)
        return self._egress(frame)

    def _egress(self, frame: bytes) -> tuple[Outcome, str]:
        name = self.uplink.name
        where = f"tc egress at {name}"
        place = UPLINK_EGRESS.at(self.uplink.index)
        program = loaded.find(self._network, self._instance, place)
        if program is None:
            self._note(where, "no program of ours is attached: run `ilax up`")
            return "forwarded", f"leaves by {name} as it is"
        # A test run takes every frame for one that arrives, and would leave alone
        # what is not addressed to the device.
        others = self._first_of_others(where, place, program)
        run = self._try(where, place, program, readdressed(frame, self.uplink.mac))
        self._next_of_others(where, others, run.reason)
        if run.reason.startswith("drop"):
            return self._dropped()
        if run.reason == "send_forward":
            return self._leave(run.data)
        return "forwarded", f"leaves by {name} to {decode(run.data).dst}"

    def _leave(self, frame: bytes) -> tuple[Outcome, str]:
        """Sent to the next hop of its wire address; egress sees it once more."""
        packet = decode(frame)
        assert packet.dst is not None
        if any(self._gateway):
            gateway = str(Address.from_bytes(self._gateway))
            route = kernel.towards(self._network, self.uplink.index, gateway)
        else:
            route = kernel.route(self._network, packet.dst, out=self.uplink.index)
        self._steps.append(
            Step("next hop", before=packet, route=route, notes=_neighbour_notes(route))
        )
        if route.kind != "unicast":
            return "dropped", f"dropped by the kernel: no route to {packet.dst}"
        return self._egress(frame)

    # --- ends ---

    def _delivered(self) -> tuple[Outcome, str]:
        endpoint = self._endpoint
        if endpoint is None:
            return "delivered", "delivered to a container"
        device = self._network.interface_by_index(endpoint.ifindex)
        if device is None:
            text = f"interface {endpoint.ifindex} of {endpoint.sir} is gone"
            self._note("delivery", f"{text}: the kernel drops it without a count")
            return "dropped", f"dropped by the kernel: {text}"
        return "delivered", f"delivered to container {endpoint.sir} by {device.name}"

    def _dropped(self) -> tuple[Outcome, str]:
        step = self._steps[-1]
        return "dropped", f"dropped by {step.where}: {step.reason}"

    def _note(self, where: str, text: str) -> None:
        self._steps.append(Step(where, notes=(text,)))

    def _what_calls_us(self) -> str:
        if not self.uplink.xdp_program:
            return "no program is attached, so none calls ours: what follows is done by tc"
        return (
            f"foreign program {in_words(self.uplink.xdp_program)} comes first and is not run here: "
            "what follows holds for what it passes to ours"
        )

    def _why_no_xdp(self) -> str:
        if self.uplink.xdp_program:
            held = in_words(self.uplink.xdp_program)
            return f"not ours: program {held} holds the hook; tc does it all"
        return "no program is attached; tc does the whole job"

    def _journey(self, frame: bytes, arrives: str, outcome: Outcome, summary: str) -> Journey:
        return Journey(decode(frame), arrives, self._cpu, tuple(self._steps), outcome, summary)


def _neighbour_notes(route: Route) -> tuple[str, ...]:
    if route.neighbour == "failed":
        return ("the next hop does not answer: the kernel drops what it queues for it",)
    if route.neighbour == "unknown":
        return ("the kernel asks for the next hop's address first",)
    return ()
