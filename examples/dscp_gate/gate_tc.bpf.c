// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The same stage alone, for tcx: it decides about its own classes and leaves
 * everything else to the next program on the hook, which is that of ilax.
 */
#include "hook_skb.h"
#include "dscp_gate.h"
#include "parse.h"
#include "verdict.h"

static __always_inline int gate(hook_ctx *ctx)
{
	struct ilax_packet pkt = {};
	int reason;

	reason = ilax_parse(ctx, &pkt);
	if (reason < 0)
		reason = dscp_gate(ctx, &pkt);
	/* What goes on is counted by the program that decides about it. */
	if (reason < ILAX_DROP_FIRST)
		return HOOK_PASS;
	return ilax_exit(ctx, &pkt, ILAX_HOOK_USER, reason, HOOK_DROP);
}

SEC("tc")
int dscp_gate_tc(struct __sk_buff *ctx)
{
	return gate(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
