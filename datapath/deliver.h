/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A packet for a local task: the last steps from its endpoint row. */
#ifndef ILAX_DELIVER_H
#define ILAX_DELIVER_H

#include "charge.h"
#include "hook.h"
#include "limit.h"
#include "rewrite.h"
#include "types.h"

/* Begin to load a line. BPF has no prefetch, but nobody waits for this either. */
static __always_inline void fetch(const void *line)
{
	if (line)
		(void)*(const volatile __u64 *)line;
}

/*
 * A limit that holds no time on this CPU is one of many, and what the packet needs
 * later is far away in memory. Loaded at once it is waited for once: of 220 ns that
 * a limit costs among 2^20 this saves 160. In front of hook_hand_over() it saves
 * less, and done for all packets it costs the near ones 3 ns. Global, for the
 * verifier to look at it once and to forget what was in between.
 */
__noinline int ilax_deliver_fetch(__u32 endpoint, __u32 limit)
{
	fetch(bpf_map_lookup_elem(&ilax_backlogs, &limit));
	fetch(bpf_map_lookup_elem(&ilax_traffic, &endpoint));
	return 0;
}

/* Charge the packet to the limit of its endpoint, and mark or tag it. */
static __always_inline int deliver_police(hook_ctx *ctx,
					  struct ilax_packet *pkt, __u32 slot)
{
	struct ilax_chunk *chunk = limit_chunk(slot);
	struct ilax_charge charge = {};
	const struct ilax_limit *limit;
	const struct ipv6hdr *ip6;

	if (!chunk)
		return ILAX_CONTINUE;
	if (chunk->slot != slot)
		ilax_deliver_fetch(pkt->to_slot, slot);
	limit = bpf_map_lookup_elem(&ilax_limits, &slot);
	if (!limit)
		return ILAX_CONTINUE;
	hook_wire(ctx, pkt, &charge);
	/* Read here and not by parse(): most packets have no limit. */
	ip6 = rewrite_at(ctx, pkt);
	charge.markable = ip6 && ecn_capable(ecn_of_ipv6(ip6));
	if (!limit_police(slot, limit, chunk, &charge))
		return ILAX_DROP_LIMIT;
	pkt->noted = charge.ce || charge.tag;
	if (charge.ce)
		ilax_set_ce(ctx, pkt);
	if (charge.tag)
		hook_tag(ctx, charge.mark, charge.prio);
	return ILAX_CONTINUE;
}

/*
 * Deliver to `row`. Where the stack has to act (a local task of the host, an
 * error to send back) it gets the packet with the SIR destination, which the
 * host routes to the container's device.
 */
static __always_inline int deliver_by_row(hook_ctx *ctx,
					  struct ilax_packet *pkt,
					  const struct ilax_endpoint *row,
					  int *action)
{
	bool redirects = row->delivery == ILAX_DELIVERY_XDP;
	struct ilax_addr sir = row->sir;
	int reason, err;

	reason = ILAX_CONTINUE;
	if (row->delivery == ILAX_DELIVERY_HOST)
		reason = ILAX_PASS_HOST;
	else if (pkt->hop_limit <= 1)
		reason = ILAX_PASS_HOP_LIMIT;
	else if (row->mtu && !hook_fits(ctx, pkt, row->mtu, row->ifindex))
		reason = ILAX_PASS_TOO_BIG;

	/*
	 * Before the header is rewritten or anything charged: without room for
	 * metadata tc can still do all of it; a quote that was put right stays
	 * so. What the stack gets has a note as well, or tc would take the SIR
	 * destination for one that nobody has seen.
	 */
	if (HOOK_DELIVERS_LATER && !(redirects && reason < 0) &&
	    hook_hand_over(ctx, reason < 0 ? row->ifindex : 0))
		return ILAX_PASS_NO_METADATA;
	if (row->limit) {
		err = deliver_police(ctx, pkt, row->limit);
		if (err >= 0)
			return err;
	}
	if (reason >= 0) {
		err = ilax_rewrite(ctx, pkt, &sir, false);
		return err >= 0 ? err : reason;
	}

	if ((pkt->tags || hook_tagged(ctx)) && hook_pop_tags(ctx, pkt))
		return ILAX_DROP_REWRITE;
	err = ilax_rewrite(ctx, pkt, &sir, true);
	if (err >= 0)
		return err;
	if (HOOK_DELIVERS_LATER && !redirects) {
		*action = HOOK_PASS;
		return ILAX_SEND_META;
	}
	*action = hook_deliver(ctx, row, &reason);
	return reason;
}

/*
 * The kernel gives the room of a deleted row to another key at once, while we may
 * still read it. Writers wait for us before they use it (docs/map-contract.md). A
 * row that does not begin with our key after all else was read shows that one did
 * not; a redirect that was prepared by then is void with the verdict. Without this
 * a packet could enter another task's namespace.
 */
static __always_inline int ilax_deliver(hook_ctx *ctx, struct ilax_packet *pkt,
					const struct ilax_endpoint *row,
					const struct ilax_addr *key,
					int *action)
{
	int reason = deliver_by_row(ctx, pkt, row, action);

	barrier();
	return addr_equal(&row->wire, key) ? reason : ILAX_DROP_ROW_CHANGED;
}

#endif /* ILAX_DELIVER_H */
