// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The spraying generator: run with BPF_F_TEST_XDP_LIVE_FRAMES, it sends UDP
 * packets over IPv6, each to the next destination of a sequence, with its own
 * source port, number and checksum.
 *
 * A run that is not due, or after the last packet, ends with XDP_DROP, which
 * gives the frame back and sends nothing.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HEADER_WORDS 8 /* 64 bytes: all headers, and the packet's number */
#define TIME_SHIFT 6   /* intervals have 1/64 ns */
#define CLOCK_EVERY 64 /* packets; a power of two */

struct address {
	__u64 upper, lower; /* network byte order */
};

/* One run at a time; so no atomics, and no value for each CPU. */
struct spray {
	/* Writer: user space; of `count` also the program, when time is over. */
	__u64 words[HEADER_WORDS]; /* a frame's start, 0 where packets differ */
	__u64 count;		   /* packets; 0 = without end */
	__u64 time;	    /* ns from the first packet to the end; 0 = none */
	__u64 interval;	    /* 1/64 ns from packet to packet; 0 = none */
	__u64 sum;	    /* of the checksum's words that all packets share */
	__u32 destinations; /* rows of perf_sequence */
	__u16 first_port;
	__u16 flows; /* source ports, one after the other */
	/* Writer: the program. */
	__u64 sent;  /* packets */
	__u64 start; /* ns: when the first one left */
	__u64 last;  /* ns: when one of the newest left */
	__u32 at;    /* next row of perf_sequence */
	__u32 flow;  /* of the next packet */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spray);
} perf_spray SEC(".maps");

/* As many rows as user space asks for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct address);
} perf_sequence SEC(".maps");

/*
 * By multiplication from the start, so a stall is made up for and the mean rate
 * is the one asked for.
 */
static __always_inline bool is_due(struct spray *spray)
{
	__u64 now;

	if (!spray->interval && spray->sent & (CLOCK_EVERY - 1))
		return true;
	now = bpf_ktime_get_ns();
	if (!spray->sent)
		spray->start = now;
	if (spray->time && now - spray->start >= spray->time) {
		spray->count = spray->sent;
		return false;
	}
	if (now - spray->start < spray->sent * spray->interval >> TIME_SHIFT)
		return false;
	spray->last = now;
	return true;
}

static __always_inline __u16 checksum(__u64 sum, const struct address *to)
{
	__u32 folded;

	/* Ones' complement: what overflows is added again. */
	sum += to->upper;
	sum += sum < to->upper;
	sum += to->lower;
	sum += sum < to->lower;
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	folded = ((__u32)sum & 0xffff) + ((__u32)sum >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	folded ^= 0xffff;
	return folded ? folded : 0xffff;
}

/* The kernel recycles frames as the receiver left them. */
static __always_inline bool write_packet(struct xdp_md *ctx,
					 const struct spray *spray,
					 const struct address *to)
{
	__u64 *words = (void *)(long)ctx->data;
	struct ipv6hdr *ip6 = (void *)words + ETH_HLEN;
	struct udphdr *udp = (void *)(ip6 + 1);
	/* Of the packet, modulo 65536: the payload's first two bytes. */
	__be16 *number = (void *)(udp + 1);
	int i;

	if ((void *)(words + HEADER_WORDS) > (void *)(long)ctx->data_end)
		return false;
	for (i = 0; i < HEADER_WORDS; i++)
		words[i] = spray->words[i];
	((__u64 *)&ip6->daddr)[0] = to->upper;
	((__u64 *)&ip6->daddr)[1] = to->lower;
	udp->source = bpf_htons(spray->first_port + spray->flow);
	*number = bpf_htons((__u16)spray->sent);
	udp->check = checksum(spray->sum + udp->source + *number, to);
	return true;
}

SEC("xdp.frags")
int perf_spray_next(struct xdp_md *ctx)
{
	const struct address *to;
	struct spray *spray;
	__u32 zero = 0;

	spray = bpf_map_lookup_elem(&perf_spray, &zero);
	if (!spray || (spray->count && spray->sent >= spray->count) ||
	    !is_due(spray))
		return XDP_DROP;
	to = bpf_map_lookup_elem(&perf_sequence, &spray->at);
	if (!to || !write_packet(ctx, spray, to))
		return XDP_ABORTED;
	spray->at = spray->at + 1 < spray->destinations ? spray->at + 1 : 0;
	spray->flow = spray->flow + 1 < spray->flows ? spray->flow + 1 : 0;
	spray->sent++;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
