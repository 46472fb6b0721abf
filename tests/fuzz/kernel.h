/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packet under way and all that helpers know of it; one at a time. */
#ifndef FUZZ_KERNEL_H
#define FUZZ_KERNEL_H

#include <linux/bpf.h>

#include "case.h"

struct kernel {
	/* The linear part lies in low memory, since contexts have 32-bit pointers. */
	__u8 *data;
	__u32 linear;
	__u32 meta; /* bytes in front of data */
	__u32 meta_max;
	/* Behind it, out of reach: stored bytes, then zeros. */
	__u8 tail[FRAME_MAX];
	__u32 tail_stored;
	__u32 tail_len;

	__u32 network; /* bytes in front of the IP header, tags not counted */
	__u32 tag;     /* beside the frame, type << 16 | tag */
	__u32 sum;
	__u32 redirect;
	bool neigh;
	bool segments_fit;
	bool ring_full;
	bool sampled;
	bool no_socket;
	__u64 now;
	__u64 ticks;
	struct xdp_md xdp;
	struct __sk_buff skb;
};

extern struct kernel kernel;

void kernel_init(void);

/* Put a frame in place: `linear` of its bytes in reach, and `meta` in front. */
void kernel_receive(const __u8 *frame, __u32 len, __u32 linear, __u32 extra,
		    const __u8 *metadata, __u32 meta);

/* Copy what is there now. Returns the stored bytes. */
__u32 kernel_copy(__u8 *frame);

/* Bytes of the frame. */
__u32 kernel_len(void);

/* The context says what the packet is now. */
void kernel_context(void);

/* EtherType of the frame. */
__be16 kernel_protocol(void);

/* A new place for `linear` bytes; the caller fills it, and then forgets the old one,
 * which is returned.
 */
__u8 *kernel_move(__u32 linear, __u32 front);
void kernel_forget(__u8 *old);

/* The same bytes elsewhere, with `more` of the tail in reach. */
long kernel_bring(__u32 more);

/* Out of the frame into `to`, or into it out of `from`. */
long kernel_bytes(__u32 off, void *to, const void *from, __u32 len);

#endif /* FUZZ_KERNEL_H */
