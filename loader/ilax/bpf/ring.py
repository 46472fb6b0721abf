# SPDX-License-Identifier: Apache-2.0
"""Ring buffers: the kernel's way to hand out events."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

from ilax.bpf import _libbpf
from ilax.bpf.handle import Closing
from ilax.bpf.map import Map
from ilax.errors import SystemCallError, check_system_call

_log = logging.getLogger(__name__)


class RingBuffer(Closing):
    """Reads events of a ring-buffer map. One reader at a time sees each event.

    Args:
        events: a map of type RINGBUF.
        callback: is given the bytes of each event. What it raises is logged;
            an exception cannot cross the library's C code.
    """

    def __init__(self, events: Map, callback: Callable[[bytes], None]) -> None:
        self._callback = callback
        self._function = _libbpf.RING_CALLBACK(self._on_event)
        self._handle: int | None = _libbpf.lib.ring_buffer__new(
            events.fd, _libbpf.function_address(self._function), None, None
        )
        if not self._handle:
            raise SystemCallError(f"read ring {events.name}", _libbpf.get_errno())

    def poll(self, timeout_ms: int = 0) -> int:
        """Handle what is there, waiting up to `timeout_ms` ms for the first.

        Returns:
            Events handled.
        """
        result = _libbpf.lib.ring_buffer__poll(self._handle, timeout_ms)
        if result == -errno.EINTR:
            return 0
        return check_system_call(result, "poll the ring")

    def close(self) -> None:
        """Stop reading."""
        if self._handle:
            _libbpf.lib.ring_buffer__free(self._handle)
            self._handle = None

    def _on_event(self, _context: int | None, data: int, size: int) -> int:
        try:
            self._callback(_libbpf.read_memory(data, size))
        except Exception:
            _log.exception("event handler failed")
        return 0
