// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Helpers of tc and cgroup_skb as Linux 6.18 does them; kernel.c has the packet. */
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#include "kernel.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TAG_BYTES 4
#define TC_REDIRECT 7
#define TC_SHOT 2

long bpf_skb_pull_data(struct __sk_buff *ctx, __u32 len)
{
	if (len > kernel_len())
		return -ENOMEM;
	return kernel_bring(len > kernel.linear ? len - kernel.linear : 0);
}

long bpf_skb_load_bytes(const void *ctx, __u32 off, void *to, __u32 len)
{
	long err = kernel_bytes(off, to, NULL, len);

	if (err)
		memset(to, 0, len);
	return err;
}

/* Unlike the one above, it sees the linear part only. */
long bpf_skb_load_bytes_relative(const void *ctx, __u32 off, void *to,
				 __u32 len, __u32 header)
{
	__u32 at = kernel.network + off;

	if (header != BPF_HDR_START_NET)
		FAIL("nobody asks for bytes behind the Ethernet header");
	if (at < off || (__u64)at + len > kernel.linear) {
		memset(to, 0, len);
		return -EFAULT;
	}
	memcpy(to, kernel.data + at, len);
	return 0;
}

static __u32 sum_of(const void *data, __u32 len)
{
	const __u8 *bytes = data;
	__u64 sum = 0;

	for (__u32 i = 0; i < len; i++)
		sum += i & 1 ? bytes[i] << 8 : bytes[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

long bpf_skb_store_bytes(struct __sk_buff *ctx, __u32 off, const void *from,
			 __u32 len, __u64 flags)
{
	__u8 before[34];

	if (flags != BPF_F_RECOMPUTE_CSUM || len > sizeof(before))
		FAIL("a store without its sum");
	if (kernel_bytes(off, before, NULL, len))
		return -EFAULT;
	if (kernel_bring(off + len > kernel.linear ? off + len - kernel.linear :
						     0))
		return -ENOMEM;
	kernel_bytes(off, NULL, from, len);
	bpf_csum_update(ctx, 0xffff - sum_of(before, len));
	bpf_csum_update(ctx, sum_of(from, len));
	return 0;
}

__s64 bpf_csum_update(struct __sk_buff *ctx, __u32 sum)
{
	__u64 total = (__u64)kernel.sum + sum;

	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	kernel.sum = total;
	return 0;
}

static bool is_tag(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) ||
	       proto == bpf_htons(ETH_P_8021AD);
}

/* Take the first tag out of the frame. */
static __u32 cut_tag(void)
{
	__u8 *old = kernel.data;
	__be16 tci;
	__u32 tag;

	memcpy(&tci, old + ETH_HLEN, sizeof(tci));
	tag = (__u32)bpf_ntohs(kernel_protocol()) << 16 | bpf_ntohs(tci);
	kernel.linear -= TAG_BYTES;
	kernel_move(kernel.linear, TAG_BYTES);
	memcpy(kernel.data - kernel.meta, old - kernel.meta, kernel.meta);
	memcpy(kernel.data, old, 2 * ETH_ALEN);
	memcpy(kernel.data + 2 * ETH_ALEN, old + 2 * ETH_ALEN + TAG_BYTES,
	       kernel.linear - 2 * ETH_ALEN);
	kernel_forget(old);
	kernel_context();
	return tag;
}

/* The next tag goes where the first one was: beside the frame. */
long bpf_skb_vlan_pop(struct __sk_buff *ctx)
{
	__u32 tag = 0;

	if (!kernel.tag && !is_tag(kernel.skb.protocol))
		return 0;
	if (kernel.linear < ETH_HLEN + 2 * TAG_BYTES)
		kernel_bring(kernel.tail_len < 2 * TAG_BYTES ? kernel.tail_len :
							       2 * TAG_BYTES);
	if (kernel.tag) {
		/* The protocol is that of what is inside already. */
		kernel.tag = 0;
	} else {
		cut_tag();
		kernel.skb.protocol = kernel_protocol();
	}
	if (is_tag(kernel.skb.protocol)) {
		if (kernel.linear < ETH_HLEN + TAG_BYTES)
			return -ENOMEM;
		tag = cut_tag();
		kernel.skb.protocol = kernel_protocol();
	}
	kernel.tag = tag;
	kernel_context();
	return 0;
}

/* The frame begins at the IP header here. Only who asks for marks gets one. */
long bpf_skb_ecn_set_ce(struct __sk_buff *ctx)
{
	bool ip6 = ctx->protocol == bpf_htons(ETH_P_IPV6);
	__u8 *at = kernel.data + 1, ecn = (ip6 ? *at >> 4 : *at) & 3;
	__u32 check;

	if (!ecn || ecn == 3)
		return ecn == 3;
	if (ip6) {
		*at |= 3 << 4;
		return 1;
	}
	*at |= 3;
	/* The header has a sum of its own. */
	check = (kernel.data[10] << 8 | kernel.data[11]) + 0xfffb + ecn + 1;
	check = (check & 0xffff) + (check >> 16);
	kernel.data[10] = check >> 8;
	kernel.data[11] = check & 0xff;
	return 1;
}

long bpf_check_mtu(void *ctx, __u32 ifindex, __u32 *mtu_len, __s32 len_diff,
		   __u64 flags)
{
	return kernel.segments_fit ? 0 : BPF_MTU_CHK_RET_SEGS_TOOBIG;
}

long bpf_redirect_peer(__u32 ifindex, __u64 flags)
{
	if (flags)
		return TC_SHOT;
	kernel.redirect = ifindex;
	kernel.neigh = false;
	return TC_REDIRECT;
}

long bpf_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *params, int plen,
			__u64 flags)
{
	if (flags || (plen && plen < (int)sizeof(*params)))
		return TC_SHOT;
	kernel.redirect = ifindex;
	kernel.neigh = true;
	return TC_REDIRECT;
}

/* A socket below cgroups 1001, 1002, ... at depth 1, 2, ... */
__u64 bpf_sk_ancestor_cgroup_id(void *sk, int level)
{
	return level >= 0 && level < 5 ? 1000 + level : 0;
}
