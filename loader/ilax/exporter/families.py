# SPDX-License-Identifier: Apache-2.0
"""Families of metrics with very many rows, and the text of all families.

prometheus-client makes an object of each sample. That takes seconds where each of
64 Ki endpoints has six of them; rows that are arrays become text ten times faster.
All other families are the library's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Labels:
    """Values of one label, by row; made once for all families that share them.

    Args:
        name: of the label.
        values: what is no valid UTF-8 is replaced by question marks.
    """

    def __init__(self, name: str, values: Iterable[str]) -> None:
        self.name = name
        self.values = [value.encode("utf-8", "replace").decode() for value in values]
        self.texts = [f'{{{name}="{value.translate(_ESCAPES)}"}} ' for value in self.values]


@dataclass(frozen=True, slots=True)
class Rows:
    """A family with one sample for each row.

    Attributes:
        name: of a counter: without `_total`.
        values: numbers, shape (rows,).
        present: which rows have a value, shape (rows,), bool; None = all of them.
    """

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    labels: Labels
    values: NDArray[Any]
    present: NDArray[Any] | None = None

    def _samples(self, labels: Sequence[str]) -> Iterator[tuple[str, int | float]]:
        pairs = zip(labels, self.values.tolist(), strict=True)
        if self.present is None:
            return pairs
        return (pair for pair, here in zip(pairs, self.present.tolist(), strict=True) if here)

    def text(self) -> str:
        """The family in Prometheus's text format."""
        name = f"{self.name}_total" if self.kind == "counter" else self.name
        lines = [f"{name}{label}{value}\n" for label, value in self._samples(self.labels.texts)]
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n{''.join(lines)}"

    def metric(self) -> Metric:
        """The family as prometheus-client has it."""
        family = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        made = family(self.name, self.help, labels=[self.labels.name])
        for value, number in self._samples(self.labels.values):
            made.add_metric([value], number)
        return made


Family = Metric | Rows


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def gauges(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
    """A gauge with one label."""
    made = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        made.add_metric([key], value)
    return made


def counters(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
    """A counter with one label. `name` is without `_total`."""
    made = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        made.add_metric([key], value)
    return made


class _Given:
    """What `generate_latest` asks a registry for."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Iterable[Family]) -> bytes:
    """All families in Prometheus's text format, those with very many rows last."""
    small: list[Metric] = []
    large: list[str] = []
    for family in families:
        if isinstance(family, Rows):
            large.append(family.text())
        else:
            small.append(family)
    return generate_latest(_Given(small)) + "".join(large).encode()


def as_json(families: Iterable[Family]) -> list[dict[str, Any]]:
    """All samples, with name, labels and value."""
    return [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for family in families
        for sample in (family.metric() if isinstance(family, Rows) else family).samples
    ]
