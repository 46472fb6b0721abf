/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one exit of every program: count the reason, count the endpoint's
 * traffic, sample drops and marks, and turn the reason into the hook's action.
 */
#ifndef ILAX_VERDICT_H
#define ILAX_VERDICT_H

#include "hook.h"
#include "types.h"
#include "ilax_maps.bpf.h"

/*
 * Jiffies are one load (the verifier inlines the helper) where the clock costs
 * as much as the whole lookup, so a flood of drops pays for the clock and the
 * ring once in a tick.
 */
static __always_inline void ilax_sample(hook_ctx *ctx,
					const struct ilax_packet *pkt, int hook,
					int reason,
					struct ilax_counter *counter)
{
	__u64 now = bpf_jiffies64();
	struct ilax_event *event;
	__u32 captured;

	if (counter->last_sample == now)
		return;
	counter->last_sample = now;
	event = bpf_ringbuf_reserve(&ilax_events, sizeof(*event), 0);
	if (!event) {
		counter->lost++;
		return;
	}
	captured = pkt->len;
	if (captured > sizeof(event->data))
		captured = sizeof(event->data);
	event->time = bpf_ktime_get_ns();
	event->ifindex = hook_ifindex(ctx);
	event->len = pkt->len;
	event->slot = pkt->from_slot ? pkt->from_slot : pkt->to_slot;
	event->hook = hook;
	event->reason = reason;
	/* 1 to 128 in a form that Linux 6.1 follows: neither the bound above,
	 * which the calls in between made it forget, nor zero.
	 */
	barrier_var(captured);
	captured = ((captured - 1) & (sizeof(event->data) - 1)) + 1;
	if (hook_load(ctx, 0, event->data, captured))
		captured = 0;
	event->captured = captured;
	bpf_ringbuf_submit(event, 0);
	counter->sampled++;
}

static __always_inline struct ilax_traffic *traffic_of(__u32 slot)
{
	return slot ? bpf_map_lookup_elem(&ilax_traffic, &slot) : NULL;
}

/*
 * A drop is charged to the sender where there is one. A packet that the stack
 * answers is not received. What XDP hands over to tc counts here and not there: tc
 * gets no slot with it, and the bytes are those of the frames before GRO.
 */
static __always_inline void count_traffic(const struct ilax_packet *pkt,
					  int reason)
{
	struct ilax_traffic *from = traffic_of(pkt->from_slot);
	struct ilax_traffic *to;

	if (from) {
		if (reason >= ILAX_DROP_FIRST) {
			from->tx_drops++;
			return;
		}
		from->tx_packets++;
		from->tx_bytes += pkt->len;
	}
	if (reason < ILAX_SEND_FIRST && reason != ILAX_PASS_HOST)
		return;
	to = traffic_of(pkt->to_slot);
	if (!to)
		return;
	if (reason >= ILAX_DROP_FIRST) {
		to->rx_drops++;
	} else {
		to->rx_packets++;
		to->rx_bytes += pkt->len;
	}
}

/*
 * `action` is what a redirect helper returned; it matters for reasons of the
 * SEND block only, where the helper has chosen the packet's way.
 */
static __always_inline int ilax_exit(hook_ctx *ctx,
				     const struct ilax_packet *pkt, int hook,
				     int reason, int action)
{
	__u32 index =
		hook * ILAX_REASON_COUNT + (reason & (ILAX_REASON_COUNT - 1));
	struct ilax_counter *counter;

	counter = bpf_map_lookup_elem(&ilax_counters, &index);
	if (counter) {
		counter->packets++;
		counter->bytes += pkt->len;
		if (reason >= ILAX_DROP_FIRST || pkt->noted)
			ilax_sample(ctx, pkt, hook, reason, counter);
	}
	count_traffic(pkt, reason);
	if (reason >= ILAX_DROP_FIRST)
		return HOOK_DROP;
	return reason >= ILAX_SEND_FIRST ? action : HOOK_PASS;
}

#endif /* ILAX_VERDICT_H */
