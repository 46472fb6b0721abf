/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an address is by its upper half: a SIR address, this host's locator, a
 * locator of the fabric, or none of these. Also the neutral arithmetic that
 * turns a wire address back; only ICMPv6 errors need it (icmp6.h).
 */
#ifndef ILAX_PREFIX_H
#define ILAX_PREFIX_H

#include "types.h"
#include "ilax_maps.bpf.h"

/* Word 4 of an address: the type's three bits, then the C-bit. */
#define IDENTIFIER_TYPE_MASK bpf_cpu_to_be64(0xe000000000000000ULL)
#define IDENTIFIER_CBIT 0x1000000000000000ULL /* host order */

/* NULL: none of our prefixes. A scan of a few rows beats an LPM trie. */
static __always_inline const struct ilax_prefix *
ilax_classify(const struct ilax_addr *addr)
{
	const struct ilax_prefix *row;

#pragma nounroll
	for (__u32 i = 0; i < ILAX_MAX_PREFIXES; i++) {
		__u32 index = i;

		row = bpf_map_lookup_elem(&ilax_prefixes, &index);
		if (!row || row->kind == ILAX_PREFIX_END)
			return NULL;
		if ((addr->prefix & row->mask) == row->prefix)
			return row;
	}
	return NULL;
}

/* A type-0 identifier below our own locator is an ordinary host address. */
static __always_inline bool ilax_is_host_address(const struct ilax_prefix *row,
						 const struct ilax_addr *addr)
{
	return (row->flags & ILAX_PREFIX_TYPED) &&
	       !(addr->identifier & IDENTIFIER_TYPE_MASK);
}

/* 16-bit words of x, added without the carries folded back. */
static __always_inline __u32 sum_words(__u64 x)
{
	return (__u32)(x & 0xffff) + (__u32)((x >> 16) & 0xffff) +
	       (__u32)((x >> 32) & 0xffff) + (__u32)(x >> 48);
}

static __always_inline __u16 sum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/*
 * Wire address -> SIR address: the locator's words give way to the SIR
 * prefix's, and the last word takes up the difference (RFC 1071 arithmetic,
 * draft-herbert-intarea-ila). Returns false for an address that was not made
 * by a neutral mapping with the row's C-bit rule.
 */
static __always_inline bool ilax_undo_neutral(const struct ilax_prefix *row,
					      const struct ilax_addr *wire,
					      struct ilax_addr *sir)
{
	__u64 id = bpf_be64_to_cpu(wire->identifier);
	__u32 sum = sum_words(bpf_be64_to_cpu(wire->prefix)) +
		    sum_words(~bpf_be64_to_cpu(row->sir_prefix));

	if (row->flags & ILAX_PREFIX_CBIT) {
		if (!(id & IDENTIFIER_CBIT))
			return false;
		id &= ~IDENTIFIER_CBIT;
		sum += 0x1000;
	}
	sum = sum_fold(sum) + (__u32)(id & 0xffff);
	sir->prefix = row->sir_prefix;
	sir->identifier = bpf_cpu_to_be64((id & ~0xffffULL) | sum_fold(sum));
	return true;
}

#endif /* ILAX_PREFIX_H */
