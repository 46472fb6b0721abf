/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a container: who it claims to be, and where it may send to. */
#ifndef ILAX_CONTAINER_H
#define ILAX_CONTAINER_H

#include "egress.h"
#include "hook.h"
#include "prefix.h"
#include "types.h"

/*
 * A task may use its own address. Link-local and unspecified sources exist for
 * neighbour discovery and never leave the link, so they are right only towards
 * link-scope destinations.
 */
static __always_inline bool ilax_source_ok(const struct ilax_packet *pkt,
					   const struct ilax_port *port)
{
	if (addr_equal(&pkt->src, &port->sir))
		return true;
	if (addr_stays_on_link(&pkt->dst) &&
	    (addr_is_link_local(&pkt->src) || addr_is_unspecified(&pkt->src)))
		return true;
	return port->flags & ILAX_PORT_ANY_SOURCE;
}

static __always_inline int ilax_container(hook_ctx *ctx,
					  struct ilax_packet *pkt, int *action)
{
	const struct ilax_prefix *row;
	const struct ilax_port *port;
	__u32 ifindex = hook_ifindex(ctx);

	port = bpf_map_lookup_elem(&ilax_ports, &ifindex);
	if (!port)
		return ILAX_DROP_UNKNOWN_PORT;
	pkt->from_slot = port->slot;
	if (!ilax_source_ok(pkt, port))
		return ILAX_DROP_SPOOFED_SOURCE;
	row = ilax_classify(&pkt->dst);
	if (!row)
		return addr_is_link_scope(&pkt->dst) ? ILAX_PASS_LINK_SCOPE :
						       ILAX_PASS_NOT_OURS;
	/* Otherwise a task could name hosts and forge identifiers. */
	if (row->kind != ILAX_PREFIX_SIR)
		return ILAX_DROP_LOCATOR_REFUSED;
	return ilax_send(ctx, pkt, false, action);
}

#endif /* ILAX_CONTAINER_H */
