// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Small real tables. Each row stands alone between poisoned bytes; what the datapath
 * wrote is undone row by row, because clearing all of it would take most of the time.
 */
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "ilax_maps.bpf.h"
#include "population.h"
#include "tables.h"

#define BUCKETS 512
#define DIRTY_MAX 256
#define GAP 16

struct table {
	void *map;
	const __u8 *rows; /* keys and values of the population */
	__u32 key;	  /* bytes */
	__u32 value;	  /* bytes */
	__u32 filled;	  /* rows of the population */
	__u32 size;	  /* rows of an array, of one CPU; 0 = a hash */
	bool written;	  /* by the datapath */
	bool per_cpu;
	__u8 *store;
	__u32 stride;
	__u16 buckets[BUCKETS]; /* row + 1 */
	__u16 next[BUCKETS];
	bool missing[BUCKETS];
	__u32 dirty[DIRTY_MAX];
	__u32 dirty_count;
};

#define HASH(name)                                       \
	{                                                \
		.map = &ilax_##name,                     \
		.rows = &population_##name[0][0],        \
		.key = sizeof(*ilax_##name.key),         \
		.value = sizeof(*ilax_##name.value),     \
		.filled = ARRAY_ROWS(population_##name), \
	}
#define ARRAY(name, rows_of_it)                          \
	{                                                \
		.map = &ilax_##name,                     \
		.rows = &population_##name[0][0],        \
		.key = 4,                                \
		.value = sizeof(*ilax_##name.value),     \
		.filled = ARRAY_ROWS(population_##name), \
		.size = rows_of_it,                      \
	}
#define OURS(name, rows_of_it, cpus)                 \
	{                                            \
		.map = &ilax_##name,                 \
		.key = 4,                            \
		.value = sizeof(*ilax_##name.value), \
		.size = rows_of_it,                  \
		.written = true,                     \
		.per_cpu = cpus,                     \
	}
#define ARRAY_ROWS(array) (sizeof(array) / sizeof((array)[0]))

enum {
	ENDPOINTS,
	MAPPINGS,
	PORTS,
	DEVICES,
	CGROUPS,
	PREFIXES,
	CONFIG,
	LIMITS,
	EDITABLE,
	BACKLOGS = EDITABLE,
	CHUNKS,
	CLOCK,
	COUNTERS,
	TRAFFIC,
	TABLES,
};

static struct table tables[TABLES] = {
	[ENDPOINTS] = HASH(endpoints),
	[MAPPINGS] = HASH(mappings),
	[PORTS] = HASH(ports),
	[DEVICES] = HASH(devices),
	[CGROUPS] = HASH(cgroups),
	[PREFIXES] = ARRAY(prefixes, ILAX_MAX_PREFIXES),
	[CONFIG] = ARRAY(config, 1),
	[LIMITS] = ARRAY(limits, POPULATION_LIMITS),
	[BACKLOGS] = OURS(backlogs, POPULATION_LIMITS, false),
	[CHUNKS] = OURS(chunks, ILAX_CHUNK_ROWS, true),
	[CLOCK] = OURS(clock, 1, true),
	[COUNTERS] = OURS(counters, ILAX_COUNTER_ROWS, false),
	[TRAFFIC] = OURS(traffic, POPULATION_SLOTS, false),
};

int tables_cpu;
__u32 tables_attached;

static __u32 hash(const __u8 *key, __u32 bytes)
{
	__u32 value = 2166136261;

	for (__u32 i = 0; i < bytes; i++)
		value = (__u32)((value ^ key[i]) * 16777619ULL);
	return (value ^ value >> 16) % BUCKETS;
}

static __u8 *row_of(const struct table *table, __u32 index)
{
	return table->store + (size_t)index * table->stride + GAP;
}

static const __u8 *given_row(const struct table *table, __u32 index)
{
	return table->rows + (size_t)index * (table->key + table->value);
}

static void restore(const struct table *table, __u32 index)
{
	if (index < table->filled)
		memcpy(row_of(table, index),
		       given_row(table, index) + table->key, table->value);
	else
		memset(row_of(table, index), 0, table->value);
}

static void table_init(struct table *table)
{
	__u32 rows = table->size ? table->size : table->filled;

	if (table->per_cpu)
		rows *= TABLES_CPUS;
	table->stride = (table->value + 7) / 8 * 8 + 2 * GAP;
	table->store = calloc(rows, table->stride);
	if (!table->store || (!table->size && rows >= BUCKETS))
		FAIL("no room for a table");
	ASAN_POISON_MEMORY_REGION(table->store, (size_t)rows * table->stride);
	for (__u32 i = 0; i < rows; i++) {
		ASAN_UNPOISON_MEMORY_REGION(row_of(table, i), table->value);
		restore(table, i);
	}
	for (__u32 i = 0; !table->size && i < rows; i++) {
		__u16 *bucket =
			&table->buckets[hash(given_row(table, i), table->key)];

		table->next[i] = *bucket;
		*bucket = i + 1;
	}
	/* The programs know a map by its address: let its first word lead here. */
	*(struct table **)table->map = table;
}

void tables_init(void)
{
	for (int i = 0; i < TABLES; i++)
		table_init(&tables[i]);
}

static void touch(struct table *table, __u32 index)
{
	for (__u32 i = 0; i < table->dirty_count; i++)
		if (table->dirty[i] == index)
			return;
	if (table->dirty_count == DIRTY_MAX)
		FAIL("one case touches too many rows");
	table->dirty[table->dirty_count++] = index;
}

static __u8 *find(const struct table *table, const void *key)
{
	for (__u32 i = table->buckets[hash(key, table->key)]; i;
	     i = table->next[i - 1])
		if (!memcmp(given_row(table, i - 1), key, table->key))
			return table->missing[i - 1] ? NULL :
						       row_of(table, i - 1);
	return NULL;
}

void *bpf_map_lookup_elem(void *map, const void *key)
{
	struct table *table = *(struct table **)map;
	__u32 index;

	if (!table->size)
		return find(table, key);
	index = *(const __u32 *)key;
	if (index >= table->size)
		return NULL;
	if (table->per_cpu)
		index += tables_cpu * table->size;
	if (table->written)
		touch(table, index);
	return row_of(table, index);
}

void *bpf_get_local_storage(void *map, __u64 flags)
{
	if (map != &ilax_attached || flags)
		FAIL("no storage of this cgroup");
	return &tables_attached;
}

void tables_edit(const struct case_edit *edits, int count)
{
	for (int i = 0; i < count; i++) {
		struct table *table = &tables[edits[i].table % EDITABLE];
		__u32 row = edits[i].row % table->filled;

		touch(table, row);
		if (edits[i].at != 255)
			row_of(table, row)[edits[i].at % table->value] =
				edits[i].value;
		else if (!table->size)
			table->missing[row] = true;
	}
}

void tables_reset(void)
{
	for (int i = 0; i < TABLES; i++) {
		struct table *table = &tables[i];

		while (table->dirty_count) {
			__u32 row = table->dirty[--table->dirty_count];

			restore(table, row);
			if (!table->size)
				table->missing[row] = false;
		}
	}
}

struct ilax_counter *tables_counted(int *hook, int *reason)
{
	const struct table *table = &tables[COUNTERS];
	struct ilax_counter *counter;

	if (table->dirty_count != 1)
		FAIL("%u counters were touched", table->dirty_count);
	*hook = table->dirty[0] / ILAX_REASON_COUNT;
	*reason = table->dirty[0] % ILAX_REASON_COUNT;
	counter = (void *)row_of(table, table->dirty[0]);
	if (counter->packets != 1)
		FAIL("one packet was counted %llu times", counter->packets);
	return counter;
}

static void add_policed(struct ilax_policed *total,
			const struct ilax_policed *policed)
{
	const __u64 *from = (const void *)policed;
	__u64 *to = (void *)total;

	for (size_t i = 0; i < sizeof(*total) / sizeof(*to); i++)
		to[i] += from[i];
}

void tables_add_policed(struct ilax_policed *totals)
{
	const struct table *table = &tables[BACKLOGS];

	for (__u32 i = 0; i < table->dirty_count; i++) {
		const struct ilax_backlog *backlog =
			(const void *)row_of(table, table->dirty[i]);

		add_policed(&totals[table->dirty[i]], &backlog->total);
	}
	table = &tables[CHUNKS];
	for (__u32 i = 0; i < table->dirty_count; i++) {
		const struct ilax_chunk *chunk =
			(const void *)row_of(table, table->dirty[i]);

		add_policed(&totals[chunk->slot], &chunk->policed);
	}
}

const struct ilax_endpoint *tables_endpoint(const struct ilax_addr *wire)
{
	return (const void *)find(&tables[ENDPOINTS], wire);
}

const struct ilax_mapping *tables_mapping(const struct ilax_addr *sir)
{
	return (const void *)find(&tables[MAPPINGS], sir);
}

bool tables_has_device(__u32 ifindex)
{
	return find(&tables[DEVICES], &ifindex);
}

const __u8 *tables_some_address(__u64 random)
{
	static const __u8 others[][16] = {
		{ 0 },
		{ [15] = 1 },
		{ 0xfe, 0x80, [15] = 1 },
		{ 0xff, 2, [15] = 1 },
		{ 0x20, 1, 0x0d, 0xb8, 0, 0x99, 0, 3, [15] = 0x80 },
	};
	const struct table *table = &tables[random % 4 ? MAPPINGS : ENDPOINTS];
	__u64 row = random / 16 % table->filled;

	if (random % 16 == 15)
		return others[random / 16 % ARRAY_ROWS(others)];
	/* The key, or the address that a row begins with. */
	return given_row(table, row) + (random % 2 ? 0 : table->key);
}

const __u8 *tables_source_of(__u32 ifindex)
{
	return find(&tables[PORTS], &ifindex);
}

struct ilax_limit *tables_limit(__u32 slot)
{
	if (slot >= tables[LIMITS].filled)
		FAIL("no limit %u in the population", slot);
	touch(&tables[LIMITS], slot);
	return (void *)row_of(&tables[LIMITS], slot);
}
