// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* XDP and tc do the same to the same packet, and one after the other, too. */
#include <string.h>

#include "check.h"
#include "population.h"

static bool same_reason(const struct outcome *xdp, const struct outcome *tc)
{
	if (xdp->reason == tc->reason)
		return true;
	/* Nobody peels tags behind tc. */
	if (xdp->reason == ILAX_PASS_MANY_TAGS)
		return tc->reason == ILAX_DROP_MALFORMED;
	/* tc delivers what XDP has a device or a later hook for, or should have. */
	return tc->reason == ILAX_SEND_PEER &&
	       (xdp->reason == ILAX_SEND_META || xdp->reason == ILAX_SEND_XDP ||
		xdp->reason == ILAX_DROP_NO_DEVICE);
}

static void check_handed_over(const struct kase *kase,
			      const struct outcome *xdp,
			      const struct outcome *tc)
{
	static struct outcome late;

	/* In a note 0 stands for the stack; a row that says so is none of ours. */
	if (is_send(tc) && !tc->redirect)
		return;
	case_run_handed_over(kase, xdp, &late);
	if (late.reason !=
		    (is_send(xdp) ? ILAX_SEND_HANDOVER : ILAX_PASS_HANDOVER) ||
	    late.redirect != tc->redirect || late.mark != tc->mark ||
	    late.prio != tc->prio || late.len != tc->len ||
	    late.tag != tc->tag || memcmp(late.frame, tc->frame, tc->stored))
		FAIL("handed over by XDP: reason %d, device %u; tc alone: %d, %u",
		     late.reason, late.redirect, tc->reason, tc->redirect);
}

void case_check_adapters(const struct kase *kase)
{
	static const __u8 ours[6] = { 2, 0, 0, 0, 0, POPULATION_UPLINK };
	static struct outcome xdp, tc;
	static __u8 frame[FRAME_MAX];
	struct kase both = *kase;

	memcpy(frame, kase->frame, kase->len);
	memcpy(frame, ours, sizeof(ours));
	both.frame = frame;
	both.head.linear = 0;
	both.head.meta = 0;
	both.head.meta_room = 7;
	both.head.gso_size = 0;
	both.head.extra = 0;
	both.head.flags &= CASE_RING_FULL;
	both.head.hook = CASE_XDP;
	case_run(&both, &xdp);
	both.head.hook = CASE_UPLINK_IN;
	case_run(&both, &tc);
	if (!same_reason(&xdp, &tc))
		FAIL("XDP says %d, tc says %d", xdp.reason, tc.reason);
	if (is_drop(&xdp) || is_drop(&tc))
		return;
	if (xdp.len != tc.len || xdp.counted != tc.counted ||
	    memcmp(xdp.frame + 12, tc.frame + 12, tc.stored - 12))
		FAIL("XDP and tc make different packets, reason %d", tc.reason);
	if (xdp.meta)
		check_handed_over(&both, &xdp, &tc);
}
