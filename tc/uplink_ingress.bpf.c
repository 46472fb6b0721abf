// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc ingress at the uplink: finish what XDP handed over; where XDP is absent,
 * do the whole job.
 */
#include "hook_skb.h"
#include "ingress.h"
#include "parse.h"
#include "verdict.h"

/*
 * Metadata can only be written by an XDP program or driver of this host, never
 * by the sender of a packet; the magic guards against another program's. It says
 * ilax, and not whose: the note of a host stays in front of what is delivered into
 * a container, where a second ilax would take it for its own (README, limits).
 */
static __always_inline int take_handover(hook_ctx *ctx, int *action)
{
	struct ilax_handover_tagged *meta = (void *)(long)ctx->data_meta;
	void *end = hook_data(ctx);
	__u32 ifindex;

	if ((void *)&meta->mark > end)
		return ILAX_CONTINUE;
	if (meta->magic == ILAX_TAGGED_MAGIC && (void *)(meta + 1) <= end)
		hook_tag(ctx, meta->mark, meta->prio);
	else if (meta->magic != ILAX_ABI_MAGIC)
		return ILAX_CONTINUE;
	ifindex = meta->ifindex;
	if (!ifindex)
		return ILAX_PASS_HANDOVER;
	/* XDP took the tags out of the frame, and could not see this one. */
	if (hook_tagged(ctx) && bpf_skb_vlan_pop(ctx))
		return ILAX_DROP_REWRITE;
	*action = bpf_redirect_peer(ifindex, 0);
	return ILAX_SEND_HANDOVER;
}

static __always_inline int uplink_ingress(hook_ctx *ctx)
{
	struct ilax_packet pkt = { .len = hook_len(ctx), .stores = true };
	int action = HOOK_DROP;
	int reason;

	reason = take_handover(ctx, &action);
	if (reason < 0)
		reason = ilax_parse(ctx, &pkt);
	if (reason < 0)
		reason = ilax_ingress(ctx, &pkt, &action);
	/*
	 * Behind us the stack peels any number of tags of VLAN 0 and routes what
	 * it finds, past the limit of a task. A frame that XDP has left for this
	 * comes here with one tag less inside.
	 */
	else if (reason == ILAX_PASS_MANY_TAGS && hook_for_us(ctx))
		reason = ILAX_DROP_MALFORMED;
	return ilax_exit(ctx, &pkt, ILAX_HOOK_UPLINK_INGRESS, reason, action);
}

SEC("tc")
int ilax_uplink_in(struct __sk_buff *ctx)
{
	return uplink_ingress(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
