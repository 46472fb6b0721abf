/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A stage of our own: count packets by DSCP, and drop those whose class is
 * switched off. It speaks the verbs of datapath/hook.h only, so that the XDP
 * and the tc program share it.
 */
#ifndef DSCP_GATE_H
#define DSCP_GATE_H

#include "hook.h"
#include "types.h"

#define DSCP_CLASSES 64

/* The first number of the block that ilax leaves to others. */
#define DROP_DSCP ILAX_DROP_USER

struct dscp_class {
	__u64 packets; /* seen, dropped ones included; datapath */
	__u64 bytes;   /* of frames; datapath */
};

/* index = DSCP */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DSCP_CLASSES);
	__type(key, __u32);
	__type(value, struct dscp_class);
} dscp_classes SEC(".maps");

/* index = DSCP, value 1 = drop; control */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DSCP_CLASSES);
	__type(key, __u32);
	__type(value, __u32);
} dscp_refused SEC(".maps");

/*
 * A stage takes the parsed packet and returns ILAX_CONTINUE, or the reason for
 * its verdict. Here pkt->l3_off is known to be followed by an IPv6 header.
 */
static __always_inline int dscp_gate(hook_ctx *ctx,
				     const struct ilax_packet *pkt)
{
	struct dscp_class *class;
	__u8 first[2];
	__u32 *refused;
	__u32 dscp;

	if (hook_load(ctx, pkt->l3_off, first, sizeof(first)))
		return ILAX_PASS_NOT_LINEAR;
	/* 4 bits version, 8 bits traffic class, of which the first 6 count */
	dscp = (first[0] & 0xf) << 2 | first[1] >> 6;

	class = bpf_map_lookup_elem(&dscp_classes, &dscp);
	if (class) {
		class->packets++;
		class->bytes += pkt->len;
	}
	refused = bpf_map_lookup_elem(&dscp_refused, &dscp);
	if (refused && *refused)
		return DROP_DSCP;
	return ILAX_CONTINUE;
}

#endif /* DSCP_GATE_H */
