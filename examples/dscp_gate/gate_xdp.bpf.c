// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The XDP program of ilax with our stage between parsing and demux. */
#include "hook_xdp.h"
#include "dscp_gate.h"
#include "ingress.h"
#include "parse.h"
#include "verdict.h"

static __always_inline int gated_ingress(hook_ctx *ctx)
{
	struct ilax_packet pkt = {};
	int action = HOOK_DROP;
	int reason;

	reason = ilax_parse(ctx, &pkt);
	if (reason < 0)
		reason = dscp_gate(ctx, &pkt);
	if (reason < 0)
		reason = ilax_ingress(ctx, &pkt, &action);
	return ilax_exit(ctx, &pkt, ILAX_HOOK_USER, reason, action);
}

SEC("xdp.frags")
int dscp_gate_xdp(struct xdp_md *ctx)
{
	return gated_ingress(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
