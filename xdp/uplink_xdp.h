/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * XDP at the uplink: demux, rewrite, and either redirect or hand over to
 * tc/uplink_ingress. `ingress` and `ingress_linear` are this one program; they
 * differ in what they tell the kernel of it.
 */
#ifndef ILAX_UPLINK_XDP_H
#define ILAX_UPLINK_XDP_H

#include "hook_xdp.h"
#include "ingress.h"
#include "parse.h"
#include "verdict.h"

static __always_inline int uplink_xdp(hook_ctx *ctx)
{
	struct ilax_packet pkt = {};
	int action = HOOK_DROP;
	int reason;

	reason = ilax_parse(ctx, &pkt);
	if (reason < 0)
		reason = ilax_ingress(ctx, &pkt, &action);
	return ilax_exit(ctx, &pkt, ILAX_HOOK_XDP_INGRESS, reason, action);
}

#endif
