/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP side of the adapter that hook.h describes. */
#ifndef ILAX_HOOK_XDP_H
#define ILAX_HOOK_XDP_H

#include <linux/errno.h>

#include "charge.h"
#include "types.h"
#include "ilax_maps.bpf.h"

typedef struct xdp_md hook_ctx;

#define HOOK_PASS XDP_PASS
#define HOOK_DROP XDP_DROP
#define HOOK_DELIVERS_LATER 1

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
	return ctx->data_end - ctx->data;
}

/* A helper call: parse() asks only where the header promises more bytes. */
static __always_inline __u32 hook_full_len(hook_ctx *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

/* XDP cannot move bytes into the linear part; who asks checks the bounds. */
static __always_inline void hook_pull(hook_ctx *ctx, __u32 len)
{
}

static __always_inline __u32 hook_ifindex(hook_ctx *ctx)
{
	return ctx->ingress_ifindex;
}

/* The driver has not looked at the address yet; exact keys decide. */
static __always_inline bool hook_for_us(hook_ctx *ctx)
{
	return true;
}

static __always_inline bool hook_starts_at_l3(hook_ctx *ctx)
{
	return false;
}

/* A tag that the device stripped is invisible here. Redirects lose it; tc removes it. */
static __always_inline bool hook_tagged(hook_ctx *ctx)
{
	return false;
}

static __always_inline long hook_load(hook_ctx *ctx, __u32 off, void *buf,
				      __u32 len)
{
	return bpf_xdp_load_bytes(ctx, off, buf, len);
}

static __always_inline long hook_store(hook_ctx *ctx, __u32 off, void *buf,
				       __u32 len)
{
	return bpf_xdp_store_bytes(ctx, off, buf, len);
}

/*
 * Out of reach: it would stand in the skb. Where a sum from before XDP does get there,
 * the stack finds it wrong, adds up the packet itself, and logs that.
 */
static __always_inline void hook_sum_changed(hook_ctx *ctx, __u16 old,
					     __u16 new)
{
}

static __always_inline bool hook_fits(hook_ctx *ctx,
				      const struct ilax_packet *pkt, __u32 mtu,
				      __u32 ifindex)
{
	return pkt->len - pkt->l3_off <= mtu;
}

/*
 * Move the MAC addresses over the tags and cut the front off. Offsets are
 * constants in each branch because verifiers before 6.3 lose the bounds of a
 * variable one when the packet is re-read after bpf_xdp_adjust_head().
 */
static __always_inline long pop_tag_bytes(hook_ctx *ctx, __u32 bytes)
{
	void *data = hook_data(ctx);
	void *end = hook_data_end(ctx);
	struct ethhdr eth;

	if (data + ETH_HLEN + bytes > end)
		return -EINVAL;
	__builtin_memcpy(&eth, data, 2 * ETH_ALEN);
	eth.h_proto = bpf_htons(ETH_P_IPV6);
	__builtin_memcpy(data + bytes, &eth, ETH_HLEN);
	return bpf_xdp_adjust_head(ctx, bytes);
}

static __always_inline long hook_pop_tags(hook_ctx *ctx,
					  struct ilax_packet *pkt)
{
	long err = 0;

	if (pkt->tags == 1)
		err = pop_tag_bytes(ctx, VLAN_TAG_BYTES);
	else if (pkt->tags == 2)
		err = pop_tag_bytes(ctx, 2 * VLAN_TAG_BYTES);
	if (err)
		return err;
	pkt->len -= pkt->tags * VLAN_TAG_BYTES;
	pkt->l3_off = ETH_HLEN;
	pkt->tags = 0;
	return 0;
}

/* As the link saw it, whatever a length field claims. */
static __always_inline void hook_wire(hook_ctx *ctx,
				      const struct ilax_packet *pkt,
				      struct ilax_charge *charge)
{
	charge_frame(charge, hook_full_len(ctx));
}

static __always_inline long hook_hand_over(hook_ctx *ctx, __u32 ifindex)
{
	struct ilax_handover *meta;
	long err;

	err = bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta));
	if (err)
		return err;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > hook_data(ctx))
		return -EINVAL;
	meta->magic = ILAX_ABI_MAGIC;
	meta->ifindex = ifindex;
	return 0;
}

/*
 * There is no skb yet: tc sets the two. It takes a larger handover, which begins
 * like the one that is there; for redirects there is none.
 */
static __always_inline long hook_tag(hook_ctx *ctx, __u32 mark, __u32 prio)
{
	struct ilax_handover_tagged *meta = (void *)(long)ctx->data_meta;
	__u32 ifindex;
	long err;

	if ((void *)&meta->mark > hook_data(ctx) ||
	    meta->magic != ILAX_ABI_MAGIC)
		return -EOPNOTSUPP;
	ifindex = meta->ifindex;
	err = bpf_xdp_adjust_meta(ctx, (int)sizeof(struct ilax_handover) -
					       (int)sizeof(*meta));
	if (err)
		return err;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > hook_data(ctx))
		return -EINVAL;
	meta->magic = ILAX_TAGGED_MAGIC;
	meta->ifindex = ifindex;
	meta->mark = mark;
	meta->prio = prio;
	return 0;
}

/*
 * The frame enters the container's device as if it came off a wire, so it has
 * to carry that device's address. A device that is gone has left the map.
 */
static __always_inline int hook_deliver(hook_ctx *ctx,
					const struct ilax_endpoint *row,
					int *reason)
{
	struct ethhdr *eth = hook_data(ctx);
	const __u32 *words;
	int action;

	if ((void *)(eth + 1) > hook_data_end(ctx)) {
		*reason = ILAX_DROP_REWRITE;
		return HOOK_DROP;
	}
	/* mac and host_mac stand in the row as they do in the frame */
	words = (const __u32 *)row->mac;
	for (int i = 0; i < 2 * ETH_ALEN / 4; i++)
		((__u32 *)eth)[i] = words[i];
	action = bpf_redirect_map(&ilax_devices, row->ifindex, XDP_DROP);
	*reason = action == XDP_REDIRECT ? ILAX_SEND_XDP : ILAX_DROP_NO_DEVICE;
	return action;
}

/* Forwarding starts at a container's device, which has no XDP program. */
static __always_inline int hook_forward(hook_ctx *ctx,
					const struct ilax_config *config)
{
	return -EOPNOTSUPP;
}

#endif /* ILAX_HOOK_XDP_H */
