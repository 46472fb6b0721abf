// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Numbered packets at a rate that no socket keeps up with: a generator, run with
 * BPF_F_TEST_XDP_LIVE_FRAMES on a veth, and a check of their numbers where they
 * come out, before any queue of a socket.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT 7100
#define HEADER_WORDS 8 /* 62 bytes of headers, 2 of payload */

struct frame {
	__u64 header[HEADER_WORDS];
	__u64 number;
};

/* One core generates and receives: no atomics. */
struct flow {
	__u64 header[HEADER_WORDS]; /* writer: user space */
	__u64 sent;		    /* numbers given out */
	__u64 next;		    /* number that should come next */
	__u64 received;
	__u64 missing; /* numbers that were passed over */
	__u64 late;    /* numbers that came after a higher one, or again */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} numbered_flow SEC(".maps");

static __always_inline struct flow *the_flow(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&numbered_flow, &zero);
}

/* The kernel recycles the frames as the receiver left them: all is written. */
SEC("xdp.frags")
int numbered_send(struct xdp_md *ctx)
{
	struct frame *frame = (void *)(long)ctx->data;
	struct flow *flow = the_flow();

	if (!flow || (void *)(frame + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(frame->header, flow->header, sizeof(frame->header));
	frame->number = flow->sent++;
	return XDP_TX;
}

SEC("tc")
int numbered_check(struct __sk_buff *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip6 + 1);
	struct frame *frame = (void *)(long)ctx->data;
	struct flow *flow = the_flow();

	if (!flow || (void *)(frame + 1) > (void *)(long)ctx->data_end ||
	    ctx->protocol != bpf_htons(ETH_P_IPV6) ||
	    ip6->nexthdr != IPPROTO_UDP || udp->dest != bpf_htons(PORT))
		return TC_ACT_UNSPEC;
	flow->received++;
	if (frame->number < flow->next) {
		flow->late++;
		return TC_ACT_SHOT;
	}
	flow->missing += frame->number - flow->next;
	flow->next = frame->number + 1;
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
