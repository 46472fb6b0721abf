// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Gives a test-run packet what user space cannot give it (a shorter tail, a
 * VLAN tag beside the frame, a device's idea of whom it is for) and then runs
 * the program under test, which is the shipped one, by a tail call.
 *
 * cb[0]: row of shim_targets; cb[1]: new length of the frame, 0 = as it is;
 * cb[2]: VLAN tag to keep beside the frame, type << 16 | tag, 0 = none.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SHIM_FAILED 1000

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} shim_targets SEC(".maps");

SEC("tc")
int shim(struct __sk_buff *ctx)
{
	__u32 target = ctx->cb[0], len = ctx->cb[1], tag = ctx->cb[2];

	if (len && bpf_skb_change_tail(ctx, len, 0))
		return SHIM_FAILED + 1;
	if (tag && bpf_skb_vlan_push(ctx, bpf_htons(tag >> 16), tag & 0xffff))
		return SHIM_FAILED + 2;
	bpf_tail_call(ctx, &shim_targets, target);
	return SHIM_FAILED;
}

/* Somebody else's program on the uplink's XDP hook. */
SEC("xdp.frags")
int foreign(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* A sender whose device puts the tag in: it stays beside the frame up to the receiver. */
SEC("tc")
int push(struct __sk_buff *ctx)
{
	bpf_skb_vlan_push(ctx, bpf_htons(0x8100), 5);
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
