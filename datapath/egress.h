/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Towards a SIR address: to a task of this host, or to another host. */
#ifndef ILAX_EGRESS_H
#define ILAX_EGRESS_H

#include "deliver.h"
#include "hook.h"
#include "icmp6_redirect.h"
#include "prefix.h"
#include "rewrite.h"
#include "types.h"

/*
 * From container to container on one host. The wire address of the mapping is
 * the key of the endpoint, as it is for packets from the underlay.
 */
static __always_inline int ilax_send_local(hook_ctx *ctx,
					   struct ilax_packet *pkt,
					   const struct ilax_addr *wire,
					   int *action)
{
	const struct ilax_endpoint *row;
	struct ilax_addr key = *wire;
	int reason;

	row = bpf_map_lookup_elem(&ilax_endpoints, &key);
	if (!row)
		return ILAX_DROP_UNKNOWN_IDENTIFIER;
	/*
	 * The mapping may have been recycled while it was read, and nobody
	 * verifies the checksum of a packet that never leaves the host.
	 */
	if (!addr_equal(&row->sir, &pkt->dst))
		return ILAX_DROP_ROW_CHANGED;
	pkt->to_slot = row->slot;
	reason = ilax_deliver(ctx, pkt, row, &key, action);
	return reason == ILAX_SEND_PEER ? ILAX_SEND_LOCAL : reason;
}

/*
 * Rewrite and leave by the uplink. `routed` is true where the host's stack has
 * already been the router of this packet.
 */
static __always_inline int ilax_send_forward(hook_ctx *ctx,
					     struct ilax_packet *pkt,
					     const struct ilax_addr *wire,
					     bool routed, int *action)
{
	const struct ilax_config *config;
	__u32 zero = 0;
	int err;

	config = bpf_map_lookup_elem(&ilax_config, &zero);
	if (!config)
		return ILAX_DROP_REWRITE;
	if (!routed) {
		if (pkt->hop_limit <= 1)
			return ILAX_PASS_HOP_LIMIT;
		if (config->uplink_mtu &&
		    !hook_fits(ctx, pkt, config->uplink_mtu,
			       config->uplink_ifindex))
			return ILAX_PASS_TOO_BIG;
		if ((pkt->tags || hook_tagged(ctx)) && hook_pop_tags(ctx, pkt))
			return ILAX_DROP_REWRITE;
	}
	err = ilax_rewrite(ctx, pkt, wire, !routed);
	if (err >= 0)
		return err;
	*action = hook_forward(ctx, config);
	return *action < 0 ? ILAX_DROP_REWRITE : ILAX_SEND_FORWARD;
}

/* pkt->dst lies inside a SIR prefix. */
static __always_inline int ilax_send(hook_ctx *ctx, struct ilax_packet *pkt,
				     bool routed, int *action)
{
	const struct ilax_mapping *mapping;
	struct ilax_addr wire, key = pkt->dst;

	mapping = bpf_map_lookup_elem(&ilax_mappings, &key);
	if (!mapping)
		return ILAX_DROP_NO_MAPPING;
	wire = mapping->wire;
	switch (mapping->action) {
	case ILAX_ACTION_FORWARD:
		return ilax_send_forward(ctx, pkt, &wire, routed, action);
	case ILAX_ACTION_LOCAL:
		/* The next hop does not exist, and nothing leads in from here. */
		if (routed)
			return ILAX_DROP_NO_LOCAL_ROUTE;
		return ilax_send_local(ctx, pkt, &wire, action);
	default:
		return ILAX_DROP_BAD_ACTION;
	}
}

/* The uplink's egress: host tasks and forwarded packets that the stack sends.
 * Everything that we sent ourselves passes here once more, as a wire address.
 */
static __always_inline int ilax_egress(hook_ctx *ctx, struct ilax_packet *pkt,
				       int *action)
{
	const struct ilax_prefix *row = ilax_classify(&pkt->dst);

	if (row && row->kind == ILAX_PREFIX_SIR)
		return ilax_send(ctx, pkt, true, action);
	if (ilax_misleads(ctx, pkt))
		return ILAX_DROP_REDIRECT;
	return row ? ILAX_PASS_WIRE : ILAX_PASS_NOT_OURS;
}

#endif /* ILAX_EGRESS_H */
