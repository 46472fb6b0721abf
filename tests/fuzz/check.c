// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What holds for every packet, whatever is in it. Where a case has changed rows, they
 * may say anything, and only what does not depend on them is asked.
 */
#include <string.h>

#include "check.h"
#include "population.h"
#include "tables.h"

#include <bpf/bpf_endian.h>

static __u16 word_at(const __u8 *data)
{
	return data[0] << 8 | data[1];
}

/* One's complement, with 0 and 0xffff the same. */
static __u32 sum_words_of(const __u8 *data, __u32 len)
{
	__u64 sum = 0;

	for (__u32 i = 0; i + 1 < len; i += 2)
		sum += word_at(data + i);
	if (len & 1)
		sum += data[len - 1] << 8;
	return sum % 0xffff;
}

static int tags_of(const __u8 *frame, __u32 len)
{
	int tags = 0;

	while (tags < 2 && 14u + 4 * tags + 4 <= len &&
	       (word_at(frame + 12 + 4 * tags) == 0x8100 ||
		word_at(frame + 12 + 4 * tags) == 0x88a8))
		tags++;
	return tags;
}

/* Is `changed` what a quote in an ICMPv6 error becomes? */
static void check_quote(const struct kase *kase, const __u8 *before,
			const __u8 *after, __u32 len)
{
	__u32 first = len, last = 0;

	for (__u32 i = 40; i < len; i++) {
		if (before[i] == after[i])
			continue;
		last = i;
		if (first == len)
			first = i;
	}
	if (first == len)
		return;
	if (kase->head.hook > CASE_UPLINK_IN || before[6] == 6 ||
	    before[6] == 17)
		FAIL("hook %d: byte %u behind the header changed",
		     kase->head.hook, first);
	if (last - first >= 16)
		FAIL("bytes %u to %u changed, more than an address", first,
		     last);
	if (!kase->head.edits && sum_words_of(before + 40, len - 40) !=
					 sum_words_of(after + 40, len - 40))
		FAIL("a quote changed the sum");
}

/* One mapping of the population leads to the address of another task on purpose. */
static bool is_neutral(const __u8 *header)
{
	const struct ilax_mapping *mapping;
	struct ilax_addr dst;

	memcpy(&dst, header + 24, sizeof(dst));
	mapping = tables_mapping(&dst);
	return !mapping ||
	       sum_words_of((const __u8 *)&dst, 16) ==
		       sum_words_of((const __u8 *)&mapping->wire, 16);
}

static void check_destination(const struct kase *kase,
			      const struct outcome *out, const __u8 *before,
			      const __u8 *after)
{
	const struct ilax_endpoint *endpoint;
	const struct ilax_mapping *mapping;
	struct ilax_addr dst;

	memcpy(&dst, before + 24, sizeof(dst));
	if (is_neutral(before) &&
	    sum_words_of(before + 24, 16) != sum_words_of(after + 24, 16))
		FAIL("reason %d: the new destination changes the sum",
		     out->reason);
	endpoint = tables_endpoint(&dst);
	mapping = tables_mapping(&dst);
	if (out->reason == ILAX_SEND_FORWARD) {
		if (!mapping || memcmp(&mapping->wire, after + 24, 16) ||
		    out->redirect != POPULATION_UPLINK || !out->neigh)
			FAIL("forwarded to somewhere else");
		return;
	}
	if (!endpoint && mapping && mapping->action == ILAX_ACTION_LOCAL)
		endpoint = tables_endpoint(&mapping->wire);
	if (memcmp(before + 24, after + 24, 16) &&
	    (!endpoint || memcmp(&endpoint->sir, after + 24, 16)))
		FAIL("reason %d: a destination from nowhere", out->reason);
	if (is_send(out) &&
	    (!endpoint || memcmp(&endpoint->sir, after + 24, 16)))
		FAIL("delivered with a wire address");
	if (is_send(out) && out->reason != ILAX_SEND_META &&
	    (out->redirect != endpoint->ifindex || out->neigh))
		FAIL("delivered to device %u", out->redirect);
}

static void check_header(const struct kase *kase, const struct outcome *out,
			 const __u8 *before, const __u8 *after)
{
	__u8 ecn = before[1] >> 4 & 3, ecn_after = after[1] >> 4 & 3;
	bool hop = is_send(out) && kase->head.hook != CASE_UPLINK_OUT;

	if (after[7] != (__u8)(before[7] - hop))
		FAIL("reason %d: hop limit %u became %u", out->reason,
		     before[7], after[7]);
	if (hop && before[7] < 2)
		FAIL("forwarded with hop limit %u", before[7]);
	if (before[0] != after[0] || (before[1] ^ after[1]) & 0xcf ||
	    memcmp(before + 2, after + 2, 5) ||
	    memcmp(before + 8, after + 8, 16))
		FAIL("reason %d: another byte of the header changed",
		     out->reason);
	if (ecn != ecn_after && (ecn_after != 3 || !ecn))
		FAIL("ECN %u became %u", ecn, ecn_after);
}

