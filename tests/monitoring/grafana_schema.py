# SPDX-License-Identifier: Apache-2.0
"""A dashboard against the types that Grafana publishes for it.

Those read a dashboard without a word about what they do not know or what has another
type. So what they have read is compared with what was given, and with their own
annotations.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator

from grafana_foundation_sdk.cog import plugins, runtime
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

plugins.register_default_plugins()


def problems(text: str) -> list[str]:
    """What Grafana's types do not know of a dashboard, or know differently."""
    given = json.loads(text)
    try:
        read = Dashboard.from_json(given)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"dashboard: cannot be read: {type(error).__name__}: {error}"]
    kept = json.loads(json.dumps(read, cls=JSONEncoder))
    return [*_lost(given, kept, "dashboard"), *_wrong(read, Dashboard, "dashboard")]


def _lost(given: object, kept: object, path: str) -> Iterator[str]:
    """What was not read, or is another thing now."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from _lost(value, kept[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}: is not known"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(one, other, f"{path}[{number}]")
    elif given != kept:
        yield f"{path}: {given!r} was read as {kept!r}"


def _wrong(value: object, hint: typing.Any, path: str) -> Iterator[str]:
    """What is of another type than its annotation says."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is object and hasattr(value, "from_json"):
        hint = type(value)  # of a plugin: options of a panel, a query
    if origin in (typing.Union, types.UnionType):
        own = [part for part in parts if isinstance(part, type) and isinstance(value, part)]
        found = [list(_wrong(value, part, path)) for part in own or parts]
        if all(found):
            yield from found[0]
    elif origin in (list, dict):
        if isinstance(value, origin):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, each in pairs:
                yield from _wrong(each, parts[-1], f"{path}[{key}]")
        else:
            yield f"{path}: {value!r} is no {origin.__name__}"
    elif origin is typing.Literal or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        among = parts or list(hint)
        if value not in among:
            yield f"{path}: {value!r} is none of {among}"
    elif hint in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, hint)):
            yield f"{path}: {value!r} is no {hint.__name__}"
    elif hint not in (object, typing.Any):
        yield from _wrong_object(value, hint, path)


def _wrong_object(value: object, kind: type, path: str) -> Iterator[str]:
    if isinstance(value, dict) and hasattr(kind, "from_json"):
        value = kind.from_json(value)  # some they leave unread
    if not isinstance(value, kind) or isinstance(value, runtime.UnknownDataquery):
        yield f"{path}: {value!r} is no {kind.__name__}"
    elif hasattr(value, "from_json"):
        if isinstance(value, Panel) and runtime.panelcfg_config(value.type_val) is None:
            yield f"{path}: {value.type_val!r} is no kind of panel"
        for name, hint in typing.get_type_hints(type(value)).items():
            yield from _wrong(getattr(value, name), hint, f"{path}.{name}")
