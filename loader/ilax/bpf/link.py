# SPDX-License-Identifier: Apache-2.0
"""Links: what ties a program to a device or cgroup, and keeps it there while pinned."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ilax.bpf import _libbpf
from ilax.bpf.handle import Handle, fill_info, get_pinned
from ilax.bpf.program import Program
from ilax.errors import NotFoundError, SystemCallError, check_system_call

# enum bpf_attach_type
CGROUP_INET_INGRESS = 0
ATTACH_XDP = 37
TCX_INGRESS = 46
TCX_EGRESS = 47

# XDP_FLAGS_*
XDP_GENERIC = 1 << 1
XDP_NATIVE = 1 << 2

# Places among the tcx programs of a hook: BPF_F_BEFORE, BPF_F_AFTER, BPF_F_ID.
BEFORE = 1 << 3
AFTER = 1 << 4
_BY_ID = 1 << 5

# The kernel's own limit for one hook (BPF_MPROG_MAX).
_TCX_MOST = 64

# enum bpf_link_type
LINK_CGROUP = 3
LINK_XDP = 6
LINK_TCX = 11


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What a link ties together.

    Attributes:
        id: the kernel's number of the link.
        type: enum bpf_link_type.
        program_id: of the program that runs now.
        ifindex: 0 when the device is gone, and for cgroups.
        cgroup: number of the cgroup; 0 when it is gone, and for devices.
    """

    id: int
    type: int
    program_id: int
    ifindex: int
    cgroup: int


class Link(Handle):
    """An open bpf_link. Closing it does not detach while it is pinned."""

    kind = "link"

    @classmethod
    def xdp(cls, program: Program, ifindex: int, flags: int = 0) -> Self:
        """Attach an XDP program.

        Raises:
            SystemCallError: EBUSY or EEXIST if another program holds the hook.
        """
        return cls._create(program, ifindex, ATTACH_XDP, flags, f"interface {ifindex} by XDP")

    @classmethod
    def tcx(
        cls, program: Program, ifindex: int, attach_type: int, flags: int = 0, relative: int = 0
    ) -> Self:
        """Attach a tc program by tcx (Linux 6.6).

        Args:
            attach_type: TCX_INGRESS or TCX_EGRESS.
            flags: BEFORE or AFTER, or 0 for behind all others.
            relative: number of the program before or behind which it runs; 0 for
                the first or the last place.

        Raises:
            SystemCallError: EINVAL on kernels without tcx, ENOENT if there is no
                program `relative`.
        """
        return cls._create(
            program, ifindex, attach_type, flags, f"interface {ifindex} by tcx", relative
        )

    @classmethod
    def cgroup_ingress(cls, program: Program, folder: int, name: str) -> Self:
        """Attach a cgroup_skb program to a cgroup and all below it, beside others.

        Args:
            folder: descriptor of the cgroup's folder.
            name: of the cgroup, for messages.

        Raises:
            SystemCallError: EPERM if a program that allows no other is there.
        """
        return cls._create(program, folder, CGROUP_INET_INGRESS, 0, f"cgroup {name}")

    @classmethod
    def _create(
        cls,
        program: Program,
        target: int,
        attach: int,
        flags: int,
        where: str,
        relative: int = 0,
    ) -> Self:
        options = None
        if flags:
            # libbpf before 1.3 has no name for `relative`, but the kernel reads it in
            # the place of target_btf_id: both are the first member of one union.
            flags |= _BY_ID if relative else 0
            options = _libbpf.opts(_libbpf.LinkCreateOpts(flags=flags, target_btf_id=relative))
        fd = _libbpf.lib.bpf_link_create(
            program.fd, target, attach, _libbpf.pointer(options) if options else None
        )
        action = f"attach program {program.name} to {where}"
        return cls(check_system_call(fd, action), program.name)

    @classmethod
    def open_pinned(cls, path: Path | str) -> Self:
        """Open the link pinned at `path`.

        Raises:
            NotFoundError: nothing is pinned there.
        """
        return cls(get_pinned(Path(path), cls.kind), Path(path).name)

    def info(self) -> LinkInfo:
        """What the link ties together now."""
        info = _libbpf.LinkInfo()
        fill_info(self.fd, info, f"query link {self.name}")
        if info.type == LINK_CGROUP:
            return LinkInfo(info.id, info.type, info.prog_id, 0, info.cgroup_id)
        return LinkInfo(info.id, info.type, info.prog_id, info.ifindex, 0)

    def update(self, program: Program) -> None:
        """Swap the program in place; no packet sees the hook empty.

        Raises:
            NotFoundError: the device or cgroup is gone.
        """
        result = _libbpf.lib.bpf_link_update(self.fd, program.fd, None)
        if result in (-errno.ENOLINK, -errno.ENODEV):
            raise NotFoundError(f"the target of link {self.name} is gone")
        check_system_call(result, f"put program {program.name} into link {self.name}")

    def detach(self) -> None:
        """Take the program off its device now, whoever else holds the link."""
        result = _libbpf.lib.bpf_link_detach(self.fd)
        if result not in (0, -errno.ENOLINK, -errno.ENODEV):
            raise SystemCallError(f"detach link {self.name}", -result)


def xdp_program_on(ifindex: int) -> int:
    """Number of the XDP program on a device, 0 for none."""
    number = _libbpf.new_uint32()
    check_system_call(
        _libbpf.lib.bpf_xdp_query_id(ifindex, 0, _libbpf.pointer(number)),
        f"ask interface {ifindex} for its XDP program",
    )
    return int(number.value)


def tcx_programs_on(ifindex: int, attach_type: int) -> list[int]:
    """Numbers of the tcx programs on a device, in the order in which they run.

    Args:
        attach_type: TCX_INGRESS or TCX_EGRESS.

    Returns:
        Nothing on kernels without tcx.

    Raises:
        NotFoundError: the device is gone.
    """
    numbers = _libbpf.uint32_array(_TCX_MOST)
    options = _libbpf.opts(
        _libbpf.ProgQueryOpts(prog_ids=_libbpf.pointer(numbers), prog_cnt=_TCX_MOST)
    )
    result = _libbpf.lib.bpf_prog_query_opts(ifindex, attach_type, _libbpf.pointer(options))
    if result == -errno.ENODEV:
        raise NotFoundError(f"interface {ifindex} is gone")
    if result in (-errno.EINVAL, -errno.ENOENT, -errno.EOPNOTSUPP):
        return []
    check_system_call(result, f"list the tcx programs of interface {ifindex}")
    return list(numbers[: options.prog_cnt])
