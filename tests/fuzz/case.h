/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One packet with its surroundings, as a string of bytes that a fuzzer may change. */
#ifndef FUZZ_CASE_H
#define FUZZ_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "ilax_abi.h"

#define FRAME_MIN 14
#define FRAME_MAX 2048
#define EDITS_MAX 7
/* In front of a frame; what is left of it belongs to a program before ours. */
#define HEADROOM 256

enum case_hook {
	CASE_XDP,
	CASE_UPLINK_IN,
	CASE_UPLINK_OUT,
	CASE_CONTAINER,
	CASE_CGROUP,
	CASE_HOOKS,
};

enum case_flag {
	CASE_RING_FULL = 1 << 0,
	/* tc behind a generic XDP program: the Ethernet header is gone. */
	CASE_STARTS_AT_L3 = 1 << 1,
	/* bpf_check_mtu() says that each segment fits. */
	CASE_SEGMENTS_FIT = 1 << 2,
	/* The socket of a cgroup is not known any more. */
	CASE_NO_SOCKET = 1 << 3,
	CASE_IPV4 = 1 << 4, /* at the cgroup: what the kernel says of it */
};

/* Change one byte of a row, or take the row away. */
struct case_edit {
	__u8 table;
	__u8 row;
	__u8 at; /* 255: the row is missing */
	__u8 value;
};

struct case_head {
	__u8 hook;
	__u8 flags;
	__u8 device;	/* index of population_ifindexes */
	__u8 meta;	/* words of metadata that others put in front */
	__u8 meta_room; /* words that may still be put there */
	__u8 ticks;	/* jiffies */
	__u8 edits;
	__u8 slot;    /* of ilax_attached */
	__u16 linear; /* bytes in reach, 0 = all */
	__u16 gso_size;
	__u32 tag;   /* kept beside the frame, type << 16 | tag, 0 = none */
	__u64 now;   /* ns, less than nine years since boot */
	__u32 extra; /* bytes of zeros behind the frame */
	__u16 gso_segs;
	__u16 pad;
};

/* A case, taken apart. Frame and edits stay where they were. */
struct kase {
	struct case_head head;
	const struct case_edit *edits;
	const __u8 *frame;
	__u32 len;
};

/* What a program did. */
struct outcome {
	int code;
	int reason;	  /* of the one counter that rose */
	__u64 counted;	  /* bytes that it rose by */
	__u32 given;	  /* bytes of the frame before */
	__u32 len;	  /* and afterwards */
	__u32 stored;	  /* of it, below; the rest is zeros */
	__u32 meta;	  /* bytes of our metadata in front of it */
	__u32 redirect;	  /* device, 0 = none */
	__u32 mark, prio; /* of the skb */
	__u32 tag;	  /* beside the frame afterwards */
	__u32 reach;	  /* bytes in the linear part afterwards */
	__u32 sum;	  /* by what bpf_csum_update() changed the sum */
	bool neigh;	  /* redirect means a next hop, and not a peer */
	bool sampled;
	__u8 metadata[HEADROOM];
	__u8 frame[FRAME_MAX + HEADROOM];
};

/* Returns false if it is too short to be one. */
bool case_decode(const __u8 *data, size_t size, struct kase *kase);

/* What limits have counted in all cases so far, by slot. */
extern struct ilax_policed case_policed[];

/* One program on one packet, with the tables as if nothing came before. */
void case_run(const struct kase *kase, struct outcome *out);

/* tc behind XDP: `xdp` has handed the packet over. */
void case_run_handed_over(const struct kase *kase, const struct outcome *xdp,
			  struct outcome *out);

/* Abort with a message unless the outcome is one that the contract knows. */
void case_check(const struct kase *kase, const struct outcome *out);

/* Abort with a message unless XDP and tc do the same to the packet. */
void case_check_adapters(const struct kase *kase);

/* Change a case in a way that is likely to mean something. Returns its new size. */
size_t case_mutate(__u8 *data, size_t size, size_t room, __u64 *random);

__u64 random_next(__u64 *state);

#define FAIL(...) fail(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void fail(const char *file, int line, const char *format, ...);

#endif /* FUZZ_CASE_H */
