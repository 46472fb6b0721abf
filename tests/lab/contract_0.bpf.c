// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Maps of a major 0 that never was: other names, orders and sizes of fields, other
 * units, and numbers with another meaning. What is not here was as it is now.
 */
#include "ilax_abi.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MMAPABLE (1U << 10)

struct task {
	__u64 generation;
	struct ilax_addr sir;
	__u32 mtu;
	__u8 host_mac[6];
	__u8 mac[6];
	struct ilax_addr wire;
	__u16 slot;
	__u16 limit;
	__u32 ifindex;
	__u32 delivery;
	__u8 flags;
	__u8 pad[7];
};

enum verb {
	VERB_FORWARD = 1,
	VERB_LOCAL = 2,
};

struct way {
	__u64 generation;
	__u64 verb;
	struct ilax_addr wire;
};

struct limit {
	__u32 parents[ILAX_LIMIT_PARENTS];
	__u64 byte_cost;
	__u64 packet_cost;
	__u16 burst_us;
	__u16 mark_us;
	__u16 drop_us;
	__u16 small_us;
	__u32 generation;
	__u32 tag_mark;
	__u32 tag_prio;
	__u8 depth;
	__u8 chunk;
	__u8 action;
	__u8 flags;
};

struct backlog {
	struct ilax_policed total;
	__u64 refilled;
	__u64 until;
};

struct counter {
	__u64 last_sample;
	__u64 lost;
	__u64 bytes;
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct ilax_addr);
	__type(value, struct task);
} ilax_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ilax_addr);
	__type(value, struct way);
} ilax_mappings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, MMAPABLE);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, struct limit);
} ilax_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, MMAPABLE);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, struct backlog);
} ilax_backlogs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ILAX_COUNTER_ROWS);
	__type(key, __u32);
	__type(value, struct counter);
} ilax_counters SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";
