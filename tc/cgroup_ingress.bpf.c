// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup_skb ingress, on each limited cgroup: what reaches its sockets otherwise
 * than by an endpoint with a limit.
 */
#include "hook_cgroup.h"
#include "cgroup.h"
#include "verdict.h"

static __always_inline int cgroup_ingress(hook_ctx *ctx)
{
	struct ilax_packet pkt = { .len = hook_len(ctx) };
	int reason;

	reason = ilax_cgroup(ctx, &pkt);
	return ilax_exit(ctx, &pkt, ILAX_HOOK_CGROUP, reason, HOOK_PASS);
}

SEC("cgroup_skb/ingress")
int ilax_cgroup_in(struct __sk_buff *ctx)
{
	return cgroup_ingress(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
