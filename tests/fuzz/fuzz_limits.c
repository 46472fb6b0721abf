// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Coverage-guided: packets of several limits on several CPUs, under a clock of ours.
 * Over any window a limit passes what datapath/limit.h promises, and no more; and what
 * nobody has sent anything to for long enough lets the next packet pass.
 */
#include <string.h>

#include "case.h"
#include "hook_xdp.h"
#include "kernel.h"
#include "limit.h"
#include "tables.h"

#define LIMITS 4
#define TICK_NS 4000000
/* The widest that control writes (loader/ilax/limiting/limit_rules.py). */
#define BYTE_COST_MAX 200000000000ULL
#define PACKET_COST_MAX (0xffffffffULL << ILAX_TIME_SHIFT)
#define CHUNK_MAX 14

struct rules {
	__u32 byte_cost;
	__u32 packet_cost;
	__u32 burst;
	__u32 mark;
	__u32 drop;
	__u32 small;
	__u8 shifts; /* of the two costs */
	__u8 action;
	__u8 chunk;
	__u8 parent; /* 0 = none, n = the limit n before this one */
};

struct start {
	__u64 now;
	__u8 limits;
	__u8 cpus;
	__u8 pad[6];
};

struct arrival {
	__u16 wait; /* times 1 ns << 2 * scale */
	__u8 scale;
	__u8 what; /* limit, CPU, ECN */
	__u16 len;
	__u16 gso_size;
};

/* A queue that drains at the rate of a limit and gets all that it lets pass. */
struct queue {
	unsigned __int128 backlog; /* 1/64 ns */
	unsigned __int128 largest; /* packet */
};

static struct queue queues[LIMITS + 1];
static struct ilax_limit *limits[LIMITS + 1];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	tables_init();
	return 0;
}

static __u64 cost_of(__u32 mantissa, int shift, __u64 most)
{
	return ((__u64)mantissa << shift) % (most + 1);
}

static void write_rules(int slot, const struct rules *rules)
{
	struct ilax_limit *limit = limits[slot] = tables_limit(slot);
	int parent = slot - rules->parent % LIMITS;

	memset(limit, 0, sizeof(*limit));
	limit->byte_cost =
		cost_of(rules->byte_cost, rules->shifts % 16, BYTE_COST_MAX);
	limit->packet_cost = cost_of(rules->packet_cost, rules->shifts / 16,
				     PACKET_COST_MAX);
	limit->burst = rules->burst;
	limit->mark = rules->mark;
	limit->drop = rules->drop;
	limit->small = rules->small;
	limit->action = rules->action % 4;
	limit->chunk = rules->chunk % (CHUNK_MAX + 1);
	limit->generation = 1 << ILAX_GENERATION_SHIFT;
	if (parent > 0 && parent < slot &&
	    (limits[parent]->byte_cost || limits[parent]->packet_cost)) {
		limit->parents[0] = parent;
		memcpy(limit->parents + 1, limits[parent]->parents,
		       (ILAX_LIMIT_PARENTS - 1) * sizeof(__u32));
	}
	memset(&queues[slot], 0, sizeof(queues[slot]));
}

/* What the packet costs, without any bound to the numbers. */
static unsigned __int128 true_cost(const struct ilax_limit *limit, __u64 bytes,
				   __u64 packets)
{
	unsigned __int128 by_bytes =
		(unsigned __int128)bytes * limit->byte_cost >>
		ILAX_BYTE_COST_SHIFT;
	unsigned __int128 by_packets =
		(unsigned __int128)packets * limit->packet_cost;

	return by_bytes > by_packets ? by_bytes : by_packets;
}

static void check_cost(const struct ilax_limit *limit, __u64 bytes,
		       __u64 packets)
{
	if (limit_cost(limit, bytes, packets) !=
	    true_cost(limit, bytes, packets))
		FAIL("%llu bytes in %llu packets overflow a cost", bytes,
		     packets);
}

