/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ingress limits: one virtual queue for each limit, without a queue (GCRA, the
 * generic cell rate algorithm of ITU-T I.371, also called virtual scheduling).
 *
 * A packet costs the time that it takes at the allowed rate. `until` is when all
 * that was let in so far would have been served; its distance from now is the
 * backlog that decides. An idle limit saves up `burst` at most, by never letting
 * `until` fall behind further than that.
 *
 * What is queued in front of a packet decides, and not what it costs itself: else a
 * flood of short frames would leave room for none but its own, and shut out all that
 * are longer.
 *
 * Each CPU borrows time in chunks and spends it without looking at the clock or
 * at the line that all CPUs share. Time is paid for when it is borrowed, so the
 * rate stays exact; what a CPU holds back and spends later can add one chunk to a
 * burst. A limit that has no place in the cache of chunks lets at most one chunk
 * pass by an old reading of the clock, which can add another one. So, over any
 * window of t seconds in which its rules stay, a limit that drops passes no more than
 *
 *     rate * (t + burst + drop + small + CPUs * 2 * 2^chunk ns)
 *
 * and one (super-)packet, the last that found room. Both shortcuts end at the
 * thresholds: near them, and at rates where one packet costs more than a chunk, each
 * packet is judged by itself.
 */
#ifndef ILAX_LIMIT_H
#define ILAX_LIMIT_H

#include "charge.h"
#include "hook.h"
#include "types.h"
#include "ilax_maps.bpf.h"

/* Tests put their own clock in front. */
#ifndef ILAX_CLOCK_NS
#define ILAX_CLOCK_NS() bpf_ktime_get_ns()
#define ILAX_CLOCK_TICKS() bpf_jiffies64()
#endif

/* One try is for the clock; who loses all the others charges without comparing. */
#define LIMIT_TRIES 9

/* How a limit sees a packet. */
enum limit_level {
	LIMIT_WITHIN,
	LIMIT_OVER_MARK, /* charged */
	LIMIT_OVER_DROP, /* not charged; all else is */
};

/* What becomes of it there. */
enum limit_outcome {
	LIMIT_PASSED,
	LIMIT_MARKED,
	LIMIT_TAGGED,
	LIMIT_REFUSED,
	LIMIT_WOULD_MARK, /* dry run */
	LIMIT_WOULD_REFUSE,
	LIMIT_UNCHARGED = 8, /* a flag: over the threshold, let through */
};

static __always_inline __u64 limit_cost(const struct ilax_limit *limit,
					__u64 bytes, __u64 packets)
{
	__u64 by_bytes = bytes * limit->byte_cost >> ILAX_BYTE_COST_SHIFT;
	__u64 by_packets = packets * limit->packet_cost;

	return by_bytes > by_packets ? by_bytes : by_packets;
}

static __always_inline __s64 limit_time(__u32 ns)
{
	return (__s64)ns << ILAX_TIME_SHIFT;
}

static __always_inline __s64 limit_chunk_time(const struct ilax_limit *limit)
{
	/* Without a branch, since the verifier would follow both ways each time. */
	return (1LL << (limit->chunk & 31) & ~1LL) << ILAX_TIME_SHIFT;
}

/* Time that is not needed after all goes back to where it came from. */
static __always_inline void limit_repay(__u32 slot, __s64 time)
{
	struct ilax_backlog *backlog;

	backlog = bpf_map_lookup_elem(&ilax_backlogs, &slot);
	if (backlog)
		__sync_fetch_and_add(&backlog->until, -time);
}

/* Where this CPU may hold time of a limit, or of another one. */
static __always_inline struct ilax_chunk *limit_chunk(__u32 slot)
{
	__u32 index = slot & (ILAX_CHUNK_ROWS - 1);

	return bpf_map_lookup_elem(&ilax_chunks, &index);
}

static __always_inline bool limit_owns(const struct ilax_chunk *chunk,
				       __u32 slot,
				       const struct ilax_limit *limit)
{
	return chunk->slot == slot && chunk->generation == limit->generation;
}

/* One counter of many CPUs. */
static __always_inline void limit_add(__u64 *total, __u64 count)
{
	if (count)
		__sync_fetch_and_add(total, count);
}

/*
 * Give back what the owner of a row has paid for, and count what it counted; not
 * if the slot has gone to another limit meanwhile.
 */
static __always_inline void limit_evict(struct ilax_chunk *chunk)
{
	const struct ilax_limit *limit;
	struct ilax_backlog *backlog;
	__u32 slot = chunk->slot;

	limit = bpf_map_lookup_elem(&ilax_limits, &slot);
	backlog = bpf_map_lookup_elem(&ilax_backlogs, &slot);
	if (!slot || !limit || !backlog ||
	    (limit->generation ^ chunk->generation) >> ILAX_GENERATION_SHIFT)
		return;
	limit_add(&backlog->until, -chunk->left);
#define MOVE(field) limit_add(&backlog->total.field, chunk->policed.field)
	MOVE(passed_packets);
	MOVE(passed_bytes);
	MOVE(dropped_packets);
	MOVE(dropped_bytes);
	MOVE(marked_packets);
	MOVE(marked_bytes);
	MOVE(tagged_packets);
	MOVE(tagged_bytes);
#undef MOVE
}

