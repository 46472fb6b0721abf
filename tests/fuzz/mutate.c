// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Changes of a case that go where it matters: addresses, types, lengths, headers. */
#include <string.h>

#include "case.h"
#include "population.h"
#include "tables.h"

static const __u8 next_headers[] = { 0, 6, 17, 43, 44, 58, 60, 59, 51, 253 };
static const __u16 types[] = { 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0800 };
static const __u8 hops[] = { 64, 255, 2, 1, 0 };

#define PICK(array, random) \
	array[(random) % (sizeof(array) / sizeof((array)[0]))]

/* Where the IPv6 header begins in a frame. */
static size_t l3_of(const __u8 *frame, size_t len)
{
	size_t at = 14;

	while (at + 4 <= len && at < 22 &&
	       (frame[at - 2] == 0x81 || frame[at - 2] == 0x88))
		at += 4;
	return at;
}

static size_t insert(__u8 *data, size_t size, size_t room, size_t at,
		     const __u8 *bytes, size_t count)
{
	if (at > size || size + count > room)
		return size;
	memmove(data + at + count, data + at, size - at);
	memcpy(data + at, bytes, count);
	return size + count;
}

static void set(__u8 *data, size_t size, size_t at, const void *bytes,
		size_t count)
{
	if (at + count <= size)
		memcpy(data + at, bytes, count);
}

/* An address out of the tables, now and then with one bit changed. */
static void set_address(__u8 *data, size_t size, size_t at, __u64 *random)
{
	__u8 address[16];
	__u64 bit = random_next(random);

	memcpy(address, tables_some_address(random_next(random)), 16);
	if (bit % 8 == 0)
		address[bit / 8 % 16] ^= 1 << (bit >> 32) % 8;
	set(data, size, at, address, sizeof(address));
}

static size_t add_extension(__u8 *data, size_t size, size_t room, size_t l3,
			    __u64 *random)
{
	__u8 header[16] = { 0 };
	__u64 what = random_next(random);

	if (l3 + 40 > size)
		return size;
	header[0] = data[l3 + 6];
	header[1] = what >> 8 & 1;
	data[l3 + 6] = PICK(next_headers, what);
	return insert(data, size, room, l3 + 40, header, 8 + 8 * header[1]);
}

static size_t add_tag(__u8 *data, size_t size, size_t room, size_t frame,
		      __u64 *random)
{
	__u16 type = PICK(types, 1 + random_next(random) % 3);
	__u8 tag[4] = { type >> 8, type & 0xff, 0, 5 };

	return insert(data, size, room, frame + 12, tag, sizeof(tag));
}

size_t case_mutate(__u8 *data, size_t size, size_t room, __u64 *random)
{
	struct case_head *head = (void *)data;
	size_t frame, l3, at;
	struct kase kase;
	__u64 what = random_next(random);
	const __u8 *own;
	__u16 type;

	if (!case_decode(data, size, &kase))
		return size;
	frame = kase.frame - data;
	l3 = frame +
	     (kase.head.hook == CASE_CGROUP ? 0 : l3_of(kase.frame, kase.len));
	switch (what % 16) {
	case 0:
	case 1:
	case 2:
		set_address(data, size, l3 + 24, random);
		break;
	case 3:
		set_address(data, size, l3 + 8, random);
		break;
	case 4:
		own = tables_source_of(population_ifindexes[kase.head.device]);
		if (own)
			set(data, size, l3 + 8, own, 16);
		break;
	case 5: /* the quote of an error, or what stands at its place */
		set_address(data, size, l3 + 40 + 8 + 24 + what / 16 % 3 * 8,
			    random);
		break;
	case 6:
		set(data, size, l3 + 7, &PICK(hops, what / 16), 1);
		break;
	case 7:
		set(data, size, l3 + 6, &PICK(next_headers, what / 16), 1);
		break;
	case 8:
		return add_extension(data, size, room, l3, random);
	case 9:
		return add_tag(data, size, room, frame, random);
	case 10:
		type = PICK(types, what / 16);
		set(data, size, l3 - 2, (__u8[]){ type >> 8, type & 0xff }, 2);
		break;
	case 11:
		head->hook = what / 16 % CASE_HOOKS;
		head->device = what / 256 % POPULATION_DEVICES;
		head->slot = what / 4096 % POPULATION_RULES;
		if (head->hook == CASE_CGROUP)
			head->flags ^= what >> 40 & CASE_IPV4;
		break;
	case 12: /* cut, or lengthen */
		if (what & 16)
			return frame + FRAME_MIN +
			       what / 32 % (kase.len - FRAME_MIN + 1);
		at = what / 32 % 64;
		if (size + at > room)
			break;
		memset(data + size, 'x', at);
		return size + at;
	case 13:
		at = what / 16 % size;
		data[at] = what >> 40;
		break;
	case 14:
		at = l3 + what / 16 % 64;
		set(data, size, at, (__u8[]){ what >> 40 }, 1);
		break;
	default:
		set(data, size, l3 + 1, (__u8[]){ what / 16 % 4 << 4 }, 1);
	}
	return size;
}