static void enqueue(int slot, const struct ilax_charge *charge, int cpus)
{
	const struct ilax_limit *limit = limits[slot];
	struct queue *queue = &queues[slot];
	unsigned __int128 cost =
		true_cost(limit, charge->bytes, charge->packets);
	unsigned __int128 bound =
		(unsigned __int128)limit->burst + limit->drop + limit->small;

	/* Those two drop nothing. */
	if (limit->action == ILAX_LIMIT_TAG ||
	    limit->action == ILAX_LIMIT_COUNT)
		return;
	queue->backlog += cost;
	if (cost > queue->largest)
		queue->largest = cost;
	bound += limit->chunk ? (__u64)cpus * 2 << limit->chunk : 0;
	bound = (bound << ILAX_TIME_SHIFT) + queue->largest;
	if (queue->backlog > bound)
		FAIL("limit %d passes more than its rate by %llu ns", slot,
		     (__u64)((queue->backlog - bound) >> ILAX_TIME_SHIFT));
}

static void drain(__u64 ns)
{
	for (int i = 1; i <= LIMITS; i++) {
		unsigned __int128 time = (unsigned __int128)ns
					 << ILAX_TIME_SHIFT;

		queues[i].backlog =
			queues[i].backlog > time ? queues[i].backlog - time : 0;
	}
}

/*
 * However much it costs. One CPU holds nothing back that another one would need.
 */
static bool must_pass(int slot, int cpus)
{
	const struct ilax_limit *limit = limits[slot];

	return cpus == 1 && !limit->parents[0] && !queues[slot].backlog &&
	       limit->drop;
}

static void arrive(int slot, const struct arrival *arrival, int cpus)
{
	struct ilax_charge charge = {};
	struct ilax_limit *limit = limits[slot];
	__u32 len = 14 + arrival->len;
	bool must, pass;

	if (arrival->gso_size)
		charge_segments(&charge, len, 74, arrival->gso_size);
	else
		charge_frame(&charge, len);
	charge.markable = arrival->what & 64;
	check_cost(limit, charge.bytes, charge.packets);
	must = must_pass(slot, cpus);
	pass = limit_police(slot, limit, limit_chunk(slot), &charge);
	if (must && !pass)
		FAIL("an idle limit refuses a packet");
	if (charge.ce && !charge.markable)
		FAIL("marked what cannot be marked");
	if (!pass)
		return;
	enqueue(slot, &charge, cpus);
	for (int i = 0; i < ILAX_LIMIT_PARENTS && limit->parents[i]; i++)
		enqueue(limit->parents[i], &charge, cpus);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	struct arrival arrival;
	struct rules rules;
	struct start start;
	int count, cpus;
	__u64 wait;

	if (size < sizeof(start) + LIMITS * sizeof(rules))
		return -1;
	memcpy(&start, data, sizeof(start));
	data += sizeof(start);
	kernel.now = start.now % (9 * 365 * 86400 * 1000000000ULL);
	cpus = 1 + start.cpus % TABLES_CPUS;
	count = 1 + start.limits % LIMITS;
	for (int slot = 1; slot <= LIMITS; slot++) {
		memcpy(&rules, data, sizeof(rules));
		data += sizeof(rules);
		write_rules(slot, &rules);
	}
	size -= sizeof(start) + LIMITS * sizeof(rules);
	for (; size >= sizeof(arrival); size -= sizeof(arrival)) {
		memcpy(&arrival, data, sizeof(arrival));
		data += sizeof(arrival);
		wait = (__u64)arrival.wait << 2 * (arrival.scale % 12);
		kernel.now += wait;
		kernel.ticks = kernel.now / TICK_NS;
		drain(wait);
		tables_cpu = arrival.what / 8 % cpus;
		arrive(1 + arrival.what % count, &arrival, cpus);
	}
	tables_cpu = 0;
	tables_reset();
	return 0;
}
