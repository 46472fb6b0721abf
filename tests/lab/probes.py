# SPDX-License-Identifier: Apache-2.0
"""ping and traceroute, as programs that people use, with their output decoded."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from lab.netns import CommandError, Namespace, run


def ping(
    ns: Namespace,
    destination: str,
    *,
    count: int = 1,
    size: int = 56,
    wait: float = 2,
    options: tuple[str, ...] = (),
) -> bool:
    """Whether all of `count` echo requests of `size` bytes are answered within `wait` s."""
    done = run(
        *ns.prefix(),
        *("ping", "-6", "-n", "-c", str(count), "-i", "0.01", "-W", f"{wait:g}"),
        *("-s", str(size), *options, destination),
        check=False,
    )
    answered = re.search(r"(\d+) received", done.stdout)
    return answered is not None and int(answered[1]) == count


def must_ping(
    ns: Namespace,
    destination: str,
    *,
    count: int = 1,
    size: int = 56,
    options: tuple[str, ...] = (),
) -> None:
    """Raise CommandError, with what ping said, unless everything is answered."""
    run(
        *ns.prefix(),
        *("ping", "-6", "-n", "-c", str(count), "-i", "0.01", "-W", "5"),
        *("-s", str(size), *options, destination),
    )


def ping_pairs(pairs: list[tuple[Namespace, str]]) -> list[bool]:
    """One echo request for each pair of sender and destination, several at a time."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda pair: ping(*pair, wait=5), pairs))


def traceroute(ns: Namespace, destination: str, *, method: str = "udp") -> list[str]:
    """Addresses of the hops; `*` where nobody answered.

    Args:
        method: `udp` (the default of the program), `icmp` or `tcp`.

    Raises:
        CommandError: the program failed.
    """
    done = run(
        *ns.prefix(),
        *("traceroute", "-6", "-n", "-q", "1", "-w", "2", "-m", "8", "-N", "1"),
        *("-M", method, destination),
        check=False,
    )
    hops = re.findall(r"^ *\d+ +(\S+)", done.stdout, re.MULTILINE)
    if done.returncode or not hops:
        raise CommandError(done)
    return hops
