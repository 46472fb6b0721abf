// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tells whether an array of programs takes programs with "frags": the kernel loads
 * this only if it does, and tells it in no other way.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} slots SEC(".maps");

SEC("xdp.frags")
int ilax_slot_probe(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &slots, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
