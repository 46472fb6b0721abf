/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a packet is to a limit: frames and bytes as a link carries them. */
#ifndef ILAX_CHARGE_H
#define ILAX_CHARGE_H

#include <stdbool.h>

#include "types.h"

struct ilax_charge {
	__u32 bytes;   /* on the wire, all segments */
	__u32 packets; /* segments on the wire */
	bool small;    /* short enough for ilax_limit.small */
	bool markable; /* ECN-capable and not marked yet */

	/* What the limits say: */
	bool ce;  /* mark it */
	bool tag; /* tag it, with: */
	__u32 mark;
	__u32 prio;
};

static __always_inline __u32 charge_of_frame(__u32 len)
{
	return (len < ILAX_FRAME_SHORTEST ? ILAX_FRAME_SHORTEST : len) +
	       ILAX_FRAME_OVERHEAD;
}

static __always_inline void charge_frame(struct ilax_charge *charge, __u32 len)
{
	charge->bytes = charge_of_frame(len);
	charge->packets = 1;
	charge->small = len <= ILAX_SMALL_FRAME;
}

/* `len` bytes with one set of headers, cut into segments of `size` bytes. */
static __always_inline void charge_segments(struct ilax_charge *charge,
					    __u32 len, __u32 headers,
					    __u32 size)
{
	__u32 payload = len > headers ? len - headers : 1;

	charge->packets = (payload + size - 1) / size;
	charge->bytes =
		payload + charge->packets * (headers + ILAX_FRAME_OVERHEAD);
	charge->small = false;
}

#endif /* ILAX_CHARGE_H */
