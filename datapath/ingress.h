/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the underlay: demux by the exact wire address. */
#ifndef ILAX_INGRESS_H
#define ILAX_INGRESS_H

#include "deliver.h"
#include "hook.h"
#include "icmp6.h"
#include "prefix.h"
#include "types.h"

/*
 * A destination that is no wire address of an endpoint. SIR addresses come here
 * where routers send their errors to this host by default. Those of this host's
 * own tasks are delivered like any other, or else the stack would route them past
 * the limit of the task: then *key becomes the wire address.
 *
 * The rest is the stack's: for the host itself, whose sockets know SIR addresses
 * as its tasks do, or for somebody behind it. So a packet that it quotes is put
 * right here, if the mapping is known. If not, that is no reason to drop: the host
 * of the task judges for itself, and where there is none no socket is found for a
 * wire address.
 */
static __always_inline int ilax_ingress_miss(hook_ctx *ctx,
					     const struct ilax_packet *pkt,
					     struct ilax_addr *key)
{
	const struct ilax_prefix *row = ilax_classify(&pkt->dst);
	const struct ilax_mapping *mapping;

	if (!row && addr_is_link_scope(&pkt->dst))
		return ILAX_PASS_LINK_SCOPE;
	if (row && row->kind == ILAX_PREFIX_LOCATOR &&
	    !ilax_is_host_address(row, &pkt->dst))
		return ILAX_DROP_UNKNOWN_IDENTIFIER;
	if (row && row->kind == ILAX_PREFIX_SIR) {
		mapping = bpf_map_lookup_elem(&ilax_mappings, key);
		if (mapping && mapping->action == ILAX_ACTION_LOCAL) {
			*key = mapping->wire;
			return ILAX_CONTINUE;
		}
	}
	if (icmp6_possible(pkt))
		ilax_icmp6_inner(ctx, pkt);
	return ILAX_PASS_NOT_OURS;
}

static __always_inline int ilax_ingress(hook_ctx *ctx, struct ilax_packet *pkt,
					int *action)
{
	/* A copy: *pkt stays in registers as long as nobody has its address. */
	struct ilax_addr key = pkt->dst;
	const struct ilax_endpoint *row;
	int reason;

	row = bpf_map_lookup_elem(&ilax_endpoints, &key);
	if (!row) {
		reason = ilax_ingress_miss(ctx, pkt, &key);
		if (reason >= 0)
			return reason;
		row = bpf_map_lookup_elem(&ilax_endpoints, &key);
		if (!row || !addr_equal(&row->sir, &pkt->dst))
			return ILAX_PASS_NOT_OURS;
	}
	pkt->to_slot = row->slot;
	if (icmp6_possible(pkt)) {
		reason = ilax_icmp6_inner(ctx, pkt);
		if (reason >= 0)
			return reason;
	}
	return ilax_deliver(ctx, pkt, row, &key, action);
}

#endif /* ILAX_INGRESS_H */
