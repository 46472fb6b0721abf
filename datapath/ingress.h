/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the underlay: demux by the exact wire address. */
#ifndef ILAX_INGRESS_H
#define ILAX_INGRESS_H

#include "deliver.h"
#include "hook.h"
#include "icmp6.h"
#include "prefix.h"
#include "types.h"

/* A destination without an endpoint. */
static __always_inline int ilax_ingress_miss(const struct ilax_packet *pkt)
{
	const struct ilax_prefix *row = ilax_classify(&pkt->dst);

	if (row && row->kind == ILAX_PREFIX_LOCATOR &&
	    !ilax_is_host_address(row, &pkt->dst))
		return ILAX_DROP_UNKNOWN_IDENTIFIER;
	if (addr_is_multicast(&pkt->dst) || addr_is_link_local(&pkt->dst))
		return ILAX_PASS_LINK_SCOPE;
	return ILAX_PASS_NOT_OURS;
}

static __always_inline int ilax_ingress(hook_ctx *ctx, struct ilax_packet *pkt,
					int *action)
{
	const struct ilax_endpoint *row;
	struct ilax_endpoint copy;
	int reason;

	row = bpf_map_lookup_elem(&ilax_endpoints, &pkt->dst);
	if (!row)
		return ilax_ingress_miss(pkt);
	if (!ilax_endpoint_copy(&copy, row, &pkt->dst))
		return ILAX_DROP_ROW_CHANGED;
	pkt->slot = copy.slot;
	if (icmp6_possible(pkt)) {
		reason = ilax_icmp6_inner(ctx, pkt->l3_off + IPV6_HEADER_BYTES,
					  pkt->nexthdr);
		if (reason >= 0)
			return reason;
	}
	return ilax_deliver(ctx, pkt, &copy, action);
}

#endif /* ILAX_INGRESS_H */
