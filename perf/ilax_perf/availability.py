# SPDX-License-Identifier: Apache-2.0
"""Which peers are here: each is tried in a namespace that is gone right afterwards."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from ilax_perf.sampling import Progress
from lab.cleanup import owned
from lab.netns import Namespace

_TAG = "ilxperfa"
_ROUTE = "ip -6 route add 2001:db8::1/128 dev try0 encap"
_TRIES: Mapping[str, str] = {
    "ip6tables DNPT": "ip6tables --table mangle --append PREROUTING --jump DNPT "
    "--src-pfx 2001:db8:1::/64 --dst-pfx 2001:db8:2::/64",
    "seg6local": f"{_ROUTE} seg6local action End.DT6 table main",
    "seg6": f"{_ROUTE} seg6 mode encap.red segs 2001:db8::2",
    "vxlan": "ip link add try2 type vxlan id 1 local 2001:db8::1 dstport 4789 "
    "udp6zerocsumtx udp6zerocsumrx",
    "bridge": "ip link add try2 type bridge",
    "macvlan": "ip link add link try0 name try2 type macvlan mode bridge",
}


def left_out(needs: Iterable[str], rows: Iterable[str], progress: Progress) -> bool:
    """Whether something that rows need is missing; says so, and which rows.

    Args:
        needs: keys of what can be tried.
        rows: their names.
        progress: is told.
    """
    for need in needs:
        reason = _why_not(need)
        if reason is not None:
            progress(f"{', '.join(rows)}: left out, no {need} here: {reason}")
            return True
    return False


@functools.cache
def _why_not(need: str) -> str | None:
    with owned(_TAG):
        ns = Namespace(f"{_TAG}-try")
        ns.create()
        ns.ip("link", "add", "try0", "type", "veth", "peer", "name", "try1")
        ns.ip("link", "set", "try0", "up")
        done = ns.run(*_TRIES[need].split(), check=False)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return (lines[0] if lines else f"exit code {done.returncode}") if done.returncode else None
