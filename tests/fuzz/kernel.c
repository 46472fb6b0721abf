// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Helpers as Linux 6.18 does them. A helper that may move the packet does move it, and
 * what a program still holds of the old place is poisoned.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <sanitizer/asan_interface.h>
#include <string.h>
#include <sys/mman.h>

#include "ilax_maps.bpf.h"
#include "kernel.h"
#include "tables.h"

#include <bpf/bpf_endian.h>

#define PLACE ((__u8 *)0x20000000UL)
#define PLACE_BYTES 8192
#define TAG_BYTES 4
#define TC_REDIRECT 7
#define TC_SHOT 2

struct kernel kernel;
static int place;

void kernel_init(void)
{
	void *got = mmap(PLACE, 2 * PLACE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			 0);

	if (got != PLACE)
		FAIL("no memory below 4 GiB for packets");
	ASAN_POISON_MEMORY_REGION(PLACE, 2 * PLACE_BYTES);
}

/* A new place for `linear` bytes; the caller fills it. Returns the old one. */
static __u8 *move(__u32 linear, __u32 front)
{
	__u8 *old = kernel.data;

	place = !place;
	kernel.data = PLACE + place * PLACE_BYTES + HEADROOM + front;
	ASAN_UNPOISON_MEMORY_REGION(kernel.data - kernel.meta,
				    kernel.meta + linear);
	return old;
}

static void forget(__u8 *old)
{
	__u8 *begin = old < PLACE + PLACE_BYTES ? PLACE : PLACE + PLACE_BYTES;

	ASAN_POISON_MEMORY_REGION(begin, PLACE_BYTES);
}

/* The same bytes elsewhere, with `more` of the tail in reach. */
static long relocate(__u32 more)
{
	__u32 stored = more < kernel.tail_stored ? more : kernel.tail_stored;
	__u8 *old;

	if (kernel.linear + more > FRAME_MAX + HEADROOM / 2)
		return -ENOMEM;
	old = move(kernel.linear + more, 0);
	memcpy(kernel.data - kernel.meta, old - kernel.meta,
	       kernel.meta + kernel.linear);
	memcpy(kernel.data + kernel.linear, kernel.tail, stored);
	memset(kernel.data + kernel.linear + stored, 0, more - stored);
	memmove(kernel.tail, kernel.tail + stored, kernel.tail_stored - stored);
	kernel.tail_stored -= stored;
	kernel.tail_len -= more;
	kernel.linear += more;
	forget(old);
	kernel_context();
	return 0;
}

void kernel_receive(const __u8 *frame, __u32 len, __u32 linear, __u32 extra,
		    const __u8 *metadata, __u32 meta)
{
	ASAN_POISON_MEMORY_REGION(PLACE, 2 * PLACE_BYTES);
	kernel.meta = meta;
	move(linear, 0);
	memcpy(kernel.data - meta, metadata, meta);
	memcpy(kernel.data, frame, linear);
	kernel.linear = linear;
	kernel.tail_stored = len - linear;
	kernel.tail_len = len - linear + extra;
	memcpy(kernel.tail, frame + linear, len - linear);
	kernel_context();
}

__u32 kernel_len(void)
{
	return kernel.linear + kernel.tail_len;
}

__u32 kernel_copy(__u8 *frame)
{
	memcpy(frame, kernel.data, kernel.linear);
	memcpy(frame + kernel.linear, kernel.tail, kernel.tail_stored);
	return kernel.linear + kernel.tail_stored;
}

static __be16 frame_protocol(void)
{
	__be16 proto;

	memcpy(&proto, kernel.data + 2 * ETH_ALEN, sizeof(proto));
	return proto;
}

void kernel_context(void)
{
	__u32 data = (__u32)(unsigned long)kernel.data;

	kernel.xdp.data = data;
	kernel.xdp.data_meta = data - kernel.meta;
	kernel.xdp.data_end = data + kernel.linear;
	kernel.skb.data = data;
	kernel.skb.data_meta = data - kernel.meta;
	kernel.skb.data_end = data + kernel.linear;
	kernel.skb.len = kernel_len();
	kernel.skb.vlan_present = kernel.tag != 0;
	kernel.skb.vlan_tci = kernel.tag & 0xffff;
	kernel.skb.vlan_proto = bpf_htons(kernel.tag >> 16);
}

/* Copy out of the frame (to), or into it (from). */
static long copy(__u32 off, void *to, const void *from, __u32 len)
{
	if (off > 0x7fffffff || (__u64)off + len > kernel_len())
		return -EFAULT;
	for (__u32 i = 0; i < len; i++, off++) {
		__u8 *byte = NULL;

		if (off < kernel.linear)
			byte = kernel.data + off;
		else if (off - kernel.linear < kernel.tail_stored)
			byte = kernel.tail + (off - kernel.linear);
		if (to)
			((__u8 *)to)[i] = byte ? *byte : 0;
		else if (byte)
			*byte = ((const __u8 *)from)[i];
	}
	return 0;
}

/* --- time, and events --- */

__u64 bpf_ktime_get_ns(void)
{
	return kernel.now;
}

__u64 bpf_jiffies64(void)
{
	return kernel.ticks;
}

