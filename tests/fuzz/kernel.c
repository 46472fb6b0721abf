// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The packet under way, and helpers of XDP as Linux 6.18 does them. A helper that may
 * move the packet does move it, and what a program still holds of the old place is
 * poisoned.
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
__u8 *kernel_move(__u32 linear, __u32 front)
{
	__u8 *old = kernel.data;

	place = !place;
	kernel.data = PLACE + place * PLACE_BYTES + HEADROOM + front;
	ASAN_UNPOISON_MEMORY_REGION(kernel.data - kernel.meta,
				    kernel.meta + linear);
	return old;
}

void kernel_forget(__u8 *old)
{
	__u8 *begin = old < PLACE + PLACE_BYTES ? PLACE : PLACE + PLACE_BYTES;

	ASAN_POISON_MEMORY_REGION(begin, PLACE_BYTES);
}

/* The same bytes elsewhere, with `more` of the tail in reach. */
long kernel_bring(__u32 more)
{
	__u32 stored = more < kernel.tail_stored ? more : kernel.tail_stored;
	__u8 *old;

	if (kernel.linear + more > FRAME_MAX + HEADROOM / 2)
		return -ENOMEM;
	old = kernel_move(kernel.linear + more, 0);
	memcpy(kernel.data - kernel.meta, old - kernel.meta,
	       kernel.meta + kernel.linear);
	memcpy(kernel.data + kernel.linear, kernel.tail, stored);
	memset(kernel.data + kernel.linear + stored, 0, more - stored);
	memmove(kernel.tail, kernel.tail + stored, kernel.tail_stored - stored);
	kernel.tail_stored -= stored;
	kernel.tail_len -= more;
	kernel.linear += more;
	kernel_forget(old);
	kernel_context();
	return 0;
}

void kernel_receive(const __u8 *frame, __u32 len, __u32 linear, __u32 extra,
		    const __u8 *metadata, __u32 meta)
{
	ASAN_POISON_MEMORY_REGION(PLACE, 2 * PLACE_BYTES);
	kernel.meta = meta;
	kernel_move(linear, 0);
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

__be16 kernel_protocol(void)
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
long kernel_bytes(__u32 off, void *to, const void *from, __u32 len)
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
	return off > 0xffff ? -EFAULT : kernel_bytes(off, buf, NULL, len);
}

long bpf_xdp_store_bytes(struct xdp_md *ctx, __u32 off, void *buf, __u32 len)
{
	return off > 0xffff ? -EFAULT : kernel_bytes(off, NULL, buf, len);
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
	kernel_move(kernel.linear, delta);
	memcpy(kernel.data - kernel.meta, old - kernel.meta, kernel.meta);
	memcpy(kernel.data, old + delta, kernel.linear);
	kernel_forget(old);
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