/*
 * Two limits may meet in one row of the cache. The row changes hands when its
 * owner has not borrowed during this tick and the newcomer asks twice in a row,
 * or when its owner has other rules by now. Else each packet is judged by itself:
 * the two would pay a chunk for each packet, and traffic to very many limits would
 * pay for rows that it never uses again.
 */
static __always_inline bool limit_take_over(struct ilax_chunk *chunk,
					    __u32 slot,
					    const struct ilax_limit *limit,
					    __u32 tick)
{
	if (!limit_owns(chunk, slot, limit)) {
		if (chunk->slot != slot &&
		    (chunk->used == tick || chunk->candidate != slot)) {
			chunk->candidate = slot;
			return false;
		}
		limit_evict(chunk);
		__builtin_memset(chunk, 0, sizeof(*chunk));
		chunk->slot = slot;
		chunk->generation = limit->generation;
	}
	chunk->used = tick;
	return true;
}

/*
 * Marks come in runs: from the threshold down to half of it. A changed traffic
 * class ends GRO's aggregate, so alternating marks would cost more than they tell.
 */
static __always_inline bool limit_marks(const struct ilax_limit *limit,
					__s64 backlog, bool marking)
{
	__s64 mark = limit_time(limit->mark);

	if (limit->action == ILAX_LIMIT_DROP)
		return false;
	return backlog >= (marking ? mark / 2 : mark);
}

static __always_inline __u64 limit_read_clock(struct ilax_clock *clock,
					      __u32 tick)
{
	clock->now = ILAX_CLOCK_NS() << ILAX_TIME_SHIFT;
	clock->spent = 0;
	clock->tick = tick;
	return clock->now;
}

/*
 * What short frames have to spare. Not at a limit that others are below: there it
 * would be their room that a flood of short frames takes.
 */
static __always_inline __s64 limit_spare(const struct ilax_limit *limit,
					 const struct ilax_charge *charge)
{
	if (!charge->small || limit->flags & ILAX_LIMIT_NESTED)
		return 0;
	return limit_time(limit->small);
}

/*
 * Charge the shared backlog.
 *
 * Not inlined, for the way through a chunk to stay short, and global, for the
 * verifier to look at it once and not once for each path that leads here.
 */
__noinline int ilax_limit_borrow(__u32 slot, const struct ilax_limit *limit,
				 struct ilax_chunk *chunk, __u64 cost,
				 const struct ilax_charge *charge)
{
	__s64 left, chunk_time, burst, drop, calm, extra, queued;
	__u32 tick = ILAX_CLOCK_TICKS(), zero = 0;
	__u64 now, seen, from;
	struct ilax_backlog *backlog;
	bool own, fresh = true, marks;
	struct ilax_clock *clock;

	backlog = bpf_map_lookup_elem(&ilax_backlogs, &slot);
	clock = bpf_map_lookup_elem(&ilax_clock, &zero);
	/* Never so; the verifier asks. */
	if (!limit || !chunk || !charge || !backlog || !clock)
		return LIMIT_WITHIN;
	own = limit_take_over(chunk, slot, limit, tick);
	left = own ? chunk->left : 0;
	chunk_time = limit_chunk_time(limit);
	burst = limit_time(limit->burst);
	calm = limit_time(limit->drop);
	drop = calm + limit_spare(limit, charge);
	if (limit->action != ILAX_LIMIT_DROP && limit->mark < limit->drop)
		calm = limit_time(limit->mark);

	now = clock->now;
	clock->spent += cost;
	if (own || tick != clock->tick || (__s64)clock->spent > chunk_time)
		now = limit_read_clock(clock, tick);
	else
		fresh = false;
	/* 0, where nobody has charged yet, lies ahead of a clock of 4.6 years. */
	if ((__s64)now < 0)
		__sync_val_compare_and_swap(&backlog->until, 0, now - burst);
	for (int i = 0; i < LIMIT_TRIES; i++) {
		seen = *(volatile __u64 *)&backlog->until;
		from = seen;
		/* Signed: the clocks of two CPUs may differ a little. */
		if ((__s64)(from - (now - burst)) < 0)
			from = now - burst;
		queued = (__s64)(from - now) - left;
		if (queued >= calm && !fresh) {
			now = limit_read_clock(clock, tick);
			fresh = true;
			continue;
		}
		if (queued >= drop)
			return LIMIT_OVER_DROP;
		/*
		 * Who marks borrows nothing: time at hand would mark the first
		 * packets after a pause as well.
		 */
		marks = limit_marks(limit, queued, own && chunk->marking);
		extra = own && !marks ? chunk_time : 0;
		if ((__s64)(from + cost - now) - left + extra > calm)
			extra = 0;
		if (__sync_val_compare_and_swap(&backlog->until, seen,
						from + cost - left + extra) !=
		    seen)
			continue;
		backlog->refilled = now >> ILAX_TIME_SHIFT;
		if (own) {
			chunk->left = extra;
			chunk->marking = marks;
		}
		return marks ? LIMIT_OVER_MARK : LIMIT_WITHIN;
	}
	/*
	 * Others were faster eight times, and have brought `until` up to the clock. To
	 * add to it cannot fail; who finds no room takes it back.
	 */
	now = limit_read_clock(clock, tick);
	from = __sync_fetch_and_add(&backlog->until, cost);
	queued = (__s64)(from - now) - left;
	if (queued >= drop) {
		__sync_fetch_and_add(&backlog->until, -cost);
		return LIMIT_OVER_DROP;
	}
	backlog->refilled = now >> ILAX_TIME_SHIFT;
	return limit_marks(limit, queued, own && chunk->marking) ?
		       LIMIT_OVER_MARK :
		       LIMIT_WITHIN;
}

