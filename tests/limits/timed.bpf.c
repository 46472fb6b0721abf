// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * xdp/ingress as it ships, with the clock of a test: each run is one packet of a
 * list of arrivals, at the time that the list gives, and its fate is written down.
 * With TIMED_BY_KERNEL the clock is the kernel's, and a packet comes when it is
 * run. With TIMED_TOO_LATE every charge finds that another CPU was faster.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

struct timed_arrival {
	__u64 time;   /* ns */
	__u32 ticks;  /* jiffies at that time */
	__u32 target; /* index of timed_targets */
	__u32 frame;  /* bytes; 0 = those of the run */
	__u32 pad;
};

/* Where this CPU is in the list, and its clock. */
struct timed_cursor {
	__u64 time;
	__u32 ticks;
	__u32 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* as many as there are packets */
	__type(key, __u32);
	__type(value, struct timed_arrival);
} timed_arrivals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* as many as there are packets */
	__type(key, __u32);
	__type(value, __u32);
} timed_fates SEC(".maps");

struct timed_target {
	__u64 address[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* as many as there are endpoints */
	__type(key, __u32);
	__type(value, struct timed_target);
} timed_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed_cursor);
} timed_cursor SEC(".maps");

static __always_inline struct timed_cursor *cursor(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&timed_cursor, &zero);
}

#ifndef TIMED_BY_KERNEL
static __always_inline __u64 timed_ns(void)
{
	struct timed_cursor *now = cursor();

	return now ? now->time : 0;
}

static __always_inline __u64 timed_ticks(void)
{
	struct timed_cursor *now = cursor();

	return now ? now->ticks : 0;
}

#define ILAX_CLOCK_NS() timed_ns()
#define ILAX_CLOCK_TICKS() timed_ticks()
#endif

#ifdef TIMED_TOO_LATE
/* But for the first, by which a backlog begins. The other one paid next to nothing. */
static __always_inline __u64 timed_swap(__u64 *total, __u64 seen, __u64 wanted)
{
	if (seen)
		__sync_fetch_and_add(total, 1);
	return __sync_val_compare_and_swap(total, seen, wanted);
}

#define __sync_val_compare_and_swap timed_swap
#endif

#include "../../xdp/ingress.bpf.c"

#define FATE_DROPPED 1
#define FATE_PASSED 2
#define FATE_MARKED 3

/* A frame of another length, and an IP header that says so. */
static __always_inline bool timed_resize(struct xdp_md *ctx, __u32 frame)
{
	struct ipv6hdr *ip6;

	if (bpf_xdp_adjust_tail(ctx, frame - bpf_xdp_get_buff_len(ctx)))
		return false;
	ip6 = (void *)(long)ctx->data + ETH_HLEN;
	if ((void *)(ip6 + 1) > (void *)(long)ctx->data_end)
		return false;
	ip6->payload_len = bpf_htons(frame - ETH_HLEN - sizeof(*ip6));
	return true;
}

SEC("xdp.frags")
int timed_run(struct xdp_md *ctx)
{
	const struct timed_arrival *arrival;
	const struct timed_target *target;
	struct timed_cursor *now = cursor();
	struct ipv6hdr *ip6;
	__u32 *fate, index;
	__u16 *first;
	int verdict;

	if (!now)
		return XDP_ABORTED;
	index = now->next++;
	arrival = bpf_map_lookup_elem(&timed_arrivals, &index);
	fate = bpf_map_lookup_elem(&timed_fates, &index);
	if (!arrival || !fate)
		return XDP_ABORTED;
	target = bpf_map_lookup_elem(&timed_targets, &arrival->target);
	if (!target)
		return XDP_ABORTED;
	now->time = arrival->time;
	now->ticks = arrival->ticks;

	/* As it was before the last run, but for its destination. */
	bpf_xdp_adjust_meta(ctx, ctx->data - ctx->data_meta);
	if (arrival->frame && !timed_resize(ctx, arrival->frame))
		return XDP_ABORTED;
	ip6 = (void *)(long)ctx->data + ETH_HLEN;
	if ((void *)(ip6 + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	first = (__u16 *)ip6;
	*first = (*first & ~bpf_htons(ECN_CE << ECN_SHIFT)) |
		 bpf_htons(ECN_ECT_0 << ECN_SHIFT);
	ip6->hop_limit = 64;
	addr_store(&ip6->daddr, (const struct ilax_addr *)target);

	verdict = uplink_xdp(ctx);
	if (verdict == XDP_DROP) {
		*fate = FATE_DROPPED;
		return verdict;
	}
	ip6 = (void *)(long)ctx->data + ETH_HLEN;
	if ((void *)(ip6 + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	first = (__u16 *)ip6;
	*fate = (*first & bpf_htons(ECN_CE << ECN_SHIFT)) ==
				bpf_htons(ECN_CE << ECN_SHIFT) ?
			FATE_MARKED :
			FATE_PASSED;
	return verdict;
}
