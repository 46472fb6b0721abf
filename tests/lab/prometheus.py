# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus in a namespace, and what the dashboard asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lab.netns import Namespace
from lab.wait import until

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
RULES = PACKAGING / "prometheus" / "alerts.yml"
DASHBOARD = PACKAGING / "grafana" / "ilax.json"
EXPORTER_PORT, PORT = 9119, 9090

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
# What ilax-exporter.service has.
ONE_CAPABILITY = (
    *NOBODY,
    "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


def tool(name: str) -> Path:
    """Path of `prometheus` or `promtool`: of `make setup`, or in PATH.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    found = shutil.which(name, path=ROOT / "build" / "prometheus") or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name}: run `make setup`")
    return Path(found)


def get(ns: Namespace, port: int, path: str) -> bytes:
    """The answer of a server on the loopback address of a namespace.

    Raises:
        AssertionError: it is another one than 200.
    """
    status, body = _answer(ns, port, path)
    assert status == 200, (path, status, body)
    return body


def _answer(ns: Namespace, port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("::1", port, timeout=30)
    with ns.entered():
        connection.connect()
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


@dataclass(frozen=True)
class Query:
    """One query of a panel of the dashboard.

    Attributes:
        legend: how Grafana names its lines.
        unit: of the panel.
        expression: with variables of Grafana.
    """

    panel: str
    legend: str
    unit: str
    expression: str

    def over(self, window: str) -> str:
        """PromQL over all hosts, with `window` as the range of rates."""
        return self.expression.replace("$instance", ".*").replace("$__rate_interval", window)


def dashboard() -> list[Query]:
    """All queries of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [
        Query(
            panel["title"],
            target["legendFormat"],
            panel["fieldConfig"]["defaults"]["unit"],
            target["expr"],
        )
        for panel in panels
        for target in panel.get("targets", [])
    ]


class Prometheus:
    """Runs in a namespace and scrapes the exporter there. Use `running()`."""

    def __init__(self, ns: Namespace) -> None:
        self._ns = ns

    @classmethod
    @contextlib.contextmanager
    def running(cls, ns: Namespace, folder: Path, interval: str) -> Iterator[Prometheus]:
        """Start it with the alert rules; it ends with the context.

        Args:
            folder: for its configuration and data.
            interval: between two scrapes.
        """
        config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "ilax", "static_configs": [{"targets": [f"[::1]:{EXPORTER_PORT}"]}]}
            ],
        }
        file = folder / "prometheus.json"
        file.write_text(json.dumps(config))  # JSON is YAML, too
        command = (
            *(str(tool("prometheus")), f"--config.file={file}"),
            *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=[::1]:{PORT}"),
        )
        with ns.running(*command):
            ns.wait_listening(PORT)
            # It listens before it has opened its database, and answers 503 meanwhile.
            until(lambda: _answer(ns, PORT, "/-/ready")[0] == 200, "a Prometheus that is ready")
            yield cls(ns)

    def api(self, path: str, **parameters: object) -> Any:
        """The data of an answer of its HTTP API."""
        text = get(self._ns, PORT, f"/api/v1/{path}?{urlencode(parameters)}")
        return json.loads(text)["data"]

    def query(self, expression: str) -> list[Any]:
        """Samples of now."""
        found: list[Any] = self.api("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The one sample of now, if there is one."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Any]:
        """Lines between two moments, in seconds since 1970."""
        found: list[Any] = self.api(
            "query_range", query=expression, start=start, end=end, step=step
        )["result"]
        return found


@contextlib.contextmanager
def exporting(
    ns: Namespace, *command: str, environment: dict[str, str], options: tuple[str, ...] = ()
) -> Iterator[None]:
    """An exporter that runs in a namespace; `command` is what starts `ilax` there."""
    listen = ("exporter", "--listen", f"[::1]:{EXPORTER_PORT}")
    with ns.running(*command, *listen, *options, env=environment) as process:
        until(lambda: ns.listens(EXPORTER_PORT) or process.poll() is not None, "an exporter")
        assert process.poll() is None, process.stdout and process.stdout.read()
        yield
        assert process.poll() is None, process.stdout and process.stdout.read()