static struct ilax_event event;
static bool reserved;

void *bpf_ringbuf_reserve(void *ring, __u64 size, __u64 flags)
{
	if (ring != &ilax_events || size != sizeof(event) || flags || reserved)
		FAIL("a reservation that the verifier would refuse");
	if (kernel.ring_full)
		return NULL;
	/* Whatever was there before: all of it has to be written. */
	memset(&event, 0xa5, sizeof(event));
	reserved = true;
	return &event;
}

void bpf_ringbuf_submit(void *data, __u64 flags)
{
	if (data != &event || !reserved || flags)
		FAIL("submits what was not reserved");
	/* Where a header promises no more, XDP does not look behind the linear part. */
	if ((event.len != kernel_len() && event.len != kernel.linear) ||
	    event.captured != (event.len < sizeof(event.data) ?
				       event.len :
				       sizeof(event.data)))
		FAIL("an event has captured %u of %u bytes, there are %u",
		     event.captured, event.len, kernel_len());
	reserved = false;
	kernel.sampled = true;
}

/* --- XDP --- */

__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx)
{
	return kernel_len();
}

long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 off, void *buf, __u32 len)
{
	return off > 0xffff ? -EFAULT : copy(off, buf, NULL, len);
}

long bpf_xdp_store_bytes(struct xdp_md *ctx, __u32 off, void *buf, __u32 len)
{
	return off > 0xffff ? -EFAULT : copy(off, NULL, buf, len);
}

long bpf_xdp_adjust_head(struct xdp_md *ctx, int delta)
{
	__u8 *old = kernel.data;

	if (delta < 0)
		FAIL("nobody asks for bytes in front");
	if ((__u32)delta + ETH_HLEN > kernel.linear)
		return -EINVAL;
	/* Metadata moves along. */
	kernel.linear -= delta;
	move(kernel.linear, delta);
	memcpy(kernel.data - kernel.meta, old - kernel.meta, kernel.meta);
	memcpy(kernel.data, old + delta, kernel.linear);
	forget(old);
	kernel_context();
	return 0;
}

long bpf_xdp_adjust_meta(struct xdp_md *ctx, int delta)
{
	__u32 bytes = kernel.meta - delta;

	if ((__s64)kernel.meta - delta < 0)
		return -EINVAL;
	if (bytes & 3 || bytes > kernel.meta_max)
		return -EACCES;
	ASAN_UNPOISON_MEMORY_REGION(kernel.data - bytes, bytes);
	if (bytes > kernel.meta)
		memset(kernel.data - bytes, 0xa5, bytes - kernel.meta);
	kernel.meta = bytes;
	kernel_context();
	return 0;
}

long bpf_redirect_map(void *map, __u64 key, __u64 flags)
{
	if (map != &ilax_devices)
		FAIL("redirects by another map");
	if (!tables_has_device(key))
		return flags & 3;
	kernel.redirect = key;
	kernel.neigh = false;
	return XDP_REDIRECT;
}

/* --- skb --- */

long bpf_skb_pull_data(struct __sk_buff *ctx, __u32 len)
{
	if (len > kernel_len())
		return -ENOMEM;
	return relocate(len > kernel.linear ? len - kernel.linear : 0);
}

long bpf_skb_load_bytes(const void *ctx, __u32 off, void *to, __u32 len)
{
	long err = copy(off, to, NULL, len);

	if (err)
		memset(to, 0, len);
	return err;
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
	__u8 before[16];

	if (flags != BPF_F_RECOMPUTE_CSUM || len > sizeof(before))
		FAIL("a store without its sum");
	if (copy(off, before, NULL, len))
		return -EFAULT;
	if (relocate(off + len > kernel.linear ? off + len - kernel.linear : 0))
		return -ENOMEM;
	copy(off, NULL, from, len);
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
	tag = (__u32)bpf_ntohs(frame_protocol()) << 16 | bpf_ntohs(tci);
	kernel.linear -= TAG_BYTES;
	move(kernel.linear, TAG_BYTES);
	memcpy(kernel.data - kernel.meta, old - kernel.meta, kernel.meta);
	memcpy(kernel.data, old, 2 * ETH_ALEN);
	memcpy(kernel.data + 2 * ETH_ALEN, old + 2 * ETH_ALEN + TAG_BYTES,
	       kernel.linear - 2 * ETH_ALEN);
	forget(old);
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
		relocate(kernel.tail_len < 2 * TAG_BYTES ? kernel.tail_len :
							   2 * TAG_BYTES);
	if (!kernel.tag)
		cut_tag();
	kernel.tag = 0;
	kernel.skb.protocol = frame_protocol();
	if (is_tag(kernel.skb.protocol)) {
		if (kernel.linear < ETH_HLEN + TAG_BYTES)
			return -ENOMEM;
		tag = cut_tag();
		kernel.skb.protocol = frame_protocol();
	}
	kernel.tag = tag;
	kernel_context();
	return 0;
}

/* The frame begins at the IP header here. */
long bpf_skb_ecn_set_ce(struct __sk_buff *ctx)
{
	if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		kernel.data[1] |= 3 << 4;
	else
		kernel.data[1] |= 3;
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
