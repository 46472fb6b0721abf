// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program that takes its time, and says when it has begun and when it ends. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct lingering {
	__u64 begun;
	__u64 ended;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lingering);
} linger_state SEC(".maps");

/* Some 2 ns each. */
#define TURNS (1 << 23)
#define ROUNDS 8

static long turn(__u32 index, __u64 *sum)
{
	*sum += index;
	return 0;
}

SEC("xdp")
int linger(struct xdp_md *ctx)
{
	struct lingering *state;
	__u64 sum = 0;
	__u32 zero = 0;

	state = bpf_map_lookup_elem(&linger_state, &zero);
	if (!state)
		return XDP_ABORTED;
	__sync_fetch_and_add(&state->begun, 1);
	for (int i = 0; i < ROUNDS; i++)
		bpf_loop(TURNS, turn, &sum, 0);
	__sync_fetch_and_add(&state->ended, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
