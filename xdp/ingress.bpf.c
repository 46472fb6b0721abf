// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * XDP at the uplink: demux, rewrite, and either redirect or hand over to
 * tc/uplink_ingress.
 */
#include "hook_xdp.h"
#include "ingress.h"
#include "parse.h"
#include "verdict.h"

static __always_inline int uplink_ingress(hook_ctx *ctx)
{
	struct ilax_packet pkt = {};
	int action = HOOK_DROP;
	int reason;

	reason = ilax_parse(ctx, &pkt);
	if (reason < 0)
		reason = ilax_ingress(ctx, &pkt, &action);
	return ilax_exit(ctx, &pkt, ILAX_HOOK_XDP_INGRESS, reason, action);
}

/* "frags": without it the kernel caps the MTU of the device at one page. */
#ifndef ILAX_XDP_SECTION
#define ILAX_XDP_SECTION "xdp.frags"
#endif

SEC(ILAX_XDP_SECTION)
int ilax_uplink_xdp(struct xdp_md *ctx)
{
	return uplink_ingress(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
