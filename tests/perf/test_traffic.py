# SPDX-License-Identifier: Apache-2.0
"""What can be asked of a generator, and the draws and frames that come of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from ilax.errors import UsageError
from ilax_perf.generate import frames, sequence
from ilax_perf.generate.pktgen.driver import Assigned
from ilax_perf.generate.pktgen.generator import settings_of
from ilax_perf.generate.pktgen.presets import PRESETS
from ilax_perf.generate.pktgen.results import DeviceResult
from ilax_perf.generate.pktgen.settings import why_no_range
from ilax_perf.generate.traffic import Listed, Range, Traffic, TrafficError, Uniform, Zipf
from lab.packets import decode, udp_frame

FIRST = IPv6Address("2001:db8::100")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
TRAFFIC = Traffic(MACS, IPv6Address("2001:db8::1"), Range(FIRST, 256), size=128, count=1000)

# As Linux 6.1 has it.
PKTGEN_TEXT = """\
Params: count 0  min_pkt_size: 64  max_pkt_size: 64
     frags: 0  delay: 0  clone_skb: 0  ifname: v0@0
     flows: 0 flowlen: 0
     queue_map_min: 0  queue_map_max: 1
     saddr: 2001:db8::1  min_saddr: ::  max_saddr: ::
     daddr: ::  min_daddr: 2001:db8::100  max_daddr: 2001:db8::1ff
     Flags: IPV6  UDPCSUM
Current:
     pkts-sofar: 7968  errors: 3
     flows: 0
Result: OK: 195924(c182727+d13196) usec, 7968 (64byte,0frags)
  40668pps 20Mb/sec (20822016bps) errors: 3
