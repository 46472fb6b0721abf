/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The only bytes that the fast path changes: destination, hop limit, ECN. */
#ifndef ILAX_REWRITE_H
#define ILAX_REWRITE_H

#include <linux/ipv6.h>

#include "hook.h"
#include "types.h"

#define IPV6_NEXTHDR_OFF 6

/* The IPv6 header that parse() has seen, but a helper may have moved. */
static __always_inline struct ipv6hdr *rewrite_at(hook_ctx *ctx,
						  const struct ilax_packet *pkt)
{
	/* At most 22; the mask tells the verifier what it has forgotten. */
	__u32 off = pkt->l3_off & 31;
	struct ipv6hdr *ip6;

	hook_pull(ctx, off + IPV6_HEADER_BYTES);
	ip6 = hook_data(ctx) + off;
	/* One pointer for check and use: clang would add `off` twice, and the
	 * verifier does not see that the two sums are the same.
	 */
	barrier_var(ip6);
	return (void *)(ip6 + 1) > hook_data_end(ctx) ? NULL : ip6;
}

/* One store from the next header to the end: a second one costs more than it saves. */
static __always_inline long rewrite_by_store(hook_ctx *ctx,
					     const struct ilax_packet *pkt,
					     const struct ilax_addr *dst,
					     bool hop)
{
	struct {
		__u8 unused[IPV6_NEXTHDR_OFF];
		__u8 nexthdr;
		__u8 hop_limit;
		struct ilax_addr src;
		struct ilax_addr dst;
	} header = {
		.nexthdr = pkt->nexthdr,
		.hop_limit = pkt->hop_limit - hop,
		.src = pkt->src,
		.dst = *dst,
	};

	return hook_store(ctx, pkt->l3_off + IPV6_NEXTHDR_OFF, &header.nexthdr,
			  IPV6_HEADER_BYTES - IPV6_NEXTHDR_OFF);
}

/*
 * The destination, and the hop limit where we act as a router. Returns
 * ILAX_CONTINUE or ILAX_DROP_REWRITE.
 */
static __always_inline int ilax_rewrite(hook_ctx *ctx,
					const struct ilax_packet *pkt,
					const struct ilax_addr *dst, bool hop)
{
	struct ipv6hdr *ip6;
	__u16 *word, old, new;

	if (pkt->stores)
		return rewrite_by_store(ctx, pkt, dst, hop) ?
			       ILAX_DROP_REWRITE :
			       ILAX_CONTINUE;
	ip6 = rewrite_at(ctx, pkt);
	if (!ip6)
		return ILAX_DROP_REWRITE;
	addr_store(&ip6->daddr, dst);
	if (hop) {
		/*
		 * Next header and hop limit make one word of the sum. They are
		 * read and written as one: a word read back over a byte just
		 * written stalls the CPU for longer than all the rest takes.
		 */
		word = (__u16 *)&ip6->nexthdr;
		old = *word;
		new = bpf_htons(bpf_ntohs(old) - 1);
		*word = new;
		hook_sum_changed(ctx, old, new);
	}
	return ILAX_CONTINUE;
}

/* Congestion experienced. IPv6 has no header checksum, and no other covers it. */
static __always_inline void ilax_set_ce(hook_ctx *ctx,
					const struct ilax_packet *pkt)
{
	struct ipv6hdr *ip6 = rewrite_at(ctx, pkt);
	__u16 *word, old, new;

	if (!ip6)
		return;
	word = (__u16 *)ip6;
	old = *word;
	new = old | bpf_htons(ECN_CE << ECN_SHIFT);
	if (pkt->stores) {
		hook_store(ctx, pkt->l3_off, &new, sizeof(new));
		return;
	}
	*word = new;
	hook_sum_changed(ctx, old, new);
}

#endif /* ILAX_REWRITE_H */
