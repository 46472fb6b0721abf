# SPDX-License-Identifier: Apache-2.0
"""Owning handles over libbpf: objects, programs, maps, links, BTF, rings.

Each handle owns a file descriptor or a library object, is a context manager,
and raises `ilax.errors` exceptions that name it. No handle knows what ilax
stores in a map; that is the domain's job.
"""

from ilax.bpf.btf import Btf
from ilax.bpf.grace import wait_for_programs
from ilax.bpf.link import Link, LinkInfo
from ilax.bpf.map import Map, possible_cpus
from ilax.bpf.object import Object
from ilax.bpf.program import Program, TestRun
from ilax.bpf.ring import RingBuffer

__all__ = [
    "Btf",
    "Link",
    "LinkInfo",
    "Map",
    "Object",
    "Program",
    "RingBuffer",
    "TestRun",
    "possible_cpus",
    "wait_for_programs",
]
