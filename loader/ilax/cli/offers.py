# SPDX-License-Identifier: Apache-2.0
"""What a shell offers for a value: read from the host and the instance at that moment.

Whatever cannot be read is not offered. A shell that completes has nowhere to say why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from ilax.errors import IlaxError
from ilax.instances.instance_name import DEFAULT_INSTANCE

if TYPE_CHECKING:
    from ilax.instances.instance import Instance

Offer = Callable[[click.Context, click.Parameter, str], list[str]]


def _offer(read: Callable[[click.Context], Iterable[str]]) -> Offer:
    def complete(ctx: click.Context, _: click.Parameter, typed: str) -> list[str]:
        try:
            found = set(read(ctx))
        except (IlaxError, OSError):
            return []
        return sorted(value for value in found if value.startswith(typed))

    return complete


@contextlib.contextmanager
def _instance(ctx: click.Context) -> Iterator[Instance]:
    from ilax.instances.instance import Instance

    name = ctx.find_root().params.get("instance") or DEFAULT_INSTANCE
    with Instance.open(name, read_only=True) as instance:
        yield instance


def _instances(_: click.Context) -> list[str]:
    from ilax.instances.pins import instances

    return instances()


def _endpoints(ctx: click.Context) -> list[str]:
    from ilax.endpoint.endpoints import read_all

    with _instance(ctx) as instance:
        return [str(one.sir) for one in read_all(instance)]


def _task_devices(ctx: click.Context) -> list[str]:
    from ilax.endpoint.endpoints import read_all
    from ilax.system.netlink import interface_names

    names = interface_names()
    with _instance(ctx) as instance:
        return [names[one.ifindex] for one in read_all(instance) if one.ifindex in names]


def _devices(_: click.Context) -> Iterable[str]:
    from ilax.system.netlink import interface_names

    return interface_names().values()


def _namespaces(_: click.Context) -> list[str]:
    from ilax.system.namespaces import named

    return [path.name for path in named()]


def _places(ctx: click.Context) -> list[str]:
    return ["uplink", "host", *_namespaces(ctx), *_endpoints(ctx)]


def _cgroups(_: click.Context) -> list[str]:
    from ilax.system.cgroups import Tree

    return [one.name for one in Tree.read().by_id.values()]


def _limited(ctx: click.Context) -> list[str]:
    from ilax.limiting.limit_book import slots_by_cgroup
    from ilax.system.cgroups import Tree

    tree = Tree.read()
    with _instance(ctx) as instance:
        return [tree.name(number) for number in slots_by_cgroup(instance)]


def _reasons(_: click.Context) -> Iterable[str]:
    from ilax.watching.counters import reason_names

    return reason_names().values()


def _hooks(_: click.Context) -> Iterable[str]:
    from ilax.watching.counters import hook_names

    return hook_names().values()


def _findings(_: click.Context) -> Iterable[str]:
    from ilax.check import KINDS

    return KINDS


INSTANCES = _offer(_instances)
ENDPOINTS = _offer(_endpoints)
TASK_DEVICES = _offer(_task_devices)
DEVICES = _offer(_devices)
NAMESPACES = _offer(_namespaces)
PLACES = _offer(_places)
CGROUPS = _offer(_cgroups)
LIMITED = _offer(_limited)
REASONS = _offer(_reasons)
HOOKS = _offer(_hooks)
FINDINGS = _offer(_findings)
