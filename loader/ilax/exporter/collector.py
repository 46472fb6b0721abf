# SPDX-License-Identifier: Apache-2.0
"""What one scrape reads, part by part: the failure of one hides no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from ilax.errors import IlaxError, NotFoundError
from ilax.exporter import checks, limits, machinery, traffic
from ilax.exporter.choice import Choice
from ilax.exporter.families import Rows, counters, gauge, gauges, render
from ilax.instances.instance import Instance
from ilax.instances.instance_name import DEFAULT_INSTANCE

if TYPE_CHECKING:
    from ilax.exporter.families import Family

_log = logging.getLogger(__name__)

_OPEN, _CHECK = "open", "check"
_DEFAULT = Choice(200)


@dataclass(frozen=True, slots=True)
class Options:
    """How much is exported.

    Attributes:
        endpoints, limits: which ones have series of their own.
        count_period: seconds between two counts of mappings.
        check_report: file of the last `ilax check`; None: where it is by default.
    """

    endpoints: Choice = _DEFAULT
    limits: Choice = _DEFAULT
    count_period: float = 300
    check_report: Path | None = None


class _Part:
    """Takes the time of one part, and swallows its errors."""

    def __init__(
        self, name: str, seconds: dict[str, float], failed: Callable[[str, Exception], None]
    ) -> None:
        self._name, self._seconds, self._failed = name, seconds, failed

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        self._seconds[self._name] = time.perf_counter() - self._start
        if not isinstance(error, IlaxError | OSError):
            return False
        self._failed(self._name, error)
        return True


class Collector:
    """Reads an instance anew at each scrape; it may come, go and be upgraded meanwhile.

    Attributes:
        last_errors: what went wrong in the last scrape, by part; empty if all is well
            or the instance is not up.
    """

    def __init__(self, instance: str = DEFAULT_INSTANCE, options: Options | None = None) -> None:
        self._instance = instance
        options = options or Options()
        sizes = machinery.Sizes(options.count_period)
        self._parts: dict[str, Callable[[Instance], Iterable[Family]]] = {
            "contract": machinery.contract,
            "counters": traffic.by_reason,
            "endpoints": lambda opened: traffic.by_endpoint(opened, options.endpoints),
            "limits": lambda opened: limits.by_limit(opened, options.limits),
            "maps": sizes.read,
            "programs": machinery.programs,
            "links": machinery.links,
        }
        self._report = options.check_report or checks.default_report(instance)
        self._errors = dict.fromkeys((_OPEN, *self._parts, _CHECK), 0.0)
        self.last_errors: dict[str, Exception] = {}
        # A scrape at a time: more of them would only compete for the CPU.
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry shall not read maps to learn names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families, as a registry of prometheus-client wants them."""
        for family in self.families():
            yield family.metric() if isinstance(family, Rows) else family

    def text(self) -> bytes:
        """All families in Prometheus's text format."""
        return render(self.families())

    def families(self) -> list[Family]:
        """Read everything."""
        with self._lock:
            self.last_errors = {}
            return self._read()

    def _read(self) -> list[Family]:
        found: list[Family] = []
        seconds: dict[str, float] = {}
        opened = None
        with ExitStack() as stack:
            with _Part(_OPEN, seconds, self._failed):
                opened = stack.enter_context(Instance.open(self._instance, read_only=True))
            for name, read in self._parts.items():
                if opened is None:
                    break
                with _Part(name, seconds, self._failed):
                    # What a part has read before it failed would be half a story.
                    found += list(read(opened))
        # Also of an instance that is not up: that is what a check finds.
        with _Part(_CHECK, seconds, self._failed):
            found += list(checks.last_check(self._report, self._instance))
        success = {part: float(part not in self.last_errors) for part in seconds}
        return [
            gauge(
                "ilax_up",
                "Whether the instance is up and could be opened.",
                float(opened is not None),
            ),
            *found,
            gauges("ilax_scrape_success", "Whether this part could be read.", "part", success),
            gauges(
                "ilax_scrape_duration_seconds", "How long reading this part took.", "part", seconds
            ),
            counters(
                "ilax_scrape_errors", "Failures of this part since the exporter started.", "part",
                self._errors,
            ),
        ]  # fmt: skip

    def _failed(self, part: str, error: Exception) -> None:
        # An instance that is not up is no failure of the exporter.
        if part == _OPEN and isinstance(error, NotFoundError):
            return
        self._errors[part] += 1
        self.last_errors[part] = error
        what = "open the instance" if part == _OPEN else f"read {part}"
        _log.warning("cannot %s: %s", what, error)