"""


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": 63}, "63 bytes: take 64 to 9014"),
        ({"size": 9015}, "9015 bytes"),
        ({"flows": 0}, "0 flows"),
        ({"port": 65536}, "port 65536"),
        ({"count": None}, "how many packets or how many seconds"),
        ({"seconds": 1.0}, "how many packets or how many seconds"),
        ({"rate": -1.0}, "rate: -1"),
        ({"count": 0}, "count: 0"),
    ],
)
def test_traffic_that_makes_no_sense_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(TrafficError, match=complaint):
        replace(TRAFFIC, **changes)  # type: ignore[arg-type]


def test_a_frame_has_24_bytes_more_on_a_wire() -> None:
    assert (TRAFFIC.wire_size, TRAFFIC.packet_size) == (152, 114)


@given(st.integers(0, (1 << 128) - 300), st.integers(1, 300))
@cases(deadline=None, max_examples=50)
def test_a_range_is_all_addresses_that_follow(first: int, count: int) -> None:
    rows = Range(IPv6Address(first), count).table()
    found = [int.from_bytes(row.tobytes(), "big") for row in rows]
    assert found == list(range(first, first + count))


def test_ranges_end_with_the_last_address() -> None:
    last = IPv6Address((1 << 128) - 1)
    assert Range(last).last == last
    with pytest.raises(TrafficError, match="not so many"):
        Range(last, 2)
    with pytest.raises(TrafficError, match="take 1 to 1048576"):
        Range(FIRST, (1 << 20) + 1)


@pytest.mark.parametrize("count", [1, 7, 1 << 16])
def test_uniform_sends_once_to_each_before_it_begins_again(count: int) -> None:
    drawn = sequence.numbers(count, Uniform())
    assert np.array_equal(np.sort(drawn), np.arange(count))


@pytest.mark.parametrize(("count", "exponent"), [(2, 0.5), (1000, 1.0), (1 << 20, 1.2)])
def test_zipf_draws_fit_the_distribution(count: int, exponent: float) -> None:
    drawn = sequence.numbers(count, Zipf(exponent))
    # Chi-square over the first destinations, and all others together.
    head = min(count - 1, 500)
    shares = np.arange(1, count + 1) ** -exponent
    shares /= shares.sum()
    expected = len(drawn) * np.append(shares[:head], shares[head:].sum())
    counts = np.bincount(drawn, minlength=count)
    seen = np.append(counts[:head], counts[head:].sum())
    square = float((np.square(seen - expected) / expected).sum())
    # The draws are always the same; five standard deviations would be no accident.
    assert square < head + 5 * np.sqrt(2 * head)
    assert drawn.min() >= 0 and drawn.max() < count


def test_zipf_is_the_inverse_of_the_cumulative_distribution() -> None:
    uniform = np.random.default_rng(3).random(200)
    shares = [1 / number for number in range(1, 51)]
    limits = [sum(shares[: number + 1]) / sum(shares) for number in range(50)]
    expected = [next(k for k, limit in enumerate(limits) if u < limit) for u in uniform]
    assert list(sequence.numbers(50, Zipf(1), 200, seed=3)) == expected


@given(st.integers(64, 200), st.integers(0, 1 << 20), st.integers(1, 9), st.integers(0, 2**128 - 9))
@cases(deadline=None, max_examples=50)
def test_frames_are_those_of_any_udp_sender(size: int, first: int, flows: int, to: int) -> None:
    traffic = replace(TRAFFIC, size=size, flows=flows, destinations=Range(IPv6Address(to), 5))
    built = frames.build(traffic, traffic.destinations.table(), first)
    for number, row in enumerate(built, first):
        destination = IPv6Address(to + number - first)
        payload = (number % 65536).to_bytes(2, "big") + bytes(size - 64)
        ports = (10000 + number % flows, 4242)
        addresses = (traffic.source, destination)
        assert row.tobytes() == udp_frame(MACS, addresses, payload, ports=ports)
        frame = decode(row.tobytes())
        assert frame is not None and frame.checksum_valid


@pytest.mark.parametrize(
    ("first", "last", "possible"),
    [
        ("2001:db8::", "2001:db8::ffff", True),
        ("2001:db8::7", "2001:db8::7", True),
        ("2001:db8::1", "2001:db8::ffff", False),
        ("2001:db8::", "2001:db8::fffe", False),
        ("2001:db8::8", "2001:db8::17", False),
    ],
)
def test_pktgen_takes_whole_prefixes_only(first: str, last: str, possible: bool) -> None:
    low, high = IPv6Address(first), IPv6Address(last)
    assert (why_no_range(low, high) is None) == possible
    # The kernel's way to draw: does it reach all of the range, and nothing else?
    reached = {(random | int(low)) & int(high) for random in range(1 << 16)}
    span = range(int(low) & 0xFFFF, (int(high) & 0xFFFF) + 1)
    assert ({value & 0xFFFF for value in reached} == set(span)) == possible


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_share_packets_and_rate_out(preset: str) -> None:
    settings = settings_of(replace(TRAFFIC, count=1001, rate=1000.0))
    plan = PRESETS[preset]("eth0", settings, [0, 3])
    assert sum(part.count for part in plan.values()) == 1001
    assert sum(1e9 / part.delay for part in plan.values()) == pytest.approx(1000)
    if preset != "simple":
        assert list(plan) == [Assigned("eth0", 0, "0"), Assigned("eth0", 3, "3")]
        with pytest.raises(UsageError, match="1 packets are too few for 2 threads"):
            PRESETS[preset]("eth0", replace(settings, count=1), [0, 3])


def test_a_result_of_pktgen_is_read_as_the_kernel_writes_it() -> None:
    result = DeviceResult.parse(PKTGEN_TEXT)
    assert (result.sent, result.errors, result.seconds) == (7968, 3, 0.195924)
    assert (result.queues, sorted(result.flags)) == ((0, 1), ["IPV6", "UDPCSUM"])
    assert result.said.startswith("OK: 195924(c182727+d13196) usec, 7968 (64byte,0frags) 40668pps")
    with pytest.raises(ValueError, match="no control file"):
        DeviceResult.parse("Result: OK")


def test_lists_are_rows_of_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match=r"uint8 \(n, 16\)"):
        Listed(np.zeros((4, 8), np.uint8))
    with pytest.raises(TrafficError, match="0 destinations"):
        Listed(np.zeros((0, 16), np.uint8))
