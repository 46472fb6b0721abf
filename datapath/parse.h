/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a frame to struct ilax_packet: Ethernet, up to two VLAN tags and the
 * fixed IPv6 header. Demux needs nothing behind it, so fragments and extension
 * headers are like any other packet here.
 */
#ifndef ILAX_PARSE_H
#define ILAX_PARSE_H

#include "hook.h"
#include "parse_ipv6.h"
#include "types.h"

static __always_inline bool ethertype_is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) ||
	       proto == bpf_htons(ETH_P_8021AD);
}

/*
 * Returns ILAX_CONTINUE with *pkt filled, or the reason to leave the packet
 * alone. Lengths in the IPv6 header are not trusted and not needed: super-
 * packets beyond 64 KiB have none. Only where it says that there is more than
 * the first piece of a frame XDP is asked for the whole length, which costs a
 * call. What a sender puts behind its packet in further pieces is not counted
 * then, and the stack cuts it off; limits charge the whole frame.
 */
static __always_inline int ilax_parse(hook_ctx *ctx, struct ilax_packet *pkt)
{
	struct {
		__be16 tci;
		__be16 proto;
	} *tag;
	struct ethhdr *eth;
	void *cursor, *end;
	__be16 proto;
	bool ip6;

	pkt->len = hook_len(ctx);
	pkt->from_slot = 0;
	pkt->to_slot = 0;
	pkt->tags = 0;
	pkt->noted = false;
	hook_pull(ctx, ETH_HLEN + IPV6_HEADER_BYTES);
	eth = hook_data(ctx);
	end = hook_data_end(ctx);
	if ((void *)(eth + 1) > end)
		return ILAX_PASS_NOT_IPV6;
	/* <linux/if_ether.h> packs the struct, which makes two loads of this */
	proto = *(const __be16 *)((void *)eth + 2 * ETH_ALEN);
	cursor = eth + 1;

	/*
	 * Without an Ethernet header the type is a part of the source address, where
	 * the sender may write that of IPv6. Then the first byte tells, and only if
	 * it is one of IPv6 as well the kernel is asked. (Where it is none, the stack
	 * behind us drops the packet.)
	 */
	ip6 = proto == bpf_htons(ETH_P_IPV6);
	if ((!ip6 || eth->h_dest[0] >> 4 == 6) && hook_starts_at_l3(ctx)) {
		cursor = eth;
		pkt->l3_off = 0;
	} else if (ip6) {
		pkt->l3_off = ETH_HLEN;
	} else if (ethertype_is_vlan(proto)) {
		hook_pull(ctx, ETH_HLEN + VLAN_MAX_TAGS * VLAN_TAG_BYTES +
				       IPV6_HEADER_BYTES);
		end = hook_data_end(ctx);
		cursor = hook_data(ctx) + ETH_HLEN;
#pragma unroll
		for (int i = 0; i < VLAN_MAX_TAGS; i++) {
			tag = cursor;
			if (!ethertype_is_vlan(proto) ||
			    (void *)(tag + 1) > end)
				break;
			proto = tag->proto;
			cursor = tag + 1;
			pkt->tags++;
		}
		pkt->l3_off = ETH_HLEN + pkt->tags * VLAN_TAG_BYTES;
		if (proto != bpf_htons(ETH_P_IPV6)) {
			pkt->len = hook_full_len(ctx);
			return ethertype_is_vlan(proto) ? ILAX_PASS_MANY_TAGS :
							  ILAX_PASS_NOT_IPV6;
		}
	} else {
		pkt->len = hook_full_len(ctx);
		return ILAX_PASS_NOT_IPV6;
	}
	if (!hook_for_us(ctx))
		return ILAX_PASS_OTHER_HOST;

	return parse_ipv6(ctx, pkt, cursor, end);
}

#endif /* ILAX_PARSE_H */
