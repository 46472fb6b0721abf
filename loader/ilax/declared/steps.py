# SPDX-License-Identifier: Apache-2.0
"""The steps of `apply` while an instance is up, each whole by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ilax.declared.difference import Difference, EndpointChange
from ilax.declared.host import Names
from ilax.endpoint import containers, endpoints
from ilax.errors import EndpointsError, IlaxError, PrivilegeError
from ilax.hooks import tc_attach
from ilax.hooks.places import CONTAINER
from ilax.limiting import limits, limits_bulk, limits_gc
from ilax.system.netlink import Network
from ilax.translation import mappings

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.endpoint.endpoints import Endpoint
    from ilax.instances.instance import Instance


@dataclass(frozen=True)
class Steps:
    """Where the steps are taken.

    Attributes:
        progress: called before the first endpoint and after each one that is done with
            how many are, and of how many.
    """

    instance: Instance
    network: Network
    names: Names
    progress: Callable[[int, int], None]

    def take(self, found: Difference) -> None:
        """Do all that a difference asks for, in the order of `execution.py`.

        Raises:
            EndpointsError: some endpoints failed; all the rest is done.
            IlaxError: of another step, which ended it.
        """
        if found.prune and self._is_tight(found):
            self._delete_mappings(found)
        self._put_mappings(found)
        doomed = found.limits.surplus_rules if found.prune else {}
        if found.limits.changes or doomed:
            limits_bulk.put_all(self.instance, found.limits.wanted, doomed)
        failed = self._take_endpoints(found)
        try:
            self._clear(found)
        except IlaxError as error:
            if failed:
                error.add_note(str(EndpointsError(failed)))
            raise
        if failed:
            raise EndpointsError(failed)

    def _clear(self, found: Difference) -> None:
        """What nobody declared, but for endpoints, and what killed commands have left."""
        if found.prune:
            self._delete_mappings(found)
            self._remove_devices(found)
        if found.repairs:
            limits_gc.collect(self.instance)

    # --- mappings --------------------------------------------------------------

    def _is_tight(self, found: Difference) -> bool:
        rows = len(self.instance.mappings.rows()[0]) if len(found.mappings.surplus) else 0
        fresh = len(found.mappings.added) + len(found.endpoints)
        return rows + fresh > self.instance.mappings.map.max_entries

    def _put_mappings(self, found: Difference) -> None:
        import numpy as np

        rows = found.mappings
        if rows.count:
            mappings.put_bulk(
                self.instance,
                np.concatenate([rows.changed, rows.added]),
                wire=np.concatenate([rows.new_wire, rows.added_wire]),
            )

    def _delete_mappings(self, found: Difference) -> None:
        rows = found.mappings
        if len(rows.surplus):
            mappings.delete_bulk(self.instance, rows.surplus, known=rows.surplus_rows)

    # --- endpoints -------------------------------------------------------------

    def _take_endpoints(self, found: Difference) -> list[tuple[object, IlaxError]]:
        """Each endpoint by itself: what is wrong in one container is no other's fault.

        Returns:
            Those that failed, and why.
        """
        surplus = found.surplus_endpoints if found.prune else []
        steps: list[tuple[Address, Callable[[], None]]] = [
            *((one.sir, partial(self._remove_endpoint, found, one)) for one in surplus),
            *((one.wish.sir, partial(self._put_endpoint, one)) for one in found.endpoints),
        ]
        made = [one for one in found.endpoints if one.wish.netns and (one.anew or not one.row)]
        failed: list[tuple[object, IlaxError]] = []
        done = 0
        self.progress(done, len(steps))
        if made:
            containers.sweep(self.instance, [one.wish.sir for one in made])
        for sir, step in steps:
            try:
                step()
            except PrivilegeError:
                raise
            except IlaxError as error:
                # If it is the instance, the others would say the same.
                self.instance.require_whole()
                failed.append((sir, error))
            else:
                done += 1
                self.progress(done, len(steps))
        return failed

    def _remove_endpoint(self, found: Difference, endpoint: Endpoint) -> None:
        gone = containers.delete_known(self.instance, endpoint)
        wire = found.mappings.wanted_wire(endpoint.sir)
        if gone and wire is not None:
            # Its own row has gone with it, and may be declared all the same.
            mappings.add(self.instance, endpoint.sir, wire=wire)

    def _put_endpoint(self, change: EndpointChange) -> None:
        wish = change.wish
        if change.anew and change.row is not None:
            containers.delete_known(self.instance, change.row)
        cgroup = self.names.cgroups[wish.cgroup] if wish.cgroup is not None else None
        if change.row is not None and not change.anew:
            self._change_endpoint(change)
        elif wish.netns is None:
            containers.add_host(self.instance, wish.sir, cgroup)
        else:
            containers.add(
                self.instance,
                containers.AddOptions(
                    sir=wish.sir,
                    netns=wish.netns,
                    device=wish.device,
                    delivery=wish.delivery,
                    link=wish.link,
                    mtu=wish.mtu,
                    any_source=wish.any_source,
                    cgroup=cgroup,
                ),
                swept=True,
            )

    def _change_endpoint(self, change: EndpointChange) -> None:
        """What can be changed while packets pass."""
        wish, fields = change.wish, change.fields
        if not {"delivery", "any-source"}.isdisjoint(fields):
            containers.change(
                self.instance, wish.sir, delivery=wish.delivery, any_source=wish.any_source
            )
        if "cgroup" in fields:
            cgroup = self.names.cgroups[wish.cgroup] if wish.cgroup is not None else None
            limits.assign(self.instance, wish.sir, cgroup)
        if "mapping" in fields:
            with self.instance.locked():
                now = endpoints.find(self.instance, wish.sir)
                mappings.put_local(self.instance, wish.sir, now.wire)

    def _remove_devices(self, found: Difference) -> None:
        with self.instance.locked():
            known = {endpoint.ifindex for endpoint in endpoints.read_all(self.instance)}
            for device in found.devices:
                now = self.network.interface_by_index(device.index)
                if device.index in known or now is None or now.alias != device.alias:
                    continue
                # The device before its program: a container is never without checks.
                self.network.delete_interface(device.index)
                tc_attach.detach(None, self.instance.pins.links, CONTAINER.at(device.index))
            endpoints.sweep_ports(self.instance)
