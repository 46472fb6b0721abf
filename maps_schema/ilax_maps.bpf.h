/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of the contract, as BPF programs see them. Sizes that a loader may
 * choose are set before load; flags say why a map is allocated as it is.
 */
#ifndef ILAX_MAPS_BPF_H
#define ILAX_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "ilax_abi.h"

/*
 * Preallocated: `endpoint add` must not fail for lack of memory in the middle
 * of a move, 64 Ki rows are 8 MiB, and rows of 128 bytes in one area keep key
 * and value in two adjacent cache lines.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ILAX_DEFAULT_ENDPOINTS);
	__type(key, struct ilax_addr);
	__type(value, struct ilax_endpoint);
} ilax_endpoints SEC(".maps");

/*
 * Preallocated: a row is 96 bytes (96 MiB for 1 Mi rows). Allocated on demand,
 * each row is rounded up to 128 bytes, a bulk load fails half-way when memory
 * is short, and it loads more slowly (docs/architecture.md has the figures). A
 * host that knows fewer tasks asks for fewer rows.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ILAX_DEFAULT_MAPPINGS);
	__type(key, struct ilax_addr);
	__type(value, struct ilax_mapping);
} ilax_mappings SEC(".maps");

/* Preallocated like the endpoints it accompanies: one row for each. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ILAX_DEFAULT_ENDPOINTS);
	__type(key, __u32);
	__type(value, struct ilax_port);
} ilax_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ILAX_MAX_PREFIXES);
	__type(key, __u32);
	__type(value, struct ilax_prefix);
} ilax_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ilax_config);
} ilax_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ILAX_COUNTER_ROWS);
	__type(key, __u32);
	__type(value, struct ilax_counter);
} ilax_counters SEC(".maps");

/* One row more than endpoints: slot 0 is the shared one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ILAX_DEFAULT_ENDPOINTS + 1);
	__type(key, __u32);
	__type(value, struct ilax_traffic);
} ilax_traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, ILAX_EVENTS_BYTES);
} ilax_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, ILAX_DEFAULT_ENDPOINTS);
	__type(key, __u32);
	__type(value, __u32);
} ilax_devices SEC(".maps");

/*
 * Rows of limits and of their backlogs are mmapable for one reason: only then do
 * they begin at a page, so that 64 bytes are one cache line and not two.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ILAX_DEFAULT_LIMITS);
	__type(key, __u32);
	__type(value, struct ilax_limit);
} ilax_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ILAX_DEFAULT_LIMITS);
	__type(key, __u32);
	__type(value, struct ilax_backlog);
} ilax_backlogs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ILAX_CHUNK_ROWS);
	__type(key, __u32);
	__type(value, struct ilax_chunk);
} ilax_chunks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ilax_clock);
} ilax_clock SEC(".maps");

/* Not preallocated: few cgroups have limits, and each add is an operator's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ILAX_DEFAULT_LIMITS);
	__type(key, __u64);
	__type(value, __u32);
} ilax_cgroups SEC(".maps");

/* The kernel sizes it: a row for each cgroup that the program is attached to. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, __u32);
} ilax_attached SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ilax_abi);
} ilax_abi SEC(".maps");

#endif /* ILAX_MAPS_BPF_H */
