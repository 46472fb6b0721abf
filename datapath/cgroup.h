/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Limits of cgroups at their sockets: for packets that no endpoint with a limit has
 * seen, because nothing earlier knows whose those are.
 */
#ifndef ILAX_CGROUP_H
#define ILAX_CGROUP_H

#include <linux/ip.h>

#include "hook.h"
#include "limit.h"
#include "parse_ipv6.h"
#include "types.h"

/* lo has this number in every network namespace. */
#define LOOPBACK_IFINDEX 1

/* Limited cgroups below a limited one that are looked for. */
#define CGROUP_NESTING_MAX 16

/* Global, so that the verifier looks at it once and not for each level. */
__noinline int ilax_cgroup_limited(__u64 id)
{
	const struct ilax_limit *limit;
	const __u32 *slot;

	slot = bpf_map_lookup_elem(&ilax_cgroups, &id);
	if (!slot)
		return false;
	limit = bpf_map_lookup_elem(&ilax_limits, slot);
	return limit && (limit->byte_cost || limit->packet_cost);
}

/*
 * The program runs for a cgroup and for all below it, once for each cgroup that
 * it is attached to. The nearest limit is the socket's; what lies above takes
 * part as its parent, or not at all. A row that limits nothing is no limit: it is
 * there for endpoints to name, and no program charges it.
 */
static __always_inline bool cgroup_has_nearer(hook_ctx *ctx,
					      const struct ilax_limit *limit)
{
	struct bpf_sock *sk = ctx->sk;
	__u64 id;

	if (!(limit->flags & ILAX_LIMIT_NESTED) || !sk)
		return false;
	for (int i = 1; i <= CGROUP_NESTING_MAX; i++) {
		id = bpf_sk_ancestor_cgroup_id(sk, limit->depth + i);
		if (!id)
			return false;
		if (ilax_cgroup_limited(id))
			return true;
	}
	return false;
}

/* ECN and transport of any IP packet. Returns whether pkt has IPv6 addresses. */
static __always_inline bool cgroup_parse(hook_ctx *ctx, struct ilax_packet *pkt,
					 __u8 *ecn)
{
	void *data = hook_data(ctx), *end = hook_data_end(ctx);
	const struct iphdr *ip4 = data;

	if (ctx->protocol == bpf_htons(ETH_P_IPV6)) {
		if (parse_ipv6(ctx, pkt, data, end) >= 0)
			return false;
		*ecn = ecn_of_ipv6(data);
		return true;
	}
	if ((void *)(ip4 + 1) > end)
		return false;
	*ecn = ip4->tos & ECN_CE;
	pkt->nexthdr = ip4->protocol;
	return false;
}

/*
 * The limit that was charged where the packet arrived: packets for an endpoint
 * with a limit have passed XDP or tc.
 */
static __always_inline __u32 cgroup_charged(const struct ilax_addr *dst)
{
	const struct ilax_endpoint *endpoint;
	const struct ilax_mapping *mapping;
	struct ilax_addr key = *dst;

	mapping = bpf_map_lookup_elem(&ilax_mappings, &key);
	if (!mapping || mapping->action != ILAX_ACTION_LOCAL)
		return 0;
	key = mapping->wire;
	endpoint = bpf_map_lookup_elem(&ilax_endpoints, &key);
	return endpoint ? endpoint->limit : 0;
}

static __always_inline bool limit_in_chain(__u32 slot, __u32 leaf,
					   const struct ilax_limit *limit)
{
	if (slot == leaf)
		return true;
	for (int i = 0; i < ILAX_LIMIT_PARENTS; i++)
		if (slot == limit->parents[i])
			return true;
	return false;
}

/*
 * Leave out what was charged before. Limits form a tree: above the first common
 * one all are common. Returns false if nothing is left.
 */
static __always_inline bool cgroup_leave_out(__u32 charged, __u32 slot,
					     struct ilax_limit *limit)
{
	const struct ilax_limit *other;

	other = bpf_map_lookup_elem(&ilax_limits, &charged);
	if (!other)
		return true;
	if (limit_in_chain(slot, charged, other))
		return false;
	for (int i = 0; i < ILAX_LIMIT_PARENTS && limit->parents[i]; i++) {
		if (limit_in_chain(limit->parents[i], charged, other)) {
			limit->parents[i] = 0;
			break;
		}
	}
	return true;
}

static __always_inline int ilax_cgroup(hook_ctx *ctx, struct ilax_packet *pkt)
{
	__u32 slot = *(__u32 *)bpf_get_local_storage(&ilax_attached, 0);
	struct ilax_charge charge = {};
	const struct ilax_limit *row;
	struct ilax_limit limit;
	struct ilax_chunk *chunk;
	__u32 charged;
	__u8 ecn = 0;

	/* What a host sends to itself has not arrived there. */
	if (!slot || hook_ifindex(ctx) == LOOPBACK_IFINDEX)
		return ILAX_PASS_NOT_OURS;
	row = bpf_map_lookup_elem(&ilax_limits, &slot);
	chunk = limit_chunk(slot);
	if (!row || !chunk || cgroup_has_nearer(ctx, row))
		return ILAX_PASS_NOT_OURS;
	limit = *row;
	if (cgroup_parse(ctx, pkt, &ecn)) {
		charged = cgroup_charged(&pkt->dst);
		if (charged && !cgroup_leave_out(charged, slot, &limit))
			return ILAX_PASS_HANDOVER;
	}
	hook_wire(ctx, pkt, &charge);
	charge.markable = ecn_capable(ecn);
	if (!limit_police(slot, &limit, chunk, &charge))
		return ILAX_DROP_LIMIT;
	pkt->noted = charge.ce || charge.tag;
	if (charge.ce)
		hook_set_ce(ctx);
	if (charge.tag)
		hook_tag(ctx, charge.mark, charge.prio);
	return ILAX_PASS_HOST;
}

#endif /* ILAX_CGROUP_H */
