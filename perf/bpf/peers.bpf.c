// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What ilax is compared with: programs that do one thing only, and the sinks
 * that end and count packets in the same way for everybody.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ilax_abi.h"

/* Packets that reached the end; 8 bytes for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} perf_count SEC(".maps");

/* Where redirects go: ifindex of the container's host-side device. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} perf_device SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} perf_peer SEC(".maps");

/* Kind and size of ilax_endpoints. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ILAX_DEFAULT_ENDPOINTS);
	__type(key, struct ilax_addr);
	__type(value, struct ilax_endpoint);
} perf_endpoints SEC(".maps");

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u64 *packets = bpf_map_lookup_elem(&perf_count, &zero);

	if (packets)
		(*packets)++;
}

static __always_inline struct ipv6hdr *ipv6_of(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);

	if ((void *)(ip6 + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return NULL;
	return ip6;
}

static __always_inline bool is_load(void *data, void *end)
{
	struct ipv6hdr *ip6 = ipv6_of(data, end);

	return ip6 &&
	       (ip6->nexthdr == IPPROTO_UDP || ip6->nexthdr == IPPROTO_IPV6);
}

/* The ends: neighbour discovery passes, the load is counted and dropped. */

SEC("xdp.frags")
int perf_sink_xdp(struct xdp_md *ctx)
{
	if (!is_load((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_PASS;
	count();
	return XDP_DROP;
}

SEC("tc")
int perf_sink_tc(struct __sk_buff *ctx)
{
	if (!is_load((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return TC_ACT_UNSPEC;
	count();
	return TC_ACT_SHOT;
}

/* Bare programs: the limits. */

SEC("xdp.frags")
int perf_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* It counts, or there would be nothing to read afterwards. */
SEC("xdp.frags")
int perf_drop(struct xdp_md *ctx)
{
	count();
	return XDP_DROP;
}

SEC("xdp.frags")
int perf_redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&perf_device, 0, XDP_DROP);
}

SEC("tc")
int perf_redirect_peer(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	__u32 *ifindex = bpf_map_lookup_elem(&perf_peer, &zero);

	return ifindex ? bpf_redirect_peer(*ifindex, 0) : TC_ACT_SHOT;
}

/* The least that demux can be: one lookup, of the same kind as ours. */

static __always_inline const struct ilax_endpoint *look_up(struct ipv6hdr *ip6)
{
	struct ilax_addr key;

	key.prefix = ((__u64 *)&ip6->daddr)[0];
	key.identifier = ((__u64 *)&ip6->daddr)[1];
	return bpf_map_lookup_elem(&perf_endpoints, &key);
}

SEC("xdp.frags")
int perf_lookup_drop(struct xdp_md *ctx)
{
	struct ipv6hdr *ip6;

	ip6 = ipv6_of((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	if (!ip6 || look_up(ip6))
		return XDP_PASS;
	count();
	return XDP_DROP;
}

SEC("xdp.frags")
int perf_lookup_redirect(struct xdp_md *ctx)
{
	const struct ilax_endpoint *row;
	struct ipv6hdr *ip6;

	ip6 = ipv6_of((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	row = ip6 ? look_up(ip6) : NULL;
	if (!row)
		return XDP_PASS;
	((__u64 *)&ip6->daddr)[0] = row->sir.prefix;
	((__u64 *)&ip6->daddr)[1] = row->sir.identifier;
	ip6->hop_limit--;
	return bpf_redirect_map(&perf_device, 0, XDP_DROP);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