/* One level. */
static __always_inline int limit_level(__u32 slot,
				       const struct ilax_limit *limit,
				       struct ilax_chunk *chunk,
				       struct ilax_charge *charge)
{
	__u64 cost = limit_cost(limit, charge->bytes, charge->packets);

	if (!cost)
		return LIMIT_WITHIN;
	if (limit_owns(chunk, slot, limit) && chunk->left >= (__s64)cost) {
		chunk->left -= cost;
		return LIMIT_WITHIN;
	}
	return ilax_limit_borrow(slot, limit, chunk, cost, charge);
}

/*
 * Undo what limit_level() charged. A CPU holds back no more than one chunk: the time
 * of a super-packet in its hands would pass at once whenever it likes. While it marks
 * it holds nothing.
 */
static __always_inline void limit_undo(__u32 slot,
				       const struct ilax_limit *limit,
				       struct ilax_chunk *chunk,
				       const struct ilax_charge *charge)
{
	__u64 cost = limit_cost(limit, charge->bytes, charge->packets);

	if (limit_owns(chunk, slot, limit) && !chunk->marking &&
	    chunk->left + (__s64)cost <= limit_chunk_time(limit))
		chunk->left += cost;
	else if (cost)
		limit_repay(slot, cost);
}

static __always_inline int limit_outcome(const struct ilax_limit *limit,
					 int level)
{
	bool over = level == LIMIT_OVER_DROP;

	if (level == LIMIT_WITHIN)
		return LIMIT_PASSED;
	switch (limit->action) {
	case ILAX_LIMIT_TAG:
		return LIMIT_TAGGED | (over ? LIMIT_UNCHARGED : 0);
	case ILAX_LIMIT_COUNT:
		return over ? LIMIT_WOULD_REFUSE | LIMIT_UNCHARGED :
			      LIMIT_WOULD_MARK;
	default:
		return over ? LIMIT_REFUSED : LIMIT_MARKED;
	}
}

/* By whom the packet was charged counts it, too: this CPU alone, or all. */
static __always_inline void limit_count(__u32 slot,
					const struct ilax_limit *limit,
					struct ilax_chunk *chunk,
					const struct ilax_charge *charge,
					int outcome)
{
	__u64 packets = charge->packets, bytes = charge->bytes;
	struct ilax_backlog *backlog;
	struct ilax_policed *here;
	bool drop, mark, tag;

	outcome &= ~LIMIT_UNCHARGED;
	drop = outcome == LIMIT_REFUSED || outcome == LIMIT_WOULD_REFUSE;
	tag = outcome == LIMIT_TAGGED;
	mark = (outcome == LIMIT_MARKED || outcome == LIMIT_WOULD_MARK) &&
	       charge->markable;
	if (limit_owns(chunk, slot, limit)) {
		here = &chunk->policed;
		if (drop) {
			here->dropped_packets += packets;
			here->dropped_bytes += bytes;
			return;
		}
		here->passed_packets += packets;
		here->passed_bytes += bytes;
		if (mark) {
			here->marked_packets += packets;
			here->marked_bytes += bytes;
		}
		if (tag) {
			here->tagged_packets += packets;
			here->tagged_bytes += bytes;
		}
		return;
	}
	backlog = bpf_map_lookup_elem(&ilax_backlogs, &slot);
	if (!backlog)
		return;
	here = &backlog->total;
	if (drop) {
		__sync_fetch_and_add(&here->dropped_packets, packets);
		__sync_fetch_and_add(&here->dropped_bytes, bytes);
		return;
	}
	__sync_fetch_and_add(&here->passed_packets, packets);
	__sync_fetch_and_add(&here->passed_bytes, bytes);
	if (mark) {
		__sync_fetch_and_add(&here->marked_packets, packets);
		__sync_fetch_and_add(&here->marked_bytes, bytes);
	}
	if (tag) {
		__sync_fetch_and_add(&here->tagged_packets, packets);
		__sync_fetch_and_add(&here->tagged_bytes, bytes);
	}
}

