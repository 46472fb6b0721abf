// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Coverage-guided: the neutral arithmetic against RFC 1071 word by word, and what a
 * prefix says of an address.
 */
#include <string.h>

#include "case.h"
#include "hook_xdp.h"
#include "prefix.h"
#include "tables.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	tables_init();
	return 0;
}

static __u16 plus(__u32 a, __u32 b)
{
	return a + b > 0xffff ? a + b - 0xffff : a + b;
}

static __u16 word_of(const void *data, int word)
{
	const __u8 *bytes = data;

	return bytes[2 * word] << 8 | bytes[2 * word + 1];
}

static __u16 total(const struct ilax_addr *address)
{
	__u16 sum = 0;

	for (int i = 0; i < 8; i++)
		sum = plus(sum, word_of(address, i));
	return sum % 0xffff;
}

static void check_undone(const struct ilax_prefix *row,
			 const struct ilax_addr *wire,
			 const struct ilax_addr *sir)
{
	__u16 word4 = word_of(wire, 4);

	if (row->flags & ILAX_PREFIX_CBIT)
		word4 &= ~0x1000;
	if (total(wire) != total(sir))
		FAIL("the sum of an address changed");
	if (sir->prefix != row->sir_prefix || word_of(sir, 4) != word4 ||
	    memcmp((__u8 *)wire + 10, (__u8 *)sir + 10, 4))
		FAIL("more than prefix, C-bit and last word changed");
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	const struct ilax_prefix *known;
	struct ilax_addr wire, sir;
	struct ilax_prefix row;
	bool c_bit;

	if (size < sizeof(row) + sizeof(wire))
		return -1;
	memcpy(&row, data, sizeof(row));
	memcpy(&wire, data + sizeof(row), sizeof(wire));
	c_bit = word_of(&wire, 4) & 0x1000;
	if (ilax_undo_neutral(&row, &wire, &sir)) {
		if (row.flags & ILAX_PREFIX_CBIT && !c_bit)
			FAIL("undone without the C-bit");
		check_undone(&row, &wire, &sir);
	} else if (!(row.flags & ILAX_PREFIX_CBIT) || c_bit) {
		FAIL("an address was not undone");
	}
	known = ilax_classify(&wire);
	if (known && (known->kind == ILAX_PREFIX_END ||
		      (wire.prefix & known->mask) != known->prefix))
		FAIL("a prefix that does not match");
	tables_reset();
	return 0;
}
