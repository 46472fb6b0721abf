/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cgroup_skb side of the adapter that hook.h describes: the packet begins at
 * its IP header, its bytes can be read only, and it is about to enter a socket.
 * So there are no verbs that rewrite or deliver.
 */
#ifndef ILAX_HOOK_CGROUP_H
#define ILAX_HOOK_CGROUP_H

#include "hook_skb_common.h"
#include "types.h"

#define HOOK_PASS 1
#define HOOK_DROP 0
#define HOOK_DELIVERS_LATER 0

/* An IPv4 header tells its length itself, in words. */
static __always_inline __u32 ip_bytes(hook_ctx *ctx)
{
	__u8 first;

	if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		return IPV6_HEADER_BYTES;
	return hook_load(ctx, 0, &first, sizeof(first)) ? 0 : (first & 15) * 4;
}

static __always_inline void hook_wire(hook_ctx *ctx,
				      const struct ilax_packet *pkt,
				      struct ilax_charge *charge)
{
	skb_wire(ctx, pkt, ETH_HLEN, ctx->gso_size ? ip_bytes(ctx) : 0, charge);
}

/* The one change that the kernel allows here, and does itself. */
static __always_inline void hook_set_ce(hook_ctx *ctx)
{
	bpf_skb_ecn_set_ce(ctx);
}

#endif /* ILAX_HOOK_CGROUP_H */
