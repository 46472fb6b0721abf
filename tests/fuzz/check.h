/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Parts of case_check(). */
#ifndef FUZZ_CHECK_H
#define FUZZ_CHECK_H

#include "case.h"

/* Those for the host's stack, which has to act. */
#define PASSES_TO_STACK                                         \
	(1ULL << ILAX_PASS_HOST | 1ULL << ILAX_PASS_HOP_LIMIT | \
	 1ULL << ILAX_PASS_TOO_BIG)

static inline bool is_drop(const struct outcome *out)
{
	return out->reason >= ILAX_DROP_FIRST;
}

static inline bool is_send(const struct outcome *out)
{
	return out->reason >= ILAX_SEND_FIRST && !is_drop(out);
}

/* Verdict, reason, counter and sample go together. */
void check_verdict(const struct kase *kase, const struct outcome *out);

#endif /* FUZZ_CHECK_H */
