# SPDX-License-Identifier: Apache-2.0
"""What tracing takes from the host, and what of it is missing: each thing by its name.

bcc is a library of the distribution, with LLVM in it, and PyPI has none: a package of
that name there is about lattices. So it is imported from where the distribution puts
it, also when ilax runs in a virtual environment that sees nothing of the system.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilax.errors import IlaxError
from ilax.system.privileges import missing_capabilities
from ilax.trace.layout import Kernel, has_kprobes
from ilax.trace.probes import LATENCY, PROBES, Kind, Part, gaps

# Debian and what comes from it.
SYSTEM_PACKAGES = ("/usr/lib/python3/dist-packages",)
_MODULES = Path("/lib/modules")
_KHEADERS = Path("/sys/kernel/kheaders.tar.xz")
_SOURCE = "BCC_KERNEL_SOURCE"


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that tracing takes.

    Attributes:
        name: what it is.
        found: where it is, or "" if it is missing.
        why: what was looked for in vain; "" if it is there.
        remedy: what to install, to set or to grant; "" if it is there.
        essential: without it nothing is traced; else a part of the picture is missing.
    """

    name: str
    found: str = ""
    why: str = ""
    remedy: str = ""
    essential: bool = True


def look() -> list[Need]:
    """What tracing cannot do without; reads only."""
    return [bcc_module(), kernel_headers(), capabilities()]


def look_at_probes() -> list[Need]:
    """What the kernel has to be traced by; reads only.

    Whether it lets a program attach there is seen when one does.
    """
    try:
        kernel = Kernel.read()
    except IlaxError as error:
        return [Need("types of the kernel (BTF)", why=str(error), remedy=error.hint or "")]
    there = {Kind.TRACEPOINT: kernel.tracepoints, Kind.FUNCTION: kernel.functions}
    absent = {p: "this kernel has none" for p in PROBES if p.name not in there[p.kind]}
    lacking = {gap.part: gap.because for gap in gaps(Part, absent)}
    found = dict.fromkeys(Part, "the kernel has probes for it")
    if not has_kprobes():
        found |= dict.fromkeys(
            LATENCY, "if this kernel takes BPF trampolines; it has no kprobes (CONFIG_KPROBES)"
        )
    return [
        Need(
            part.value,
            why="; ".join(lacking[part]),
            remedy="nothing to install: another kernel has it. All else is traced",
            essential=False,
        )
        if part in lacking
        else Need(part.value, found=found[part], essential=False)
        for part in Part
    ]


def import_bcc(folders: Sequence[str] = SYSTEM_PACKAGES) -> Any:
    """The module `bcc`: of this environment, else the system's.

    Only this one package is taken from the system's folder. On the search path that
    folder would offer its own numpy and click, too.

    Raises:
        ImportError: there is none, or it lacks its library.
    """
    try:
        module = importlib.import_module("bcc")
    except ModuleNotFoundError as error:
        if error.name != "bcc":
            raise
        module = _import_from(folders)
    if not hasattr(module, "BPF"):
        raise ImportError(f"{module.__file__} is another package of that name")
    return module


def _import_from(folders: Sequence[str]) -> Any:
    spec = importlib.machinery.PathFinder.find_spec("bcc", list(folders))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"not in this Python, nor in {', '.join(folders)}", name="bcc")
    module = importlib.util.module_from_spec(spec)
    # Its own parts import each other by this name.
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["bcc"]
        raise
    return module


def bcc_module(folders: Sequence[str] = SYSTEM_PACKAGES) -> Need:
    """bcc for Python, with its library."""
    name = "the Python module bcc"
    try:
        module = import_bcc(folders)
    except (ImportError, OSError) as error:
        return Need(
            name,
            why=str(error),
            remedy="install the distribution's: on Debian and Ubuntu python3-bpfcc. It is not on "
            "PyPI. Elsewhere than in Debian's folder: name its folder in PYTHONPATH",
        )
    return Need(name, found=f"{Path(module.__file__).parent} (bcc {module.__version__})")


def kernel_headers(
    environment: Mapping[str, str] = os.environ,
    modules: Path = _MODULES,
    kheaders: Path = _KHEADERS,
    release: str = "",
) -> Need:
    """Headers of Linux, where bcc looks for them."""
    name, release = "kernel headers", release or platform.release()
    package = f"linux-headers-{release}"
    if _SOURCE in environment:
        tree = Path(environment[_SOURCE])
        if (tree / "include/linux").is_dir() and (tree / "include/generated").is_dir():
            return Need(name, found=f"{tree} ({_SOURCE})")
        return Need(
            name,
            why=f"{_SOURCE} is {tree}, and has no include/linux and include/generated",
            remedy=f"unset it and install {package}, or let it name a whole tree: Debian's "
            "packages linux-headers-*-common and linux-headers-*-amd64 in one folder",
        )
    for part in ("build", "source"):
        if (modules / release / part / "include").is_dir():
            return Need(name, found=str(modules / release / part))
    if kheaders.exists():
        return Need(name, found=str(kheaders))
    return Need(
        name,
        why=f"neither {modules / release}/build nor {kheaders}",
        remedy=f"install the headers package of this kernel (on Debian {package}), or load "
        f"the module kheaders, or let {_SOURCE} name a whole tree of headers: that of another "
        "version will do",
    )


def capabilities() -> Need:
    """What the kernel asks of who loads programs that trace."""
    wanted = ("CAP_BPF", "CAP_PERFMON")
    missing = [name for name in missing_capabilities() if name in wanted]
    name = " and ".join(wanted)
    if missing:
        return Need(
            name,
            why=f"missing {', '.join(missing)}",
            remedy="run as root, or grant these capabilities",
        )
    return Need(name, found="granted")
