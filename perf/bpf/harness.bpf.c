// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Runs a shipped program many times on packets to ever new destinations.
 *
 * A program that rewrites its packet cannot be timed by repetition, because the
 * second run would see the rewritten one. So the harness is what is repeated: it
 * puts the next destination into the packet, restores hop limit and metadata
 * room, and jumps into the program under test, which is the object as shipped.
 * Timed against the same jump into an empty program.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>

#include "ilax_abi.h"

#define HOP_LIMIT 64
/* No verdict of any program: the jump failed. */
#define NOT_REACHED 99

struct cursor {
	__u32 next;  /* key to use now */
	__u32 count; /* keys in perf_keys */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* as many as there are keys */
	__type(key, __u32);
	__type(value, struct ilax_addr);
} perf_keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cursor);
} perf_cursor SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} perf_target_xdp SEC(".maps"), perf_target_tc SEC(".maps");

static __always_inline const struct ilax_addr *next_key(void)
{
	struct cursor *cursor;
	__u32 zero = 0, now;

	cursor = bpf_map_lookup_elem(&perf_cursor, &zero);
	if (!cursor)
		return NULL;
	now = cursor->next;
	cursor->next = now + 1 < cursor->count ? now + 1 : 0;
	return bpf_map_lookup_elem(&perf_keys, &now);
}

/*
 * The destination is written by the same two stores of 8 bytes that it will be
 * read by: anything else would stall the reader, which no packet from a device
 * does.
 */
static __always_inline bool set_destination(void *data, void *end)
{
	struct ipv6hdr *ip6 = data + ETH_HLEN;
	const struct ilax_addr *key = next_key();
	__u64 *destination;

	if (!key || (void *)(ip6 + 1) > end)
		return false;
	destination = (__u64 *)&ip6->daddr;
	destination[0] = key->prefix;
	destination[1] = key->identifier;
	ip6->hop_limit = HOP_LIMIT;
	return true;
}

SEC("xdp.frags")
int perf_each_xdp(struct xdp_md *ctx)
{
	bpf_xdp_adjust_meta(ctx, ctx->data - ctx->data_meta);
	if (set_destination((void *)(long)ctx->data,
			    (void *)(long)ctx->data_end))
		bpf_tail_call(ctx, &perf_target_xdp, 0);
	return NOT_REACHED;
}

SEC("tc")
int perf_each_tc(struct __sk_buff *ctx)
{
	if (set_destination((void *)(long)ctx->data,
			    (void *)(long)ctx->data_end))
		bpf_tail_call(ctx, &perf_target_tc, 0);
	return NOT_REACHED;
}

SEC("xdp.frags")
int perf_empty_xdp(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int perf_empty_tc(struct __sk_buff *ctx)
{
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
