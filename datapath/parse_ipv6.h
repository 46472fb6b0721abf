/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fixed IPv6 header; for hooks whose packets begin there, all of the parsing. */
#ifndef ILAX_PARSE_IPV6_H
#define ILAX_PARSE_IPV6_H

#include <linux/ipv6.h>

#include "hook.h"
#include "types.h"

/* `cursor` is at pkt->l3_off. */
static __always_inline int parse_ipv6(hook_ctx *ctx, struct ilax_packet *pkt,
				      void *cursor, void *end)
{
	struct ipv6hdr *ip6 = cursor;

	if ((void *)(ip6 + 1) > end) {
		pkt->len = hook_full_len(ctx);
		if (pkt->len < pkt->l3_off + IPV6_HEADER_BYTES)
			return ILAX_PASS_MALFORMED;
		return ILAX_PASS_NOT_LINEAR;
	}
	if (ip6->version != 6) {
		pkt->len = hook_full_len(ctx);
		return ILAX_PASS_MALFORMED;
	}
	pkt->nexthdr = ip6->nexthdr;
	pkt->hop_limit = ip6->hop_limit;
	addr_load(&pkt->src, &ip6->saddr);
	addr_load(&pkt->dst, &ip6->daddr);
	/* Plain numbers: Linux 6.1 refuses a swapped one in pointer arithmetic. */
	if (pkt->l3_off + IPV6_HEADER_BYTES + bpf_ntohs(ip6->payload_len) >
	    pkt->len)
		pkt->len = hook_full_len(ctx);
	return ILAX_CONTINUE;
}

#endif /* ILAX_PARSE_IPV6_H */
