// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A test run gives a cgroup program a fresh row of ilax_attached, and no way to write it.
 * This one writes it, from cb[0], and then runs the shipped program by a tail call.
 */
#include "ilax_maps.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} attached_target SEC(".maps");

SEC("cgroup_skb/ingress")
int attached(struct __sk_buff *ctx)
{
	*(__u32 *)bpf_get_local_storage(&ilax_attached, 0) = ctx->cb[0];
	bpf_tail_call(ctx, &attached_target, 0);
	/* Not reached: the drop of a packet that no counter has seen. */
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