/* At the cgroup: nothing but the mark, and the sum that covers it. */
static void check_ip4(const __u8 *before, const __u8 *after, __u32 len)
{
	__u8 ecn = before[1] & 3;

	if (!memcmp(before, after, len))
		return;
	if (len < 20 || before[0] != after[0] ||
	    memcmp(before + 2, after + 2, 8) ||
	    memcmp(before + 12, after + 12, len - 12))
		FAIL("more than the mark changed");
	if (!ecn || after[1] != (before[1] | 3))
		FAIL("traffic class %#x became %#x", before[1], after[1]);
	if (sum_words_of(before, 20) != sum_words_of(after, 20))
		FAIL("the mark changes the sum of the header");
}

/* The source is the task's own, or of no interest beyond the link. */
static void check_source(const struct kase *kase, const struct outcome *out,
			 const __u8 *before)
{
	__u32 device = population_ifindexes[kase->head.device];
	const __u8 *own = tables_source_of(device);

	if (kase->head.hook != CASE_CONTAINER ||
	    device == POPULATION_ANY_SOURCE ||
	    out->reason == ILAX_PASS_NOT_IPV6 ||
	    out->reason == ILAX_PASS_OTHER_HOST ||
	    out->reason == ILAX_PASS_LINK_SCOPE)
		return;
	if (!own || memcmp(own, before + 8, 16))
		FAIL("reason %d for a source that is not the task's",
		     out->reason);
}

static void check_bytes(const struct kase *kase, const struct outcome *out)
{
	bool at_l3 = kase->head.hook == CASE_CGROUP ||
		     (kase->head.flags & CASE_STARTS_AT_L3 &&
		      (word_at(kase->frame + 12) != 0x86dd ||
		       kase->frame[0] >> 4 == 6));
	int tags = at_l3 ? 0 : tags_of(kase->frame, kase->len);
	__u32 l3 = at_l3 ? 0 : 14 + 4 * tags, l3_after = l3;
	const __u8 *before = kase->frame + l3, *after;
	__u32 gone = out->given - out->len;

	if (gone && (gone != 4u * tags || !is_send(out)))
		FAIL("reason %d: %u bytes are gone", out->reason, gone);
	if (is_send(out) && kase->head.hook != CASE_UPLINK_OUT &&
	    (gone != 4u * tags || out->tag))
		FAIL("reason %d: sent with a tag", out->reason);
	if (gone)
		l3_after = 14;
	if (!at_l3 && out->reason != ILAX_SEND_XDP &&
	    memcmp(kase->frame, out->frame, 12))
		FAIL("reason %d: other MAC addresses", out->reason);
	if (gone && word_at(out->frame + 12) != 0x86dd)
		FAIL("tags are gone, and it is not IPv6");
	if (kase->head.hook == CASE_CGROUP && kase->head.flags & CASE_IPV4) {
		check_ip4(kase->frame, out->frame, kase->len);
		return;
	}
	if (kase->len < l3 + 40) {
		if (memcmp(kase->frame, out->frame, kase->len))
			FAIL("reason %d: half a header changed", out->reason);
		return;
	}
	after = out->frame + l3_after;
	check_header(kase, out, before, after);
	check_quote(kase, before, after, kase->len - l3);
	if (kase->head.hook != CASE_XDP && kase->head.hook != CASE_CGROUP &&
	    !kase->head.edits && is_neutral(before) &&
	    (sum_words_of(before, kase->len - l3) + bpf_ntohs(out->sum)) %
			    0xffff !=
		    sum_words_of(after, kase->len - l3))
		FAIL("reason %d: a sum over the whole packet is wrong now",
		     out->reason);
	if (!kase->head.edits &&
	    (is_send(out) || memcmp(before + 24, after + 24, 16)))
		check_destination(kase, out, before, after);
	if (!kase->head.edits)
		check_source(kase, out, before);
}

static void check_metadata(const struct kase *kase, const struct outcome *out)
{
	const struct ilax_handover_tagged *note = (const void *)out->metadata;
	bool stack = out->reason < ILAX_SEND_FIRST &&
		     PASSES_TO_STACK >> out->reason & 1;
	__u32 magic = ILAX_ABI_MAGIC;

	if (kase->head.hook != CASE_XDP ||
	    (out->reason != ILAX_SEND_META && !stack)) {
		if (out->meta)
			FAIL("reason %d with metadata", out->reason);
		return;
	}
	if (out->meta == sizeof(struct ilax_handover_tagged))
		magic = ILAX_TAGGED_MAGIC;
	else if (out->meta != sizeof(struct ilax_handover))
		FAIL("%u bytes of metadata", out->meta);
	if (note->magic != magic || (stack && note->ifindex))
		FAIL("reason %d: metadata for device %u", out->reason,
		     note->ifindex);
}

void case_check(const struct kase *kase, const struct outcome *out)
{
	check_verdict(kase, out);
	if (is_drop(out))
		return;
	check_bytes(kase, out);
	check_metadata(kase, out);
}
