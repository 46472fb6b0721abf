/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The skb side (tcx, clsact) of the adapter that hook.h describes. */
#ifndef ILAX_HOOK_SKB_H
#define ILAX_HOOK_SKB_H

#include <linux/errno.h>
#include <linux/if_packet.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>
#include <linux/socket.h>

#include "hook_skb_common.h"
#include "types.h"
#include "ilax_maps.bpf.h"

/* "Next program on this hook", so that ours may stand anywhere in a chain. */
#define HOOK_PASS TC_ACT_UNSPEC
#define HOOK_DROP TC_ACT_SHOT
#define HOOK_DELIVERS_LATER 0

/* AF_INET6 is not part of the uapi headers. */
#define HOOK_AF_INET6 10

/* Only when needed: the helper costs more than all the parsing. */
static __always_inline void hook_pull(hook_ctx *ctx, __u32 len)
{
	if (hook_data(ctx) + len > hook_data_end(ctx))
		bpf_skb_pull_data(ctx, len < ctx->len ? len : ctx->len);
}

static __always_inline bool hook_for_us(hook_ctx *ctx)
{
	return ctx->pkt_type != PACKET_OTHERHOST;
}

/*
 * Behind a generic XDP program that made the kernel copy the packet, Linux 6.18
 * forgets the length of the Ethernet header, and the program's data begins at
 * the IPv6 header. The kernel still knows where that one is: then there are as
 * many bytes from it on as there are at all.
 */
static __always_inline bool hook_starts_at_l3(hook_ctx *ctx)
{
	__u32 last = hook_data_end(ctx) - hook_data(ctx) - 1;
	__u8 byte;

	return ctx->protocol == bpf_htons(ETH_P_IPV6) &&
	       !bpf_skb_load_bytes_relative(ctx, last, &byte, sizeof(byte),
					    BPF_HDR_START_NET);
}

static __always_inline bool hook_tagged(hook_ctx *ctx)
{
	return ctx->vlan_present;
}

static __always_inline long hook_store(hook_ctx *ctx, __u32 off, void *buf,
				       __u32 len)
{
	return bpf_skb_store_bytes(ctx, off, buf, len, BPF_F_RECOMPUTE_CSUM);
}

/*
 * Some devices hand up a sum over the whole packet (CHECKSUM_COMPLETE). A
 * neutral address rewrite leaves it right, a changed hop limit does not. The
 * helper does nothing for packets without such a sum.
 */
static __always_inline void hook_sum_changed(hook_ctx *ctx, __u16 old,
					     __u16 new)
{
	bpf_csum_update(ctx, (__u32)(__u16)~old + new);
}

/*
 * Bytes of one segment's packet; where it has more headers than these, too few.
 * Global, for the verifier to look at it once.
 */
__noinline int ilax_segment_bytes(struct __sk_buff *ctx, __u32 l4_off,
				  __u32 nexthdr)
{
	__u8 doff; /* upper half: the TCP header's length in words */
	__u32 transport = 0;

	if (nexthdr == IPPROTO_UDP)
		transport = 8;
	else if (nexthdr == IPPROTO_TCP &&
		 !hook_load(ctx, l4_off + 12, &doff, sizeof(doff)))
		transport = (doff >> 4) * 4;
	return IPV6_HEADER_BYTES + transport + ctx->gso_size;
}

/*
 * A super-packet is cut into segments on the way, so its own length says nothing.
 * The kernel knows all headers of its segments, those of tunnels, too, but compares
 * with the device's MTU, which may be above `mtu`.
 *
 * Beyond 64 KiB (BIG TCP) there is a hop-by-hop header that goes away when the
 * packet is cut; the kernel counts it in, and full segments look 8 bytes too long.
 *
 * The pieces of SCTP have lengths of their own, which only the kernel can read.
 */
static __always_inline bool hook_fits(hook_ctx *ctx,
				      const struct ilax_packet *pkt, __u32 mtu,
				      __u32 ifindex)
{
	__u32 l4_off = pkt->l3_off + IPV6_HEADER_BYTES;
	__u32 len = pkt->len - pkt->l3_off;
	__u32 nexthdr = pkt->nexthdr;
	__u32 unused = 0;
	bool big_tcp = false;

	if (len <= mtu)
		return true;
	if (!ctx->gso_size)
		return false;
	if (ctx->gso_size != SKB_GSO_BY_FRAGS) {
		big_tcp = len > IPV6_HEADER_BYTES + 0xffff &&
			  nexthdr == IPPROTO_HOPOPTS;
		if (big_tcp) {
			l4_off += 8;
			nexthdr = IPPROTO_TCP;
		}
		if ((__u32)ilax_segment_bytes(ctx, l4_off, nexthdr) > mtu)
			return false;
	}
	return big_tcp ||
	       !bpf_check_mtu(ctx, ifindex, &unused, 0, BPF_MTU_CHK_SEGS);
}

static __always_inline void hook_wire(hook_ctx *ctx,
				      const struct ilax_packet *pkt,
				      struct ilax_charge *charge)
{
	skb_wire(ctx, pkt, 0, pkt->l3_off + IPV6_HEADER_BYTES, charge);
}

/* The first tag may be outside of the frame: the helper pops that one first. */
static __always_inline long hook_pop_tags(hook_ctx *ctx,
					  struct ilax_packet *pkt)
{
	long err = 0;

	if (ctx->vlan_present)
		err = bpf_skb_vlan_pop(ctx);
	if (!err && pkt->tags >= 1)
		err = bpf_skb_vlan_pop(ctx);
	if (!err && pkt->tags == VLAN_MAX_TAGS)
		err = bpf_skb_vlan_pop(ctx);
	if (err)
		return err;
	/* Where the Ethernet header is lost, the tag beside the frame is the only one. */
	pkt->len -= pkt->tags * VLAN_TAG_BYTES;
	pkt->l3_off -= pkt->tags * VLAN_TAG_BYTES;
	pkt->tags = 0;
	return 0;
}

/* This hook delivers by itself. */
static __always_inline long hook_hand_over(hook_ctx *ctx, __u32 ifindex)
{
	return -EOPNOTSUPP;
}

/*
 * Straight into the container's namespace: no queue, no second pass through
 * the host's stack, and the frame's addresses do not matter any more.
 */
static __always_inline int hook_deliver(hook_ctx *ctx,
					const struct ilax_endpoint *row,
					int *reason)
{
	*reason = ILAX_SEND_PEER;
	return bpf_redirect_peer(row->ifindex, 0);
}

static __always_inline int hook_forward(hook_ctx *ctx,
					const struct ilax_config *config)
{
	struct bpf_redir_neigh hop = { .nh_family = HOOK_AF_INET6 };

	if (addr_is_unspecified(&config->gateway))
		return bpf_redirect_neigh(config->uplink_ifindex, NULL, 0, 0);
	__builtin_memcpy(hop.ipv6_nh, &config->gateway, sizeof(hop.ipv6_nh));
	return bpf_redirect_neigh(config->uplink_ifindex, &hop, sizeof(hop), 0);
}

#endif /* ILAX_HOOK_SKB_H */
