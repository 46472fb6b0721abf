# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server: one page, for Prometheus to read."""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from ilax.errors import SystemCallError, UsageError
from ilax.exporter.families import CONTENT_TYPE

if TYPE_CHECKING:
    from ilax.exporter.collector import Collector

_log = logging.getLogger(__name__)

PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen.

    Attributes:
        host: address in numbers.
        port: 0 = one that is free.
    """

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_listen(text: str) -> Listen:
    """Read `[::1]:9119` or `127.0.0.1:9119`.

    Raises:
        UsageError: something else stands there. A name would be an address that
            changes, so there must be numbers.
    """
    host, colon, port = text.rpartition(":")
    try:
        if not colon or not port.isascii() or not port.isdecimal() or int(port) > 0xFFFF:
            raise ValueError
        bracketed = host.startswith("[") and host.endswith("]")
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if bracketed != (address.version == 6):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"cannot listen at {text}: an address and a port are needed",
            hint="such as [::1]:9119, 127.0.0.1:9119, or [::]:9119 for all addresses",
        ) from None
    return Listen(str(address), int(port))


class Server(ThreadingHTTPServer):
    """Answers `GET /metrics` with one scrape.

    Raises:
        SystemCallError: the address is taken, or not of this host.
    """

    daemon_threads = True

    def __init__(self, listen: Listen, collector: Collector) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self.collector = collector
        try:
            super().__init__((listen.host, listen.port), _Handler)
        except OSError as error:
            raise SystemCallError(f"listen at {listen}", error.errno or 0) from error
        self.listen = Listen(listen.host, int(self.server_address[1]))

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{self.listen}{PATH}"

    def server_bind(self) -> None:
        """Bind; the inherited method would ask the resolver for a name as well."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no error of ours; the rest is printed as it is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ilax", ""
    # A client that says nothing for so many seconds is hung up on.
    timeout = 60

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND, explain=f"metrics are at {PATH}")
            return
        body = self.server.collector.text()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)
