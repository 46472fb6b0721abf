# SPDX-License-Identifier: Apache-2.0
"""Loaded programs, and running them on a packet of our own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ilax.bpf import _libbpf
from ilax.bpf.handle import Handle, fill_info, get_pinned
from ilax.errors import IlaxError, check_system_call

# Flags of a test run.
LIVE_FRAMES = 1 << 1

# Room for what a program may put in front of the packet.
_HEADROOM = 256


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a program did with a packet.

    Attributes:
        retval: the program's return value.
        data: the packet afterwards.
        ctx: the context afterwards, as the kernel wrote it.
        duration_ns: mean time of one run, by the kernel's clock.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    retval: int
    data: bytes
    ctx: bytes
    duration_ns: int


class Program(Handle):
    """An open BPF program.

    Attributes:
        id: the kernel's number.
        tag: hash of the instructions, hexadecimal.
        type: enum bpf_prog_type.
        load_time: when it was loaded, in ns since boot.
        runs, run_ns: how often it ran and for how long, when it was opened; the
            kernel counts while kernel.bpf_stats_enabled is 1.
    """

    kind = "program"

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = _libbpf.ProgInfo()
        fill_info(fd, info, f"query program of descriptor {fd}")
        self.name = info.name.decode()
        self.id: int = info.id
        self.type: int = info.type
        self.tag = bytes(info.tag).hex()
        self.xlated_bytes: int = info.xlated_prog_len
        self.load_time: int = info.load_time
        self.runs: int = info.run_cnt
        self.run_ns: int = info.run_time_ns

    @classmethod
    def open_pinned(cls, path: Path | str, *, read_only: bool = False) -> Self:
        """Open the program pinned at `path`.

        Args:
            read_only: ask for permission to read the pin only.

        Raises:
            NotFoundError: nothing is pinned there.
        """
        return cls(get_pinned(Path(path), cls.kind, read_only=read_only))

    @classmethod
    def by_id(cls, number: int) -> Self:
        """Open a loaded program by the kernel's number; needs CAP_SYS_ADMIN."""
        return cls(
            check_system_call(
                _libbpf.lib.bpf_prog_get_fd_by_id(number),
                f"open program number {number}",
                admin=True,
            )
        )

    def map_ids(self) -> list[int]:
        """Numbers of the maps that the program uses, in the order of their first use."""
        info = _libbpf.ProgInfo()
        action = f"ask program {self.name} for its maps"
        fill_info(self.fd, info, action)
        room = int(info.nr_map_ids)
        numbers = _libbpf.uint32_array(room)
        info = _libbpf.ProgInfo(nr_map_ids=room, map_ids=_libbpf.pointer(numbers))
        fill_info(self.fd, info, action)
        return list(numbers)[: int(info.nr_map_ids)]

    def recursion_misses(self) -> int:
        """How often the kernel skipped it, because it was running on that CPU already."""
        info = _libbpf.ProgInfo()
        fill_info(self.fd, info, f"query program {self.name}")
        return int(info.recursion_misses)

    def test_run(
        self,
        data: bytes,
        *,
        ctx: bytes | None = None,
        repeat: int = 1,
        flags: int = 0,
        batch_size: int = 0,
        cpu: int = 0,
    ) -> TestRun:
        """Run on one packet (BPF_PROG_TEST_RUN); nothing is sent.

        Args:
            data: the frame, from its Ethernet header.
            ctx: initial context (struct xdp_md or __sk_buff), or None.
            repeat: runs; with more than one the same buffer is used again.
            flags: BPF_F_TEST_*. With LIVE_FRAMES the frames really leave.
            batch_size: frames of one burst, for LIVE_FRAMES.
            cpu: for BPF_F_TEST_RUN_ON_CPU.
        """
        live = bool(flags & LIVE_FRAMES)
        data_in = _libbpf.buffer_from(data)
        data_out = _libbpf.buffer(len(data) + _HEADROOM)
        ctx_in = _libbpf.buffer_from(ctx) if ctx is not None else None
        ctx_out = _libbpf.buffer(len(ctx)) if ctx is not None else None
        options = _libbpf.opts(
            _libbpf.TestRunOpts(
                data_in=_libbpf.pointer(data_in),
                data_size_in=len(data),
                repeat=repeat,
                flags=flags,
                batch_size=batch_size,
                cpu=cpu,
            )
        )
        if not live:
            options.data_out = _libbpf.pointer(data_out)
            options.data_size_out = len(data) + _HEADROOM
        if ctx is not None and ctx_in is not None:
            options.ctx_in = _libbpf.pointer(ctx_in)
            options.ctx_size_in = len(ctx)
        if ctx is not None and ctx_out is not None and not live:
            options.ctx_out = _libbpf.pointer(ctx_out)
            options.ctx_size_out = len(ctx)
        check_system_call(
            _libbpf.lib.bpf_prog_test_run_opts(self.fd, _libbpf.pointer(options)),
            f"run program {self.name} on {len(data)} bytes",
        )
        return TestRun(
            retval=options.retval,
            data=bytes(data_out.raw[: options.data_size_out]) if not live else b"",
            ctx=bytes(ctx_out.raw[: options.ctx_size_out]) if ctx_out is not None else b"",
            duration_ns=options.duration,
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """A loaded program, as people are told of it.

    Attributes:
        number: the kernel's.
        name, tag: "" without CAP_SYS_ADMIN, which opening it by number needs, and for
            a program that is gone.
    """

    number: int
    name: str = ""
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.name} (number {self.number})" if self.name else self.short

    @property
    def short(self) -> str:
        """By name; by number where that is all that is known."""
        return self.name or f"number {self.number}"


def identify(number: int) -> Identity:
    """Name and tag of a loaded program, as far as we may know them."""
    try:
        with Program.by_id(number) as program:
            return Identity(number, program.name, program.tag)
    except IlaxError:
        return Identity(number)


def in_words(number: int) -> str:
    """A loaded program by name and number; by number alone without CAP_SYS_ADMIN."""
    return str(identify(number))
