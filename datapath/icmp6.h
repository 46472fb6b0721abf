/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMPv6 errors quote a packet as it was on the wire, that is, with a wire
 * destination; the task that sent it only knows the SIR address. The slow path
 * puts the SIR address back. The rewrite is neutral, so the error's own
 * checksum stays right.
 */
#ifndef ILAX_ICMP6_H
#define ILAX_ICMP6_H

#include <linux/in.h>
#include <linux/in6.h>

#include "hook.h"
#include "prefix.h"
#include "types.h"

#define ICMP6_HEADER_BYTES 8
#define ICMP6_ECHO_REQUEST 128 /* errors are all types below this one */
#define INNER_DST_OFF 24

/* More headers than any sane sender writes; the rest passes untranslated. */
#define EXT_HEADERS_MAX 6

struct ext_header {
	__u8 nexthdr;
	__u8 len;    /* units of 8 bytes after the first 8 */
	__be16 frag; /* offset and flags, of a fragment header */
};

/*
 * `off` is where the header `nexthdr` starts. Returns the offset of the ICMPv6
 * header in the frame, or 0 when there is none or when
 * this is not the fragment that holds it.
 */
static __always_inline __u32 icmp6_find(hook_ctx *ctx, __u32 off, __u8 nexthdr)
{
	struct ext_header ext;

	for (int i = 0; i <= EXT_HEADERS_MAX; i++) {
		if (nexthdr == IPPROTO_ICMPV6)
			return off;
		if (nexthdr != IPPROTO_HOPOPTS && nexthdr != IPPROTO_ROUTING &&
		    nexthdr != IPPROTO_DSTOPTS && nexthdr != IPPROTO_FRAGMENT)
			return 0;
		if (hook_load(ctx, off, &ext, sizeof(ext)))
			return 0;
		if (nexthdr == IPPROTO_FRAGMENT) {
			if (ext.frag & bpf_htons(0xfff8))
				return 0;
			off += 8;
		} else {
			off += (ext.len + 1) * 8;
		}
		nexthdr = ext.nexthdr;
	}
	return 0;
}

/* Most packets end here: one or two compares. */
static __always_inline bool icmp6_possible(const struct ilax_packet *pkt)
{
	return pkt->nexthdr != IPPROTO_TCP && pkt->nexthdr != IPPROTO_UDP;
}

/*
 * Not inlined: it keeps its own stack, and the fast path stays dense. It takes
 * two numbers and not the packet, whose fields would have to live in memory if
 * their address left the caller.
 *
 * A quoted wire address counts only if the mapping in force leads to it. An
 * error about another one is old, or forged, and must not reach a task's path-MTU
 * cache. A quoted SIR address is what hosts with ilax quote, and needs nothing.
 */
static __noinline int icmp6_translate(hook_ctx *ctx, __u32 l4_off, __u8 nexthdr)
{
	const struct ilax_prefix *row;
	const struct ilax_mapping *mapping;
	struct ilax_addr inner, sir;
	__u32 off, inner_off;
	__u8 type;

	off = icmp6_find(ctx, l4_off, nexthdr);
	if (!off || hook_load(ctx, off, &type, sizeof(type)) ||
	    type >= ICMP6_ECHO_REQUEST)
		return ILAX_CONTINUE;
	inner_off = off + ICMP6_HEADER_BYTES + INNER_DST_OFF;
	if (hook_load(ctx, inner_off, &inner, sizeof(inner)))
		return ILAX_CONTINUE;

	row = ilax_classify(&inner);
	if (!row || row->kind == ILAX_PREFIX_SIR ||
	    ilax_is_host_address(row, &inner) ||
	    !ilax_undo_neutral(row, &inner, &sir))
		return ILAX_CONTINUE;
	mapping = bpf_map_lookup_elem(&ilax_mappings, &sir);
	if (!mapping || !addr_equal(&mapping->wire, &inner))
		return ILAX_DROP_ICMP_INNER;
	if (hook_store(ctx, inner_off, &sir, sizeof(sir)))
		return ILAX_DROP_REWRITE;
	return ILAX_CONTINUE;
}

/* ILAX_CONTINUE, with the quoted packet as its sender knows it; or a drop. */
static __always_inline int ilax_icmp6_inner(hook_ctx *ctx,
					    const struct ilax_packet *pkt)
{
	return icmp6_translate(ctx, pkt->l3_off + IPV6_HEADER_BYTES,
			       pkt->nexthdr);
}

#endif /* ILAX_ICMP6_H */
