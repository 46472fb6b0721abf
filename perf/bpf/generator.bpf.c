// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The packet generator: run with BPF_F_TEST_XDP_LIVE_FRAMES on a veth, it sends
 * one frame again and again to the other end.
 *
 * There is a program for each length of a frame, because a copy of fixed length
 * is a few stores and what makes the packet is part of every figure.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PLAIN 64	     /* bytes of the frame that all peers deliver */
#define IN_IPV6 (PLAIN + 40) /* the same packet behind another IPv6 header */
/* The frame behind Ethernet, IPv6, UDP and VXLAN headers. */
#define IN_VXLAN (PLAIN + 14 + 40 + 8 + 8)

struct frame {
	__u64 words[(IN_VXLAN + 7) / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frame);
} perf_frame SEC(".maps");

/*
 * The kernel recycles the frames as the receiver left them, so all of it is
 * written for every packet.
 */
static __always_inline int generate(struct xdp_md *ctx, const int length)
{
	void *data = (void *)(long)ctx->data;
	const struct frame *frame;
	__u32 zero = 0;

	frame = bpf_map_lookup_elem(&perf_frame, &zero);
	if (!frame || data + length > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy((__u64 *)data, frame->words, length);
	return XDP_TX;
}

SEC("xdp.frags")
int perf_generate_64(struct xdp_md *ctx)
{
	return generate(ctx, PLAIN);
}

SEC("xdp.frags")
int perf_generate_104(struct xdp_md *ctx)
{
	return generate(ctx, IN_IPV6);
}

SEC("xdp.frags")
int perf_generate_134(struct xdp_md *ctx)
{
	return generate(ctx, IN_VXLAN);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
