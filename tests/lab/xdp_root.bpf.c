// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A foreign program that holds the XDP hook: it drops packets to one UDP port,
 * lets slot 2 of its array have the rest, and passes on what nobody takes. With
 * -DLINEAR it knows no frames in pieces.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifdef LINEAR
#define SECTION "xdp"
#else
#define SECTION "xdp.frags"
#endif

#define REFUSED_PORT 7009

enum {
	SEEN,
	DROPPED,
	NOBODY,
	NEIGHBOUR,
	SEEN_ROWS
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} root_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEEN_ROWS);
	__type(key, __u32);
	__type(value, __u64);
} root_seen SEC(".maps");

static __always_inline void count(__u32 row)
{
	__u64 *seen = bpf_map_lookup_elem(&root_seen, &row);

	if (seen)
		__sync_fetch_and_add(seen, 1);
}

SEC(SECTION)
int foreign_root(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip6 + 1);

	count(SEEN);
	if ((void *)(udp + 1) <= (void *)(long)ctx->data_end &&
	    eth->h_proto == bpf_htons(ETH_P_IPV6) &&
	    ip6->nexthdr == IPPROTO_UDP &&
	    udp->dest == bpf_htons(REFUSED_PORT)) {
		count(DROPPED);
		return XDP_DROP;
	}
	bpf_tail_call(ctx, &root_array, 2);
	count(NOBODY);
	return XDP_PASS;
}

/* Somebody else's, for another slot. */
SEC(SECTION)
int foreign_slot(struct xdp_md *ctx)
{
	count(NEIGHBOUR);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