/* The nearest limit that tags decides how. */
static __always_inline void limit_note(const struct ilax_limit *limit,
				       struct ilax_charge *charge, int outcome)
{
	outcome &= ~LIMIT_UNCHARGED;
	if (outcome == LIMIT_MARKED)
		charge->ce = charge->markable;
	if (outcome == LIMIT_TAGGED && !charge->tag) {
		charge->tag = true;
		charge->mark = limit->tag_mark;
		charge->prio = limit->tag_prio;
	}
}

/* Charge one limit. Returns its enum limit_outcome. */
static __always_inline int limit_charge(__u32 slot,
					const struct ilax_limit *limit,
					struct ilax_chunk *chunk,
					struct ilax_charge *charge)
{
	int level = limit_level(slot, limit, chunk, charge);
	int outcome = limit_outcome(limit, level);

	limit_note(limit, charge, outcome);
	return outcome;
}

/* The end of it: count what all levels let pass, or take the charge back. */
static __always_inline void limit_settle(__u32 slot,
					 const struct ilax_limit *limit,
					 struct ilax_chunk *chunk,
					 const struct ilax_charge *charge,
					 int outcome, bool pass)
{
	if (pass || outcome == LIMIT_REFUSED)
		limit_count(slot, limit, chunk, charge, outcome);
	else if (!(outcome & LIMIT_UNCHARGED))
		limit_undo(slot, limit, chunk, charge);
}

/* Both for a parent; global, so that the verifier looks at them once. */
__noinline int ilax_limit_charge(__u32 slot, struct ilax_charge *charge)
{
	struct ilax_chunk *chunk = limit_chunk(slot);
	const struct ilax_limit *limit;

	limit = bpf_map_lookup_elem(&ilax_limits, &slot);
	if (!limit || !chunk || !charge)
		return LIMIT_PASSED;
	return limit_charge(slot, limit, chunk, charge);
}

__noinline int ilax_limit_settle(__u32 slot, const struct ilax_charge *charge,
				 int outcome, bool pass)
{
	struct ilax_chunk *chunk = limit_chunk(slot);
	const struct ilax_limit *limit;

	limit = bpf_map_lookup_elem(&ilax_limits, &slot);
	if (limit && chunk && charge)
		limit_settle(slot, limit, chunk, charge, outcome, pass);
	return 0;
}

/*
 * All parents, or none: those that were charged before one refuses have their
 * time back. Returns whether all of them let the packet pass.
 */
static __noinline bool limit_parents(const struct ilax_limit *leaf,
				     struct ilax_charge *charge)
{
	/* Of our own: the row may change between charging and settling. */
	__u32 slots[ILAX_LIMIT_PARENTS], outcomes[ILAX_LIMIT_PARENTS];
	bool pass = true;
	int i, j;

	charge->small = false; /* what it may spare is the leaf's */
	__builtin_memcpy(slots, leaf->parents, sizeof(slots));
	for (i = 0; i < ILAX_LIMIT_PARENTS && slots[i] && pass; i++) {
		outcomes[i] = ilax_limit_charge(slots[i], charge);
		pass = outcomes[i] != LIMIT_REFUSED;
	}
	for (j = 0; j < ILAX_LIMIT_PARENTS && j < i; j++)
		ilax_limit_settle(slots[j], charge, outcomes[j], pass);
	return pass;
}

/*
 * Charge a limit and its parents. Returns whether the packet passes; then
 * `charge` says whether it is to be marked or tagged on its way.
 */
static __always_inline bool limit_police(__u32 slot,
					 const struct ilax_limit *limit,
					 struct ilax_chunk *chunk,
					 struct ilax_charge *charge)
{
	bool pass = true;
	int outcome;

	outcome = limit_charge(slot, limit, chunk, charge);
	if (outcome == LIMIT_REFUSED)
		pass = false;
	else if (limit->parents[0])
		pass = limit_parents(limit, charge);
	limit_settle(slot, limit, chunk, charge, outcome, pass);
	/* The loss is this limit's, whoever above it refused. */
	if (!pass && outcome != LIMIT_REFUSED)
		limit_count(slot, limit, chunk, charge, LIMIT_REFUSED);
	return pass;
}

#endif /* ILAX_LIMIT_H */
