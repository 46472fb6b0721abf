// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* From bytes to a packet at a hook, through the shipped program, and what came of it. */
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "case.h"
#include "kernel.h"
#include "population.h"
#include "tables.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

int ilax_uplink_xdp(struct xdp_md *ctx);
int ilax_uplink_in(struct __sk_buff *ctx);
int ilax_uplink_out(struct __sk_buff *ctx);
int ilax_from_task(struct __sk_buff *ctx);
int ilax_cgroup_in(struct __sk_buff *ctx);

void fail(const char *file, int line, const char *format, ...)
{
	va_list list;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	abort();
}

/* xorshift: bits are meant to fall off. */
__attribute__((no_sanitize("unsigned-shift-base"))) __u64
random_next(__u64 *state)
{
	__u64 x = *state ? *state : 1;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x;
}

bool case_decode(const __u8 *data, size_t size, struct kase *kase)
{
	size_t front;

	if (size < sizeof(kase->head))
		return false;
	memcpy(&kase->head, data, sizeof(kase->head));
	kase->head.hook %= CASE_HOOKS;
	kase->head.edits %= EDITS_MAX + 1;
	kase->head.device %= POPULATION_DEVICES;
	kase->head.meta %= 8;
	kase->head.meta_room %= 8;
	kase->head.slot %= POPULATION_LIMITS;
	kase->head.extra %= 1 << 19;
	kase->head.now %= 9 * 365 * 86400 * 1000000000ULL;
	if (kase->head.hook != CASE_UPLINK_IN)
		kase->head.flags &= ~CASE_STARTS_AT_L3;
	front = sizeof(kase->head) +
		kase->head.edits * sizeof(struct case_edit);
	if (size < front + FRAME_MIN || size > front + FRAME_MAX)
		return false;
	kase->edits = (const void *)(data + sizeof(kase->head));
	kase->frame = data + front;
	kase->len = size - front;
	return true;
}

/* eth_type_trans() */
static __u32 packet_type(const __u8 *frame, __u32 ifindex)
{
	static const __u8 broadcast[6] = { 255, 255, 255, 255, 255, 255 };
	const __u8 ours[6] = { 2, 0, 0, 0, 0, ifindex };

	if (frame[0] & 1)
		return memcmp(frame, broadcast, 6) ? PACKET_MULTICAST :
						     PACKET_BROADCAST;
	return memcmp(frame, ours, 6) ? PACKET_OTHERHOST : PACKET_HOST;
}

static void surround(const struct kase *kase, struct outcome *out)
{
	const struct case_head *head = &kase->head;
	__u32 ifindex = population_ifindexes[head->device];
	__be16 proto;

	if (head->hook == CASE_XDP)
		ifindex = POPULATION_LOOPBACK;
	else if (head->hook != CASE_CONTAINER && head->hook != CASE_CGROUP)
		ifindex = POPULATION_UPLINK;
	kernel.sum = 0;
	kernel.redirect = 0;
	kernel.neigh = false;
	kernel.sampled = false;
	kernel.ring_full = head->flags & CASE_RING_FULL;
	kernel.segments_fit = head->flags & CASE_SEGMENTS_FIT;
	kernel.now = head->now;
	kernel.ticks = head->ticks;
	kernel.meta_max = 4 * (head->meta + head->meta_room);
	kernel.tag = head->hook == CASE_XDP ? 0 : head->tag;
	memset(&kernel.skb, 0, sizeof(kernel.skb));
	memset(&kernel.xdp, 0, sizeof(kernel.xdp));
	memcpy(&proto, kase->frame + 12, sizeof(proto));
	kernel.skb.pkt_type = packet_type(kase->frame, ifindex);
	kernel.network = ETH_HLEN;
	if (head->flags & CASE_STARTS_AT_L3) {
		kernel.network = 0;
		proto = bpf_htons(0x86dd);
		kernel.skb.pkt_type = PACKET_HOST;
	}
	if (head->hook == CASE_CGROUP)
		proto = bpf_htons(head->flags & CASE_IPV4 ? 0x0800 : 0x86dd);
	kernel.skb.protocol = proto;
	kernel.skb.ifindex = ifindex;
	kernel.skb.gso_size = head->gso_size;
	kernel.skb.gso_segs = head->gso_segs;
	if (!(head->flags & CASE_NO_SOCKET))
		kernel.skb.sk = (void *)&kernel;
	kernel.xdp.ingress_ifindex = ifindex;
	tables_attached = head->slot;
	memset(out, 0, offsetof(struct outcome, metadata));
}

struct ilax_policed case_policed[POPULATION_LIMITS];

static void harvest(struct outcome *out, __u32 meta_before)
{
	struct ilax_counter *counter;
	int hook;

	out->len = kernel_len();
	out->stored = kernel_copy(out->frame);
	if (kernel.meta < meta_before)
		FAIL("metadata of somebody else is gone");
	out->meta = kernel.meta - meta_before;
	memcpy(out->metadata, kernel.data - kernel.meta, out->meta);
	out->redirect = kernel.redirect;
	out->neigh = kernel.neigh;
	out->mark = kernel.skb.mark;
	out->prio = kernel.skb.priority;
	out->sum = kernel.sum;
	out->sampled = kernel.sampled;
	out->tag = kernel.tag;
	out->reach = kernel.linear;
	counter = tables_counted(&hook, &out->reason);
	out->counted = counter->bytes;
	tables_add_policed(case_policed);
}

static int run(int hook)
{
	switch (hook) {
	case CASE_XDP:
		return ilax_uplink_xdp(&kernel.xdp);
	case CASE_UPLINK_IN:
		return ilax_uplink_in(&kernel.skb);
	case CASE_UPLINK_OUT:
		return ilax_uplink_out(&kernel.skb);
	case CASE_CONTAINER:
		return ilax_from_task(&kernel.skb);
	default:
		return ilax_cgroup_in(&kernel.skb);
	}
}

void case_run(const struct kase *kase, struct outcome *out)
{
	static const __u8 foreign[HEADROOM] = "nobody's";
	const struct case_head *head = &kase->head;
	__u32 shortest = head->hook == CASE_CGROUP ? 0 : FRAME_MIN;
	__u32 linear = head->linear ? head->linear : kase->len;
	/* Super-packets and tails are long; XDP's frames end at 64 KiB. */
	__u32 extra = head->gso_size || head->hook == CASE_XDP ? head->extra :
								 0;
	__u32 meta = head->hook <= CASE_UPLINK_IN ? 4 * head->meta : 0;

	if (head->hook == CASE_XDP)
		extra %= 1 << 14;
	if (linear < shortest)
		linear = shortest;
	if (linear > kase->len)
		linear = kase->len;
	surround(kase, out);
	tables_edit(kase->edits, head->edits);
	kernel_receive(kase->frame, kase->len, linear, extra, foreign, meta);
	out->given = kernel_len();
	out->code = run(head->hook);
	harvest(out, meta);
	tables_reset();
}

void case_run_handed_over(const struct kase *kase, const struct outcome *xdp,
			  struct outcome *out)
{
	struct kase later = *kase;

	later.head.hook = CASE_UPLINK_IN;
	surround(&later, out);
	tables_edit(kase->edits, kase->head.edits);
	kernel_receive(xdp->frame, xdp->stored, xdp->stored,
		       xdp->len - xdp->stored, xdp->metadata, xdp->meta);
	/* Drivers say what a frame is when XDP has done with it. */
	kernel.skb.protocol = kernel_protocol();
	out->given = kernel_len();
	out->code = run(CASE_UPLINK_IN);
	harvest(out, xdp->meta);
	tables_reset();
}
