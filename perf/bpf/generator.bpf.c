// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The packet generator: run with BPF_F_TEST_XDP_LIVE_FRAMES on a veth, it sends
 * one 64-byte frame again and again to the other end.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define FRAME_WORDS 8 /* 64 bytes */

struct frame {
	__u64 words[FRAME_WORDS];
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
SEC("xdp.frags")
int perf_generate(struct xdp_md *ctx)
{
	struct frame *data = (void *)(long)ctx->data;
	const struct frame *frame;
	__u32 zero = 0;

	frame = bpf_map_lookup_elem(&perf_frame, &zero);
	if (!frame || (void *)(data + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*data = *frame;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
