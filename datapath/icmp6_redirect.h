/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * SIR prefixes are routed by a next hop that does not exist, on the uplink. Where
 * the stack forwards a packet that came in there, it tells the sender of the way
 * that looks shorter: to that next hop. The kernel has no setting against it, and
 * who believes it sends everything else to nobody.
 */
#ifndef ILAX_ICMP6_REDIRECT_H
#define ILAX_ICMP6_REDIRECT_H

#include <linux/in.h>

#include "hook.h"
#include "types.h"

#define ICMP6_REDIRECT 137
#define REDIRECT_TARGET_OFF 8

/* fe80::11a; the loader calls it SIR_GATEWAY. */
#define SIR_GATEWAY_PREFIX bpf_cpu_to_be64(0xfe80000000000000ULL)
#define SIR_GATEWAY_IDENTIFIER bpf_cpu_to_be64(0x11aULL)

/* Not inlined: few packets come here, and the others stay dense. */
static __noinline bool redirect_to_nobody(hook_ctx *ctx, __u32 l4_off)
{
	struct ilax_addr target;
	__u8 type;

	if (hook_load(ctx, l4_off, &type, sizeof(type)) ||
	    type != ICMP6_REDIRECT)
		return false;
	if (hook_load(ctx, l4_off + REDIRECT_TARGET_OFF, &target,
		      sizeof(target)))
		return false;
	return target.prefix == SIR_GATEWAY_PREFIX &&
	       target.identifier == SIR_GATEWAY_IDENTIFIER;
}

/* Redirects come from link-local addresses, and the stack's have no options. */
static __always_inline bool ilax_misleads(hook_ctx *ctx,
					  const struct ilax_packet *pkt)
{
	return pkt->nexthdr == IPPROTO_ICMPV6 &&
	       addr_is_link_local(&pkt->src) &&
	       redirect_to_nobody(ctx, pkt->l3_off + IPV6_HEADER_BYTES);
}

#endif /* ILAX_ICMP6_REDIRECT_H */
