// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Which verdicts there are. */
#include <linux/bpf.h>

#include "check.h"

#define BIT(reason) (1ULL << (reason))
/* PASS and SEND reasons begin at bit 0, DROP reasons in a word of their own. */
#define DROP_BIT(reason) (1ULL << ((reason) - ILAX_DROP_FIRST))

#define PASSES_UNSEEN                                         \
	(BIT(ILAX_PASS_NOT_IPV6) | BIT(ILAX_PASS_MALFORMED) | \
	 BIT(ILAX_PASS_MANY_TAGS))
#define DROPS_INGRESS                                                       \
	(DROP_BIT(ILAX_DROP_UNKNOWN_IDENTIFIER) |                           \
	 DROP_BIT(ILAX_DROP_ROW_CHANGED) | DROP_BIT(ILAX_DROP_ICMP_INNER) | \
	 DROP_BIT(ILAX_DROP_LIMIT))

static const __u64 listed[CASE_HOOKS][2] = {
	[CASE_XDP] = { PASSES_UNSEEN | PASSES_TO_STACK |
			       BIT(ILAX_PASS_NOT_OURS) |
			       BIT(ILAX_PASS_LINK_SCOPE) |
			       BIT(ILAX_PASS_NOT_LINEAR) |
			       BIT(ILAX_PASS_NO_METADATA) |
			       BIT(ILAX_SEND_META) | BIT(ILAX_SEND_XDP),
		       DROPS_INGRESS | DROP_BIT(ILAX_DROP_NO_DEVICE) },
	[CASE_UPLINK_IN] = { PASSES_UNSEEN | PASSES_TO_STACK |
				     BIT(ILAX_PASS_NOT_OURS) |
				     BIT(ILAX_PASS_LINK_SCOPE) |
				     BIT(ILAX_PASS_OTHER_HOST) |
				     BIT(ILAX_SEND_PEER),
			     DROPS_INGRESS | DROP_BIT(ILAX_DROP_MALFORMED) },
	[CASE_UPLINK_OUT] = { PASSES_UNSEEN | BIT(ILAX_PASS_NOT_OURS) |
				      BIT(ILAX_PASS_OTHER_HOST) |
				      BIT(ILAX_PASS_WIRE) |
				      BIT(ILAX_SEND_FORWARD),
			      DROP_BIT(ILAX_DROP_NO_MAPPING) |
				      DROP_BIT(ILAX_DROP_BAD_ACTION) |
				      DROP_BIT(ILAX_DROP_NO_LOCAL_ROUTE) |
				      DROP_BIT(ILAX_DROP_REDIRECT) },
	[CASE_CONTAINER] = { PASSES_TO_STACK | BIT(ILAX_PASS_NOT_IPV6) |
				     BIT(ILAX_PASS_NOT_OURS) |
				     BIT(ILAX_PASS_LINK_SCOPE) |
				     BIT(ILAX_PASS_OTHER_HOST) |
				     BIT(ILAX_SEND_LOCAL) |
				     BIT(ILAX_SEND_FORWARD),
			     DROP_BIT(ILAX_DROP_UNKNOWN_IDENTIFIER) |
				     DROP_BIT(ILAX_DROP_SPOOFED_SOURCE) |
				     DROP_BIT(ILAX_DROP_LOCATOR_REFUSED) |
				     DROP_BIT(ILAX_DROP_NO_MAPPING) |
				     DROP_BIT(ILAX_DROP_BAD_ACTION) |
				     DROP_BIT(ILAX_DROP_UNKNOWN_PORT) |
				     DROP_BIT(ILAX_DROP_ROW_CHANGED) |
				     DROP_BIT(ILAX_DROP_MALFORMED) |
				     DROP_BIT(ILAX_DROP_LIMIT) },
	[CASE_CGROUP] = { BIT(ILAX_PASS_NOT_OURS) | BIT(ILAX_PASS_HANDOVER) |
				  BIT(ILAX_PASS_HOST),
			  DROP_BIT(ILAX_DROP_LIMIT) },
};

static int expected_code(int hook, const struct outcome *out)
{
	if (hook == CASE_CGROUP)
		return !is_drop(out);
	if (hook != CASE_XDP)
		return is_drop(out) ? 2 : is_send(out) ? 7 : -1;
	if (is_drop(out))
		return XDP_DROP;
	return out->reason == ILAX_SEND_XDP ? XDP_REDIRECT : XDP_PASS;
}

void check_verdict(const struct kase *kase, const struct outcome *out)
{
	int hook = kase->head.hook;
	bool known;

	known = is_drop(out) ?
			listed[hook][1] >> (out->reason - ILAX_DROP_FIRST) & 1 :
			listed[hook][0] >> out->reason & 1;
	/* No memory to bring a quote into reach that is far away. */
	known |= out->reason == ILAX_DROP_REWRITE && out->given > FRAME_MAX;
	if (!known)
		FAIL("hook %d: reason %d is not in the list", hook,
		     out->reason);
	if (out->code != expected_code(hook, out))
		FAIL("hook %d: verdict %d for reason %d", hook, out->code,
		     out->reason);
	/* XDP knows nothing of super-packets. */
	if (hook != CASE_XDP && out->reason == ILAX_PASS_TOO_BIG &&
	    kase->head.gso_size == 0xffff &&
	    kase->head.flags & CASE_SEGMENTS_FIT)
		FAIL("hook %d: pieces that fit are too big", hook);
	if (is_send(out) != (out->redirect != 0) && !kase->head.edits &&
	    !is_drop(out) && out->reason != ILAX_SEND_META)
		FAIL("hook %d: reason %d, redirect to %u", hook, out->reason,
		     out->redirect);
	if (is_drop(out) && !out->sampled && kase->head.ticks &&
	    !(kase->head.flags & CASE_RING_FULL))
		FAIL("hook %d: a drop for %d is not told", hook, out->reason);
	if (out->counted != out->len && out->counted != out->reach)
		FAIL("hook %d: %llu bytes counted, there are %u", hook,
		     out->counted, out->len);
}
