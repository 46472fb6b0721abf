/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What all hooks that see an skb have in common. */
#ifndef ILAX_HOOK_SKB_COMMON_H
#define ILAX_HOOK_SKB_COMMON_H

#include <linux/in.h>

#include "charge.h"
#include "types.h"

/* In gso_size: the pieces are of any length. No part of the uapi headers. */
#define SKB_GSO_BY_FRAGS 0xffff
#define SCTP_HEADER_BYTES 12

typedef struct __sk_buff hook_ctx;

static __always_inline void *hook_data(hook_ctx *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *hook_data_end(hook_ctx *ctx)
{
	return (void *)(long)ctx->data_end;
}

static __always_inline __u32 hook_len(hook_ctx *ctx)
{
	return ctx->len;
}

static __always_inline __u32 hook_full_len(hook_ctx *ctx)
{
	return ctx->len;
}

static __always_inline __u32 hook_ifindex(hook_ctx *ctx)
{
	return ctx->ifindex;
}

static __always_inline long hook_load(hook_ctx *ctx, __u32 off, void *buf,
				      __u32 len)
{
	return bpf_skb_load_bytes(ctx, off, buf, len);
}

/* SCTP: `count` pieces, each with one set of headers; together they are `len` bytes. */
static __always_inline void charge_pieces(struct ilax_charge *charge, __u32 len,
					  __u32 headers, __u32 count)
{
	if (!count)
		count = 1;
	if (len < headers)
		len = headers;
	charge->packets = count;
	charge->bytes =
		len + (count - 1) * headers + count * ILAX_FRAME_OVERHEAD;
	charge->small = false;
}

/*
 * A super-packet was, or will be, that many frames, each with headers of its own.
 * Behind extension headers it is TCP all the same: nothing else is merged there.
 * `outside` are bytes of headers that the hook does not see, `l4_off` those of the
 * headers in front of TCP or UDP that it does.
 */
static __always_inline void skb_wire(hook_ctx *ctx,
				     const struct ilax_packet *pkt,
				     __u32 outside, __u32 l4_off,
				     struct ilax_charge *charge)
{
	__u32 transport;
	__u8 doff = 0; /* upper half: the TCP header's length in words */

	if (ctx->vlan_present)
		outside += VLAN_TAG_BYTES;
	if (!ctx->gso_size) {
		charge_frame(charge, outside + ctx->len);
		return;
	}
	if (ctx->gso_size == SKB_GSO_BY_FRAGS) {
		charge_pieces(charge, outside + ctx->len,
			      outside + l4_off + SCTP_HEADER_BYTES,
			      ctx->gso_segs);
		return;
	}
	if (pkt->nexthdr == IPPROTO_UDP) {
		transport = 8;
	} else {
		if (pkt->nexthdr == IPPROTO_TCP)
			hook_load(ctx, l4_off + 12, &doff, sizeof(doff));
		transport = doff ? (doff >> 4) * 4 : 32;
	}
	charge_segments(charge, outside + ctx->len,
			outside + l4_off + transport, ctx->gso_size);
}

static __always_inline long hook_tag(hook_ctx *ctx, __u32 mark, __u32 prio)
{
	ctx->mark = mark;
	ctx->priority = prio;
	return 0;
}

#endif /* ILAX_HOOK_SKB_COMMON_H */
