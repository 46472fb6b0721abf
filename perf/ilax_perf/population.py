# SPDX-License-Identifier: Apache-2.0
"""Tables full of random addresses, without an instance and without devices."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from ilax import address_bulk
from ilax.address import Address, Prefix, parse_prefix
from ilax.bpf import Map
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.translation import fabric, mappings
from ilax.translation.fabric import Fabric

SIR_PREFIX = parse_prefix("2001:db8:5a5a:1::/64")
LOCATOR = parse_prefix("2001:db8:42:1::/64")
ELSEWHERE = parse_prefix("2001:db8:42:2::/64")
BLOCK = parse_prefix("2001:db8:42::/48")
FOREIGN = parse_prefix("2001:db8:f00::/64")

LOOPBACK = 1  # where test runs take place
TASK = Address(SIR_PREFIX.upper, 0x2000_0000_0000_0001)
MOST_ENDPOINTS, MOST_MAPPINGS = 65536, 1 << 20

_TYPE_1 = 0x2000 << 48
_STRANGERS = 1000

Addresses = NDArray[np.uint64]


class Population:
    """Fresh tables, and the addresses in them.

    Args:
        most_endpoints, most_mappings: addresses that are made up for them.
    """

    def __init__(
        self,
        maps: dict[str, Map],
        seed: int = 1,
        *,
        most_endpoints: int = MOST_ENDPOINTS,
        most_mappings: int = MOST_MAPPINGS,
    ) -> None:
        self.instance = Instance(PinFolder("perf"), maps, ExitStack())
        self._random = np.random.default_rng(seed)
        known = Fabric((SIR_PREFIX,), (LOCATOR,), (BLOCK,))
        fabric.write(self.instance, known)
        self._known = known
        self._tasks = self.addresses(SIR_PREFIX, most_endpoints)
        self._remote = self.addresses(SIR_PREFIX, most_mappings)
        self._mapped = 0
        self._write_host()

    def _write_host(self) -> None:
        config = self.instance.config.new()[0]
        config["uplink_ifindex"], config["uplink_mtu"] = LOOPBACK, 1500
        self.instance.config.put(index_key(0), config)
        port = self.instance.ports.new()[0]
        port["sir"], port["slot"] = (TASK.prefix, TASK.identifier), 1
        self.instance.ports.put(index_key(LOOPBACK), port)
        self.instance.devices.update(index_key(LOOPBACK), index_key(LOOPBACK))

    def addresses(self, prefix: Prefix, count: int) -> Addresses:
        """Random different addresses below a prefix, in random order."""
        low = self._random.choice(1 << 40, count, replace=False).astype(np.uint64)
        table = np.empty((count, 2), np.uint64)
        table[:, 0] = prefix.upper
        table[:, 1] = low << np.uint64(1) | np.uint64(_TYPE_1 | 1)
        return table

    def strangers(self, prefix: Prefix) -> Addresses:
        """Wire addresses below a prefix that are no keys of any table."""
        return address_bulk.to_wire(self.addresses(SIR_PREFIX, _STRANGERS), prefix.upper)

    def shuffled(self, table: Addresses) -> Addresses:
        """In another order than that in which the rows were written.

        A preallocated table gives its rows out in order, so destinations in the
        order of writing would walk through memory and not jump.
        """
        return self._random.permutation(table)

    def endpoints(self, count: int, delivery: str, *, limited: bool = False) -> Addresses:
        """Make the first `count` tasks endpoints; returns their wire addresses.

        Args:
            limited: each names the row of `ilax_limits` with its own number.
        """
        sir = self._tasks[:count]
        wire = address_bulk.to_wire(sir, LOCATOR.upper)
        rows = self.instance.endpoints.new(count)
        for field, table in (("wire", wire), ("sir", sir)):
            rows[field]["prefix"], rows[field]["identifier"] = table[:, 0], table[:, 1]
        rows["ifindex"], rows["mtu"] = LOOPBACK, 1500
        rows["slot"] = np.arange(1, count + 1)
        if limited:
            rows["limit"] = rows["slot"]
        rows["delivery"] = endpoints.deliveries()[delivery]
        self.instance.endpoints.put_rows(self._keys(wire), rows)
        return wire

    def limits(self, count: int, rate: float, chunk: int) -> None:
        """Give the first `count` slots a limit of `rate` bits/s."""
        table = self.instance.limits
        rows = table.new(count + 1)
        shift = schema.enum("ilax_limit_unit")["ILAX_BYTE_COST_SHIFT"]
        rows["byte_cost"] = round((64 << shift) * 8e9 / rate)
        rows["burst"] = rows["drop"] = 1_000_000
        rows["generation"], rows["chunk"] = 1, chunk
        table.put_rows(np.arange(count + 1, dtype="<u4"), rows)

    def mappings(self, count: int) -> Addresses:
        """Map the first `count` remote tasks; returns their SIR addresses."""
        sir = self._remote[:count]
        wire = address_bulk.to_wire(sir, ELSEWHERE.upper)
        mappings.write_bulk(self.instance, self._known, sir[self._mapped :], wire[self._mapped :])
        self._mapped = count
        return sir

    def _keys(self, table: Addresses) -> NDArray[np.void]:
        keys: NDArray[np.void] = np.ascontiguousarray(table.astype(">u8"))
        return keys.view(self.instance.endpoints.key_dtype)[:, 0]
