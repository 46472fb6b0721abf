// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* tc ingress at the host side of a container's veth: all that a task sends. */
#include "hook_skb.h"
#include "container.h"
#include "parse.h"
#include "verdict.h"

static __always_inline int from_container(hook_ctx *ctx)
{
	struct ilax_packet pkt = {};
	int action = HOOK_DROP;
	int reason;

	reason = ilax_parse(ctx, &pkt);
	if (reason < 0)
		reason = ilax_container(ctx, &pkt, &action);
	/*
	 * A task is not trusted: what cannot be checked does not pass. Behind
	 * us the stack peels any number of tags of VLAN 0 and routes what it
	 * finds, so a frame with more tags than we look behind would evade all
	 * checks.
	 */
	else if (reason == ILAX_PASS_MALFORMED ||
		 reason == ILAX_PASS_NOT_LINEAR ||
		 reason == ILAX_PASS_MANY_TAGS)
		reason = ILAX_DROP_MALFORMED;
	return ilax_exit(ctx, &pkt, ILAX_HOOK_CONTAINER, reason, action);
}

SEC("tc")
int ilax_from_task(struct __sk_buff *ctx)
{
	return from_container(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
