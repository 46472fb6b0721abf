/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A packet for a local task: the last steps from its endpoint row. */
#ifndef ILAX_DELIVER_H
#define ILAX_DELIVER_H

#include "hook.h"
#include "rewrite.h"
#include "types.h"

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
	struct ilax_addr sir = row->sir;
	int reason, err;

	reason = ILAX_CONTINUE;
	if (row->delivery == ILAX_DELIVERY_HOST)
		reason = ILAX_PASS_HOST;
	else if (pkt->hop_limit <= 1)
		reason = ILAX_PASS_HOP_LIMIT;
	else if (row->mtu && !hook_fits(ctx, pkt, row->mtu, row->ifindex))
		reason = ILAX_PASS_TOO_BIG;
	if (reason >= 0) {
		err = ilax_rewrite(ctx, pkt, &sir, false);
		return err >= 0 ? err : reason;
	}

	if ((pkt->tags || hook_tagged(ctx)) && hook_pop_tags(ctx, pkt))
		return ILAX_DROP_REWRITE;
	if (HOOK_DELIVERS_LATER && row->delivery == ILAX_DELIVERY_STACK) {
		/* Nothing is rewritten yet: tc can still do all of it. */
		if (hook_hand_over(ctx, row->ifindex))
			return ILAX_PASS_NO_METADATA;
		*action = HOOK_PASS;
		err = ilax_rewrite(ctx, pkt, &sir, true);
		return err >= 0 ? err : ILAX_SEND_META;
	}
	err = ilax_rewrite(ctx, pkt, &sir, true);
	if (err >= 0)
		return err;
	*action = hook_deliver(ctx, row, &reason);
	return reason;
}

/*
 * The kernel may give a deleted row to another key while we read it. Rows are
 * written front to back, so if the row still begins with our key after all else
 * was read, all of it was ours; a redirect that was prepared by then is void
 * with the verdict. Without this a packet could enter another task's namespace.
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
