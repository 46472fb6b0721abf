// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* tc egress at the uplink: the host's own traffic to SIR addresses. */
#include "hook_skb.h"
#include "egress.h"
#include "parse.h"
#include "verdict.h"

static __always_inline int uplink_egress(hook_ctx *ctx)
{
	struct ilax_packet pkt = {};
	int action = HOOK_DROP;
	int reason;

	reason = ilax_parse(ctx, &pkt);
	if (reason < 0)
		reason = ilax_egress(ctx, &pkt, &action);
	return ilax_exit(ctx, &pkt, ILAX_HOOK_UPLINK_EGRESS, reason, action);
}

SEC("tc")
int ilax_uplink_out(struct __sk_buff *ctx)
{
	return uplink_egress(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
